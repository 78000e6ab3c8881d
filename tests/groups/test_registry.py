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
from meshd.groups.registry import Registry
from meshd.groups.skill_index import FEW, MOST_IN_ROW, Holder, Rows
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


async def enter(registry: Registry, *declared: Candidate) -> Books:
    """Enter agents of one node and show them, as a process of its own does."""
    books = Books(registry, node=declared[0].node)
    for each in declared:
        await books.enter(each)
    await books.show(incarnation=declared[0].incarnation)
    return books


async def show(backend: Backend, count: int, *, on: str = "", skill: str = "python") -> None:
    """Have so many agents found, on nodes of their own or all on one, without entering them."""
    many = [agent(f"{on or 'a'}{number}", skill) for number in range(count)]
    for crowd in [[replace(each, node=on) for each in many]] if on else [[each] for each in many]:
        await Rows(backend.records, node=crowd[0].node, ttl_ms=900_000).show(crowd, incarnation=1)


def names(holders: Sequence[Holder]) -> list[str]:
    return [holder.agent for holder in holders]


def counted(enrolment: Enrolment, _now_ms: int) -> Enrolment:
    return replace(enrolment, candidate=replace(enrolment.candidate, given=enrolment.candidate.given + 1))


async def test_an_agent_is_found_by_each_of_its_skills_at_its_level_and_below(registry: Registry) -> None:
    await enter(registry, agent("ana", "python", "sql", level=Level.ADVANCED))
    await enter(registry, agent("bob", "python", level=Level.NOVICE))
    assert sorted(names(await registry.holders("python"))) == ["ana", "bob"]
    found = await registry.holders("python", level=Level.ADVANCED)
    assert found == [Holder(agent="ana", level=Level.ADVANCED, node="node-ana", incarnation=1)]
    assert names(await registry.holders("sql", level=Level.EXPERT)) == []
    assert names(await registry.holders("go")) == []


async def test_skills_declared_no_more_are_not_found_and_new_levels_replace_old_ones(registry: Registry) -> None:
    await enter(registry, agent("ana", "python", "sql"))
    await enter(registry, agent("ana", "python", level=Level.EXPERT))
    assert names(await registry.holders("sql")) == []
    assert [holder.level for holder in await registry.holders("python")] == [Level.EXPERT]


async def test_skills_an_earlier_life_declared_are_not_found_even_where_many_did(registry: Registry) -> None:
    crowd = [replace(agent(f"a{number}", "python", "sql"), node="n") for number in range(2 * MOST_IN_ROW + 1)]
    await enter(registry, *crowd)
    assert len(await registry.holders("sql", most=100)) == len(crowd)
    later = [replace(agent(each.agent, "python", incarnation=2), node="n") for each in crowd]
    await enter(registry, *later)
    assert not await registry.holders("sql")
    assert {each.incarnation for each in await registry.holders("python", most=100)} == {2}


async def test_who_is_hidden_is_found_no_more_but_is_known(registry: Registry, backend: Backend) -> None:
    books = await enter(registry, agent("ana", "python"))
    await books.hide()
    assert names(await Registry(backend.records).holders("python")) == []
    await books.show(incarnation=1)
    assert names(await Registry(backend.records).holders("python")) == []
    assert [one.agent for one in await registry.candidates()] == ["ana"]


async def test_an_earlier_life_of_a_node_hides_and_shows_nothing_of_a_later_one(registry: Registry) -> None:
    first = await enter(registry, agent("ana", "python", incarnation=1))
    await enter(registry, agent("ana", "python", incarnation=2))
    with pytest.raises(FencedError):
        await first.show(incarnation=1)
    await first.hide()
    assert [(each.agent, each.incarnation) for each in await registry.holders("python")] == [("ana", 2)]


async def test_an_earlier_life_cannot_enrol_over_a_later_one(registry: Registry) -> None:
    await enter(registry, agent("ana", "python", incarnation=2))
    with pytest.raises(FencedError):
        await enter(registry, agent("ana", "sql", incarnation=1))


async def test_who_is_not_shown_anew_falls_out_of_the_index(
    registry: Registry, backend: Backend, clock: ManualClock
) -> None:
    await enter(registry, agent("ana", "python"))
    books = await enter(registry, agent("bob", "python"))
    for _ in range(2):
        clock.advance(seconds=600)
        await books.show(incarnation=1)
    assert names(await Registry(backend.records).holders("python")) == ["bob"]


async def test_agents_of_one_node_are_shown_anew_in_one_write_for_each_skill_and_level(
    registry: Registry, backend: Backend
) -> None:
    crowd = [replace(agent(f"a{number:02}", "python", "sql"), node="n") for number in range(MOST_IN_ROW)]
    books = await enter(registry, *crowd)
    before = await backend.records.list("skill/")
    await books.show(incarnation=1)
    after = await backend.records.list("skill/")
    assert [row.key for row in after] == [row.key for row in before]
    assert len(after) == 2
    written = after[-1].revision - max(row.revision for row in before)
    assert written == 2


