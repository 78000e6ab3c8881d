"""The votes of one mesh on real stores: service, messages, agenda and consensus manager, as one process has them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random

import pytest

from meshd.backends import Backend, BackendOptions
from meshd.messages.service import Messages
from meshd.tasks.model import Durability
from meshd.votes.agenda import Agenda
from meshd.votes.consensus import ConsensusManager
from meshd.votes.model import Elector
from meshd.votes.service import VoteOptions, VoteService
from tests.conftest import OpenAgain

AGENTS = tuple(Elector(id=f"a{number}", incarnation=1) for number in range(5))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """What one process has of the votes."""

    votes: VoteService
    messages: Messages
    agenda: Agenda
    manager: ConsensusManager
    backend: Backend


OpenSeat = Callable[..., Awaitable[Seat]]


@pytest.fixture
async def open_seat(open_again: OpenAgain) -> AsyncIterator[OpenSeat]:
    """Opens the votes of this test's mesh as often as asked, each time as another process would."""
    seats: list[Seat] = []

    async def open_one(
        electors: Sequence[Elector] = AGENTS, *, options: BackendOptions | None = None, is_talkative: bool = True
    ) -> Seat:
        backend = await open_again(options)
        messages = Messages(backend.records, backend.events, sender="client:test")

        async def live() -> Sequence[Elector]:
            return electors

        async def level() -> Durability:
            return (await backend.health()).durability

        votes = VoteService(
            backend.records,
            backend.events,
            electors=live,
            tell=messages.send if is_talkative else None,
            level=level,
            options=VoteOptions(proposer="client:test"),
            rng=Random(1),
        )
        agenda = Agenda(backend.records)
        manager = ConsensusManager(votes, agenda, tell=messages.send)
        seats.append(Seat(votes=votes, messages=messages, agenda=agenda, manager=manager, backend=backend))
        return seats[-1]

    yield open_one
    for seat in seats:
        await seat.messages.aclose()


@pytest.fixture
async def seat(open_seat: OpenSeat) -> Seat:
    return await open_seat()


@pytest.fixture
def votes(seat: Seat) -> VoteService:
    return seat.votes
