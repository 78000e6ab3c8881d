"""What a caller may say of the work to be announced, and what each mistake is answered with."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from meshd.errors import InvalidArgumentError
from meshd.groups.drafting import Wanted, draft, is_same, need_of, partial_of, urgency_of
from meshd.groups.model import Announcement, PartialPolicy, SkillNeed, Urgency
from meshd.nodes.model import Level

NOW = 1_700_000_000_000


def drafted(*, id: str = "w1", limit: int = 5, **said: Any) -> Announcement:
    said.setdefault("skills", ["python>=advanced"])
    wanted = Wanted(description="a report", **said)
    return draft(wanted, id=id, initiator="boss", now_ms=NOW, limit=limit)


@pytest.mark.parametrize(
    ("said", "name", "level"),
    [
        ("python", "python", Level.NOVICE),
        ("python>=advanced", "python", Level.ADVANCED),
        ("python=expert", "python", Level.EXPERT),
        (" nl.german >= Intermediate ", "nl.german", Level.INTERMEDIATE),
        (SkillNeed(name="x", level=Level.EXPERT), "x", Level.EXPERT),
    ],
)
def test_a_skill_is_said_in_words(said: SkillNeed | str, name: str, level: Level) -> None:
    assert need_of(said) == SkillNeed(name=name, level=level)


@pytest.mark.parametrize(
    ("judge", "says"),
    [
        (lambda: need_of("python>=guru"), "level 'guru' is not one of novice, intermediate, advanced, expert"),
        (lambda: need_of(">=advanced"), "skill '' is not a valid name"),
        (lambda: urgency_of("asap"), "priority 'asap' is not one of critical, high, normal, low, background"),
        (lambda: partial_of("maybe"), "partial 'maybe' is not one of fail, extend, start"),
        (lambda: drafted(max_size=6), "a group of 6 is not 1 to 5: setting groups.max_size is the limit"),
        (lambda: drafted(max_size=0), "a group of 0 is not 1 to 5"),
        (lambda: drafted(deadline=timedelta()), "deadline 0 s is not over 0"),
        (lambda: drafted(formation=timedelta(seconds=-1)), "time to form -1 s is not over 0"),
        (lambda: drafted(depends_on=["w1"]), "announcement w1 cannot wait for itself"),
        (lambda: drafted(parent="w1"), "announcement w1 cannot wait for itself, or be a part of itself"),
        (lambda: drafted(depends_on=["a b"]), "announcement 'a b' is not a valid name"),
        (lambda: drafted(depends_on=[f"w{n}" for n in range(2, 35)]), "waits for 33 others: at most 32"),
    ],
)
def test_mistakes(judge: Callable[[], object], says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says.replace("(", r"\(")):
        judge()


def test_what_is_said_becomes_a_draft_with_times_from_now() -> None:
    made = drafted(
        skills=["python>=advanced", "write"],
        priority="high",
        partial="start",
        deadline=timedelta(minutes=2),
        formation=timedelta(seconds=3),
        depends_on=["a", "b", "a"],
        parent="whole",
        metadata={"n": 1},
        payload={"rows": 3},
        max_size=2,
    )
    assert [(need.name, need.level) for need in made.needs] == [("python", Level.ADVANCED), ("write", Level.NOVICE)]
    assert (made.urgency, made.partial, made.max_size) == (Urgency.HIGH, PartialPolicy.START, 2)
    assert (made.deadline_ms - NOW, made.forms_until_ms - NOW) == (120_000, 3_000)
    assert (made.depends_on, made.parent, made.initiator) == (("a", "b"), "whole", "boss")


def test_what_is_not_said_is_left_to_the_settings() -> None:
    made = drafted(limit=3)
    assert (made.max_size, made.deadline_ms, made.forms_until_ms) == (3, 0, 0)


def test_the_same_work_is_known_again_and_other_work_is_not() -> None:
    assert is_same(drafted(), drafted(deadline=timedelta(hours=1)))
    assert not is_same(drafted(), drafted(payload=1))
    assert not is_same(drafted(), drafted(skills=["python"]))
