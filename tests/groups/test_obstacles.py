"""Why not this agent, and what would let a group form: the exact predicate that fails, each time."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.groups.covering import cover
from meshd.groups.model import Announcement, AnnouncementState, Candidate, Invitation, Member, Skill, SkillNeed
from meshd.groups.obstacles import Obstacle, ObstacleKind, Unblock, UnblockKind, unblocking, why_not
from meshd.groups.scoring import offer_of
from meshd.nodes.model import Level

NOW = 1_700_000_000_000
PYTHON, SQL = SkillNeed(name="python", level=Level.ADVANCED), SkillNeed(name="sql")
WORK = Announcement(id="work-1", initiator="boss", needs=(PYTHON, SQL), max_size=2)


def able(agent: str, *, taken: int = 0, slots: int = 5, incarnation: int = 1, **levels: Level) -> Candidate:
    skills = {name: Skill(name=name, level=level) for name, level in levels.items()}
    return Candidate(agent=agent, incarnation=incarnation, skills=skills, slots=slots, taken=taken)


ADA = able("ada", python=Level.EXPERT)
SUE = able("sue", sql=Level.NOVICE)


def test_who_may_offer_has_nothing_in_the_way() -> None:
    assert why_not(ADA, WORK, NOW) == []
    assert why_not(SUE, WORK, NOW) == []


def test_a_level_too_low_and_a_skill_not_there_are_told_apart() -> None:
    assert why_not(able("bob", python=Level.NOVICE), WORK, NOW) == [
        Obstacle(kind=ObstacleKind.LACKS, skill="python", detail="python>=advanced: has novice"),
        Obstacle(kind=ObstacleKind.LACKS, skill="sql", detail="sql>=novice: not there"),
    ]


def test_every_predicate_that_fails_is_named() -> None:
    work = replace(WORK, refused={"bob": "busy"})
    found = why_not(able("bob", taken=5), work, NOW)
    assert [one.kind for one in found] == ["refused", "lacks", "lacks", "full"]
    assert (found[0].detail, found[-1].detail) == ("busy", "5 of 5 slots taken")


def test_too_few_free_slots_are_told_in_numbers() -> None:
    assert why_not(replace(ADA, slots=10, taken=9), WORK, NOW) == [
        Obstacle(kind=ObstacleKind.BUSY, detail="9 of 10 slots taken, so 0.1 is free and 0.2 must be free")
    ]


def test_who_has_part_in_it_already_is_not_asked() -> None:
    member = Member(agent="ada", incarnation=1, roles=("python",))
    invited = Invitation(agent="sue", incarnation=1, round=1, roles=("sql",), expires_ms=NOW + 1)
    work = replace(WORK, members={"ada": member}, invitations={"sue": invited})
    assert [one.kind for one in why_not(ADA, work, NOW)] == ["member", "covered"]
    assert [one.kind for one in why_not(SUE, work, NOW)] == ["invited", "covered"]
    assert why_not(able("eve", sql=Level.EXPERT), work, NOW) == [
        Obstacle(kind=ObstacleKind.COVERED, detail="every skill is covered, or asked of somebody: ada, sue")
    ]
    assert unblocking(work, [ADA, SUE], NOW) == []


def test_who_died_may_come_back_in_a_later_life() -> None:
    work = replace(WORK, dead={"ada": 1})
    assert why_not(ADA, work, NOW) == [Obstacle(kind=ObstacleKind.DIED, detail="incarnation 1 died")]
    assert why_not(replace(ADA, incarnation=2), work, NOW) == []


@pytest.mark.parametrize("state", [one for one in AnnouncementState if one.is_over])
def test_what_is_over_takes_nobody(state: AnnouncementState) -> None:
    work = replace(WORK, state=state)
    assert why_not(ADA, work, NOW) == [Obstacle(kind=ObstacleKind.OVER, detail=f"the announcement is {state}")]
    assert unblocking(work, [], NOW) == []


def test_nothing_has_to_change_where_a_group_can_form() -> None:
    assert unblocking(WORK, [ADA, SUE], NOW) == []


def test_a_skill_nobody_has_names_the_nearest() -> None:
    assert unblocking(WORK, [able("bob", python=Level.NOVICE), able("eve", python=Level.INTERMEDIATE)], NOW) == [
        Unblock(
            kind=UnblockKind.SKILL,
            skill="python",
            agents=("eve",),
            detail="an agent with python>=advanced: none here; nearest is eve at intermediate",
        ),
        Unblock(kind=UnblockKind.SKILL, skill="sql", detail="an agent with sql>=novice: none here"),
    ]


def test_holders_without_room_are_named() -> None:
    found = unblocking(WORK, [replace(ADA, taken=5), able("eve", python=Level.ADVANCED, taken=7), SUE], NOW)
    assert found == [
        Unblock(
            kind=UnblockKind.ROOM,
            skill="python",
            agents=("ada", "eve"),
            detail="a free slot of one of 2 with python>=advanced: ada: 5 of 5 slots taken; eve: 7 of 5 slots taken",
        )
    ]


def test_holders_that_refused_have_to_be_others() -> None:
    found = unblocking(replace(WORK, refused={"ada": "on leave"}), [ADA, SUE], NOW)
    assert found == [
        Unblock(
            kind=UnblockKind.OTHERS,
            skill="python",
            agents=("ada",),
            detail="another agent with python>=advanced than the 1 that are out: ada: on leave",
        )
    ]


def test_a_group_that_would_be_too_large_says_how_large() -> None:
    found = unblocking(replace(WORK, max_size=1), [ADA, SUE], NOW)
    assert found == [
        Unblock(kind=UnblockKind.SIZE, detail="a group of 2 instead of at most 1, or agents with more of python, sql")
    ]
    assert unblocking(replace(WORK, max_size=1), [able("all", python=Level.EXPERT, sql=Level.EXPERT)], NOW) == []


agents = st.builds(
    able,
    st.sampled_from(["a", "b", "c", "d", "e"]),
    taken=st.integers(0, 5),
    python=st.sampled_from(Level),
    sql=st.sampled_from(Level),
)


@given(st.lists(agents, unique_by=lambda one: one.agent), st.sets(st.sampled_from("abc")), st.integers(1, 2))
def test_what_is_chosen_and_what_is_explained_never_disagree(
    candidates: list[Candidate], refused: set[str], max_size: int
) -> None:
    work = replace(WORK, refused=dict.fromkeys(refused, "no"), max_size=max_size)
    offers = [offer_of(one, work.needs, NOW) for one in candidates if one.agent not in refused]
    offering = {offer.agent for offer in offers if offer}
    assert offering == {one.agent for one in candidates if not why_not(one, work, NOW)}
    group = cover(["python", "sql"], [offer for offer in offers if offer], max_size=max_size)
    assert (group is None) is bool(unblocking(work, candidates, NOW))
