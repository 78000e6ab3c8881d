"""What a mesh keeps of one agent: taking a slot counts the share, giving it back counts the outcome, all of it kept."""

from dataclasses import replace

import pytest

from meshd.errors import CorruptDataError, FencedError
from meshd.groups.enrolment import Enrolment, confirmed, enrolled, released, settled, taken
from meshd.groups.enrolment_codec import decode_enrolment, encode_enrolment, key_of
from meshd.groups.model import Announcement, Candidate, Reputation, Skill
from meshd.groups.outcomes import Outcome
from meshd.groups.slots import Confirm, Release, Take
from meshd.nodes.model import Level
from meshd.records import Record

NOW = 1_700_000_000_000
DECLARED = Candidate(
    agent="ana",
    node="n1",
    incarnation=3,
    skills={"python": Skill(name="python", level=Level.EXPERT), "sql": Skill(name="sql", metadata={"dialect": "x"})},
    slots=2,
    cost=0.5,
)


def wanted(name: str) -> Take:
    return Take(agent="ana", announcement=name, round=1, incarnation=3, expires_ms=NOW + 5_000)


def holding(*names: str) -> Enrolment:
    enrolment = enrolled(None, DECLARED)
    for name in names:
        after = taken(enrolment, wanted(name), now_ms=NOW)
        assert after is not None
        enrolment = after
    return enrolment


def ended(name: str, *, is_success: bool = True) -> Outcome:
    return Outcome(id=f"{name}:1", agent="ana", skills=("python",), is_success=is_success, at_ms=NOW, took_ms=1_000)


def kept(enrolment: Enrolment, value: bytes | None = None) -> Record:
    value = encode_enrolment(enrolment) if value is None else value
    return Record(key=key_of("ana"), value=value, revision=1, born=1, born_ms=NOW, read_ms=NOW)


def test_taking_a_slot_counts_the_invitation_in_the_same_change() -> None:
    first = holding("t1")
    assert (first.candidate.taken, first.candidate.given, first.book.free) == (1, 1.0, 1)


def test_the_same_invitation_twice_is_counted_once() -> None:
    first = holding("t1")
    assert taken(first, wanted("t1"), now_ms=NOW) is first
    longer = taken(first, replace(wanted("t1"), expires_ms=NOW + 9_000), now_ms=NOW)
    assert longer is not None
    assert (longer.candidate.given, longer.book.holds["t1"].expires_ms) == (1.0, NOW + 9_000)


def test_no_agent_takes_more_than_its_slots() -> None:
    full = holding("t1", "t2")
    assert taken(full, wanted("t3"), now_ms=NOW) is None
    assert full.candidate.availability == 0


def test_giving_a_slot_back_and_the_outcome_are_one_change_and_count_once() -> None:
    after = released(holding("t1"), Release(agent="ana", announcement="t1", round=1), ended=ended("t1"))
    assert (after.candidate.taken, after.candidate.reputation.completed) == (0, 1)
    assert after.candidate.skills["python"].count == 1
    assert released(after, Release(agent="ana", announcement="t1", round=1), ended=ended("t1")) is after


def test_a_slot_given_back_without_an_outcome_leaves_every_figure_as_it_was() -> None:
    after = released(holding("t1"), Release(agent="ana", announcement="t1", round=1))
    assert after.candidate.reputation == Reputation()
    assert after.candidate.skills == DECLARED.skills


def test_declaring_anew_keeps_what_was_recorded_and_every_hold() -> None:
    before = released(holding("t1", "t2"), Release(agent="ana", announcement="t1", round=1), ended=ended("t1"))
    again = replace(
        DECLARED, incarnation=4, node="n2", slots=3, skills={"python": Skill(name="python", level=Level.NOVICE)}
    )
    after = enrolled(before, again)
    assert (after.candidate.skills["python"].level, after.candidate.skills["python"].count) == (Level.NOVICE, 1)
    assert (after.candidate.taken, after.book.slots, set(after.book.holds)) == (1, 3, {"t2"})
    assert (after.candidate.node, after.candidate.reputation.completed) == ("n2", 1)
    assert "sql" not in after.candidate.skills


def test_an_earlier_life_cannot_declare_anything_over_a_later_one() -> None:
    later = enrolled(None, DECLARED)
    with pytest.raises(FencedError):
        enrolled(later, replace(DECLARED, incarnation=2))


def test_a_membership_is_confirmed_and_settled_by_what_the_announcement_says() -> None:
    enrolment = confirmed(holding("t1", "t2"), Confirm(agent="ana", announcement="t1", round=1))
    assert enrolment.book.holds["t1"].expires_ms is None
    after, first = settled(enrolment, {"t1": None, "t2": Announcement(id="t2", initiator="x")}, now_ms=NOW + 9_000)
    assert (set(after.book.holds), after.candidate.taken, first) == ({"t2"}, 1, ())
    assert settled(after, {}, now_ms=NOW)[0] is after


def test_an_agent_is_read_back_as_it_was_written() -> None:
    before = released(holding("t1", "t2"), Release(agent="ana", announcement="t1", round=1), ended=ended("t1"))
    assert decode_enrolment(kept(before)) == before


def test_what_goes_without_saying_is_not_written() -> None:
    plain = enrolled(None, Candidate(agent="ana", node="n1", skills={"a": Skill(name="a"), "b": Skill(name="b")}))
    assert decode_enrolment(kept(plain)) == plain
    assert encode_enrolment(plain) == b'[1,"n1",0,5,1.0,[["a",2],["b",2]]]'


def test_an_agent_with_a_past_takes_less_than_a_kilobyte() -> None:
    enrolment = enrolled(None, DECLARED)
    for number in range(40):
        name = f"01JABCDEFGHJKMNPQRSTVW{number:04}"
        after = taken(enrolment, wanted(name), now_ms=NOW)
        assert after is not None
        enrolment = released(after, Release(agent="ana", announcement=name, round=1), ended=ended(name))
    assert len(encode_enrolment(enrolment)) < 1_024


@pytest.mark.parametrize("value", [b"nonsense", b"[]", b'[9,"n1",3,5,1.0,[]]'])
def test_a_record_that_is_no_agent_is_named(value: bytes) -> None:
    with pytest.raises(CorruptDataError, match=r"agent"):
        decode_enrolment(kept(enrolled(None, DECLARED), value))
