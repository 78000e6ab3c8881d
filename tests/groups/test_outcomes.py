"""Outcomes: recorded once, and only of who is a member; a fenced reply moves nothing."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.errors import FencedError
from meshd.groups.model import Announcement, AnnouncementState, Candidate, Member, Reputation, Skill
from meshd.groups.outcomes import REMEMBERED, Outcome, outcome_of, recorded
from meshd.nodes.model import Level

START = 1_700_000_000_000
SKILLS = {name: Skill(name=name, level=Level.ADVANCED, success_rate=0.5) for name in ("python", "sql", "art")}
AGENT = Candidate(agent="ada", node="n1", incarnation=3, skills=SKILLS)
RUNNING = Announcement(
    id="work-1",
    initiator="boss",
    state=AnnouncementState.RUNNING,
    epoch=4,
    members={"ada": Member(agent="ada", incarnation=3, roles=("python", "sql"), epoch=2, round=7)},
)


def said(*, agent: str = "ada", incarnation: int = 3, epoch: int = 4, is_success: bool = True) -> Outcome:
    return outcome_of(
        RUNNING, agent, incarnation=incarnation, epoch=epoch, is_success=is_success, at_ms=START, took_ms=40
    )


def test_an_outcome_moves_the_skills_used_and_the_reputation_only() -> None:
    after = recorded(AGENT, said())
    assert after.skills["art"] == SKILLS["art"]
    for name in ("python", "sql"):
        used = after.skills[name]
        assert (used.completed, used.failed, used.count, used.measured_ms) == (1.0, 0.0, 1, 40)
        assert used.level is Level.ADVANCED
    assert after.reputation == Reputation(completed=1.0, failed=0.0, at_ms=START)
    same = replace(after, skills=AGENT.skills, reputation=AGENT.reputation, counted=())
    assert same == AGENT


def test_a_failure_is_recorded_as_one() -> None:
    after = recorded(AGENT, said(is_success=False))
    assert after.reputation == Reputation(completed=0.0, failed=1.0, at_ms=START)
    assert after.skills["sql"].failed == 1.0


@pytest.mark.parametrize("epoch", [2, 3, 4])
def test_a_member_may_show_any_epoch_since_it_joined(epoch: int) -> None:
    assert said(epoch=epoch).id == "work-1:7"


@pytest.mark.parametrize(
    ("said_by", "told"),
    [
        ({"agent": "bob"}, "agent bob in the group of work-1: 4 has ended"),
        ({"incarnation": 2}, "incarnation: token 2 is behind 3"),
        ({"epoch": 1}, "epoch: token 1 is behind 4"),
        ({"epoch": 5}, "epoch: token 5 is behind 4"),
    ],
    ids=["a stranger", "an earlier life", "before it joined", "an epoch there never was"],
)
def test_a_fenced_reply_makes_no_outcome(said_by: dict[str, object], told: str) -> None:
    with pytest.raises(FencedError, match=told):
        said(**said_by)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_the_same_membership_counts_once() -> None:
    once = recorded(AGENT, said())
    assert recorded(once, said()) == once
    assert recorded(once, said(is_success=False)) == once


def test_an_outcome_of_somebody_else_moves_nothing() -> None:
    assert recorded(replace(AGENT, agent="bob"), said()) == replace(AGENT, agent="bob")


def test_a_skill_that_was_given_up_is_left_out() -> None:
    without = replace(AGENT, skills={"sql": SKILLS["sql"]})
    assert set(recorded(without, said()).skills) == {"sql"}


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60))
def test_what_is_remembered_is_bounded_and_the_last_ones_count_once(story: Sequence[tuple[int, bool]]) -> None:
    agent = AGENT
    for number, is_success in story:
        outcome = Outcome(id=str(number), agent="ada", skills=("python",), is_success=is_success, at_ms=START)
        agent = recorded(agent, outcome)
        assert recorded(agent, outcome) == agent
    assert len(agent.counted) <= REMEMBERED
    assert agent.skills["python"].count <= len(story)
