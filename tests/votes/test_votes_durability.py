"""At D3 a decision is told as such, and announced, only once a replica has it."""

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.errors import UnconfirmedError
from meshd.tasks.model import Durability
from meshd.votes.agenda import Agenda
from meshd.votes.consensus import ConsensusManager
from meshd.votes.model import Elector, ProposalState
from meshd.votes.service import VoteService
from tests.support.redis_replicas import RedisReplicas
from tests.support.waiting import wait_until

AT_D3 = BackendOptions(mesh="votes", timeout_ms=2_000, durability=Durability.D3)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[RedisReplicas]:
    with RedisReplicas(tmp_path) as pair:
        yield pair


@pytest.fixture
async def backend(pair: RedisReplicas) -> AsyncIterator[Backend]:
    backend = await open_backend(pair.servers[0].url, AT_D3)
    yield backend
    await backend.aclose()


def votes_on(backend: Backend) -> VoteService:
    async def electors() -> Sequence[Elector]:
        return [Elector(id="a"), Elector(id="b")]

    async def level() -> Durability:
        return (await backend.health()).durability

    return VoteService(backend.records, backend.events, electors=electors, level=level)


async def test_a_confirmed_decision_says_so(backend: Backend) -> None:
    votes = votes_on(backend)
    await votes.propose("x", id="p1", electorate=["a"])
    assert (await votes.vote("p1", "a", True)).durability == Durability.D3
    assert (await votes.get("p1")).durability == Durability.D3


async def test_an_unconfirmed_decision_is_not_announced_and_the_same_vote_confirms_it(
    backend: Backend, pair: RedisReplicas
) -> None:
    votes, told = votes_on(backend), list[str]()

    async def tell(to: str, type: str, payload: object, **_: object) -> None:
        told.append(to)

    manager = ConsensusManager(votes, Agenda(backend.records), tell=tell)
    await votes.propose("x", id="p1", electorate=["a"])
    pair.servers[1].freeze()
    with pytest.raises(UnconfirmedError):
        await votes.vote("p1", "a", True)
    unconfirmed = await votes.get("p1")
    assert (unconfirmed.state, unconfirmed.durability) == (ProposalState.ACCEPTED, "")
    assert (await manager.run_once()).failed == 1
    assert told == []
    pair.servers[1].thaw()
    assert (await votes.vote("p1", "a", True)).durability == Durability.D3

    async def is_told() -> bool:
        await manager.run_once()
        return told == ["a"]

    await wait_until(is_told, timeout=10)
    assert (await votes.get("p1")).announced