async def test_what_the_store_has_lost_is_shown_anew_and_read_anew(registry: Registry, backend: Backend) -> None:
    books = await enter(registry, agent("ana", "python"))
    for row in [*await backend.records.list("skill/"), *await backend.records.list("agent/")]:
        await backend.records.delete(row.key)
    await books.show(incarnation=1)
    await books.make_sure("ana")
    assert names(await registry.holders("python")) == ["ana"]
    assert [one.agent for one in await registry.candidates()] == ["ana"]


@pytest.mark.parametrize("count", [40, FEW + 60])
async def test_few_and_many_holders_are_asked_in_turn_from_a_place_the_salt_tells(
    backend: Backend, registry: Registry, count: int
) -> None:
    await show(backend, count)
    rounds = [names(await registry.holders("python", salt=f"work-{number}", most=16)) for number in range(60)]
    assert all(len(set(found)) == 16 for found in rounds)
    assert names(await registry.holders("python", salt="work-1", most=16)) == rounds[1]
    assert len({found[0] for found in rounds}) > 20
    every = set[str]().union(*rounds)
    assert len(every) > count / 2


async def test_holders_on_a_full_node_are_as_likely_found_as_those_on_nodes_of_their_own(
    backend: Backend, registry: Registry
) -> None:
    await show(backend, 150)
    await show(backend, 600, on="full")
    found = [each for number in range(200) for each in await registry.holders("python", salt=f"w-{number}", most=16)]
    full = sum(each.node == "full" for each in found) / 600
    alone = sum(each.node != "full" for each in found) / 150
    assert 0.5 < full / alone < 2
    assert len({each.agent for each in found}) > 500


async def test_all_holders_are_found_when_there_are_no_more_than_asked_for(registry: Registry) -> None:
    for number in range(10):
        await enter(registry, agent(f"a{number}", "python", level=Level(1 + number % 4)))
    for salt in ("", "x", "y", "z"):
        assert len(set(names(await registry.holders("python", salt=salt)))) == 10


async def test_all_of_many_holders_are_found_once_by_who_asks_for_all(backend: Backend, registry: Registry) -> None:
    await show(backend, FEW + 60)
    await show(backend, 5 * MOST_IN_ROW, on="full")
    for salt in ("", "x", "y"):
        found = names(await registry.holders("python", salt=salt, most=1_000))
        assert len(found) == len(set(found)) == FEW + 60 + 5 * MOST_IN_ROW


async def test_an_agent_shown_by_two_nodes_is_found_in_its_latest_life(registry: Registry) -> None:
    await enter(registry, agent("ana", "python", level=Level.EXPERT))
    await enter(registry, replace(agent("ana", "python", incarnation=2), node="elsewhere"))
    assert await registry.holders("python") == [
        Holder(agent="ana", level=Level.INTERMEDIATE, node="elsewhere", incarnation=2)
    ]
    assert not await registry.holders("python", level=Level.EXPERT)


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
        await enter(registry, agent(name, "python" if name != "bob" else "sql"))
    assert [one.agent for one in await registry.candidates(limit=2)] == ["ana", "bob"]
    assert [one.agent for one in await registry.candidates(after="bob")] == ["eve"]
    assert sorted(one.agent for one in await registry.candidates(skill="python")) == ["ana", "eve"]


async def test_the_node_of_an_agent_writes_without_reading_and_sees_what_others_wrote(open_again: OpenAgain) -> None:
    own, others = [Registry((await open_again()).records) for _ in range(2)]
    books = Books(own, node="node-ana")
    await books.enter(agent("ana", "python"))
    await books.change("ana", counted)
    await others.change("ana", counted)
    assert (await books.change("ana", counted)).candidate.given == 3


async def test_an_earlier_life_writes_nothing_once_a_later_one_is_entered(open_again: OpenAgain) -> None:
    first, second = [Books(Registry((await open_again()).records), node="node-ana") for _ in range(2)]
    await first.enter(agent("ana", "python", incarnation=1))
    await second.enter(agent("ana", "python", incarnation=2))
    with pytest.raises(FencedError):
        await first.change("ana", counted)
    enrolment = second.find("ana")
    assert enrolment is not None
    assert enrolment.candidate.given == 0


async def test_an_agent_the_store_has_lost_is_entered_anew(backend: Backend) -> None:
    books = Books(Registry(backend.records), node="node-ana")
    await books.enter(agent("ana", "python"))
    await backend.records.delete("agent/ana")
    assert (await books.change("ana", counted)).candidate.given == 1
