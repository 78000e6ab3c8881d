"""Agents and the index of their skills, on real stores."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import FencedError, NotFoundError
from meshd.groups.books import Books
from meshd.groups.enrolment import Enrolment
from meshd.groups.model import Candidate, Skill
from meshd.groups.registry import FEW, Holder, Registry
from meshd.nodes.model import Level
from tests.conftest import OpenAgain


@pytest.fixture
def registry(backend: Backend) -> Registry:
    return Registry(backend.records, index_ms=900_000)


def agent(name: str, *skills: str, level: Level = Level.INTERMEDIATE, incarnation: int = 1) -> Candidate:
    return Candidate(
        agent=name,
        node=f"node-{name}",
        incarnation=incarnation,
        skills={skill: Skill(name=skill, level=level) for skill in skills},
    )


def names(holders: Sequence[Holder]) -> list[str]:
    return [holder.agent for holder in holders]


def counted(enrolment: Enrolment, _now_ms: int) -> Enrolment:
    return replace(enrolment, candidate=replace(enrolment.candidate, given=enrolment.candidate.given + 1))


async def test_an_agent_is_found_by_each_of_its_skills_at_its_level_and_below(registry: Registry) -> None:
    await registry.enrol(agent("ana", "python", "sql", level=Level.ADVANCED))
    await registry.enrol(agent("bob", "python", level=Level.NOVICE))
    assert sorted(names(await registry.holders("python"))) == ["ana", "bob"]
    found = await registry.holders("python", level=Level.ADVANCED)
    assert found == [Holder(agent="ana", level=Level.ADVANCED, node="node-ana", incarnation=1)]
    assert names(await registry.holders("sql", level=Level.EXPERT)) == []
    assert names(await registry.holders("go")) == []


async def test_skills_declared_no_more_are_not_found_and_new_levels_replace_old_ones(registry: Registry) -> None:
    await registry.enrol(agent("ana", "python", "sql"))
    await registry.enrol(agent("ana", "python", level=Level.EXPERT))
    assert names(await registry.holders("sql")) == []
    assert [holder.level for holder in await registry.holders("python")] == [Level.EXPERT]


async def test_who_withdraws_is_found_no_more_but_is_known(registry: Registry) -> None:
    await registry.enrol(agent("ana", "python"))
    await registry.withdraw(agent("ana", "python"))
    assert names(await registry.holders("python")) == []
    assert [one.agent for one in await registry.candidates()] == ["ana"]


async def test_an_earlier_life_withdraws_nothing_of_a_later_one(registry: Registry) -> None:
    await registry.enrol(agent("ana", "python", incarnation=2))
    await registry.withdraw(agent("ana", "python", incarnation=1))
    assert names(await registry.holders("python")) == ["ana"]


async def test_an_earlier_life_cannot_enrol_over_a_later_one(registry: Registry) -> None:
    await registry.enrol(agent("ana", "python", incarnation=2))
    with pytest.raises(FencedError):
        await registry.enrol(agent("ana", "sql", incarnation=1))


async def test_who_is_not_renewed_falls_out_of_the_index(registry: Registry, clock: ManualClock) -> None:
    await registry.enrol(agent("ana", "python"))
    await registry.enrol(agent("bob", "python"))
    clock.advance(seconds=600)
    await registry.renew(agent("bob", "python"))
    clock.advance(seconds=600)
    await registry.renew(agent("bob", "python"))
    assert names(await registry.holders("python")) == ["bob"]


@pytest.mark.parametrize("count", [40, FEW + 60])
async def test_few_and_many_holders_are_asked_in_turn_from_a_place_the_salt_tells(
    registry: Registry, count: int
) -> None:
    await asyncio.gather(*(registry.renew(agent(f"a{number}", "python")) for number in range(count)))
    rounds = [names(await registry.holders("python", salt=f"work-{number}", most=16)) for number in range(60)]
    assert all(len(set(found)) == 16 for found in rounds)
    assert names(await registry.holders("python", salt="work-1", most=16)) == rounds[1]
    assert len({found[0] for found in rounds}) > 20
    every = set[str]().union(*rounds)
    assert len(every) > count / 2


async def test_all_holders_are_found_when_there_are_no_more_than_asked_for(registry: Registry) -> None:
    for number in range(10):
        await registry.enrol(agent(f"a{number}", "python", level=Level(1 + number % 4)))
    for salt in ("", "x", "y", "z"):
        assert len(set(names(await registry.holders("python", salt=salt)))) == 10


async def test_changes_of_two_processes_to_one_agent_all_stand(open_again: OpenAgain) -> None:
    first, second = [Registry((await open_again()).records) for _ in range(2)]
    await first.enrol(agent("ana", "python"))
    await asyncio.gather(*(each.change("ana", counted) for each in (first, second) for _ in range(10)))
    kept = await first.find("ana")
    assert kept is not None
    assert kept.enrolment.candidate.given == 20


async def test_nobody_who_was_never_enrolled_is_changed(registry: Registry) -> None:
    with pytest.raises(NotFoundError):
        await registry.change("nobody", counted)
    assert await registry.find("nobody") is None


async def test_candidates_are_listed_by_name_page_by_page_or_by_skill(registry: Registry) -> None:
    for name in ("ana", "bob", "eve"):
        await registry.enrol(agent(name, "python" if name != "bob" else "sql"))
    assert [one.agent for one in await registry.candidates(limit=2)] == ["ana", "bob"]
    assert [one.agent for one in await registry.candidates(after="bob")] == ["eve"]
    assert sorted(one.agent for one in await registry.candidates(skill="python")) == ["ana", "eve"]


async def test_the_node_of_an_agent_writes_without_reading_and_sees_what_others_wrote(open_again: OpenAgain) -> None:
    own, others = [Registry((await open_again()).records) for _ in range(2)]
    books = Books(own)
    await books.enter(agent("ana", "python"))
    await books.change("ana", counted)
    await others.change("ana", counted)
    assert (await books.change("ana", counted)).candidate.given == 3


async def test_an_earlier_life_writes_nothing_once_a_later_one_is_entered(open_again: OpenAgain) -> None:
    first, second = [Books(Registry((await open_again()).records)) for _ in range(2)]
    await first.enter(agent("ana", "python", incarnation=1))
    await second.enter(agent("ana", "python", incarnation=2))
    with pytest.raises(FencedError):
        await first.change("ana", counted)
    enrolment = second.find("ana")
    assert enrolment is not None
    assert enrolment.candidate.given == 0


async def test_an_earlier_life_is_not_found_again_by_renewing(open_again: OpenAgain) -> None:
    first, second = [Books(Registry((await open_again()).records)) for _ in range(2)]
    await first.enter(agent("ana", "python", incarnation=1))
    await second.enter(agent("ana", "python", incarnation=2))
    with pytest.raises(FencedError):
        await first.renew("ana")
    registry = Registry((await open_again()).records)
    assert [holder.incarnation for holder in await registry.holders("python")] == [2]


async def test_an_agent_the_store_has_lost_is_entered_anew(backend: Backend) -> None:
    books = Books(Registry(backend.records))
    await books.enter(agent("ana", "python"))
    await backend.records.delete("agent/ana")
    assert (await books.change("ana", counted)).candidate.given == 1
