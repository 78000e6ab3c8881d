"""Random histories of votes on real stores: processes die inside any call, voters restart, the clock jumps.

Whatever happens, every reader that is told a decision is told the same one, and a vote that was acknowledged counts.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from random import Random
from typing import Any
from uuid import uuid4

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.clock import ManualClock
from meshd.errors import ConflictError, MeshError, NotElectorError, NotFoundError
from meshd.messages.places import inbox_prefix
from meshd.messages.service import Messages
from meshd.records import RecordStore
from meshd.votes.agenda import Agenda
from meshd.votes.consensus import ConsensusManager
from meshd.votes.model import Choice, Elector, Proposal, ProposalState, Quorum
from meshd.votes.service import VoteService
from meshd.votes.tally import tally
from tests.support.stores import StoreSource

ELECTORS = tuple(Elector(id=f"a{number}", incarnation=1, may_veto=number == 4) for number in range(5))
PROPOSALS = ("p1", "p2")


class KilledError(Exception):
    """The process died here."""


class MortalStore:
    """Records of a process that dies at one of its calls, before it or when the store has done it; or stalls at one."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records
        self.left = -1
        self.is_done_first = False
        self.before_update: Callable[[], Awaitable[object]] | None = None

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._records, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self.is_done_first:
                raise KilledError
            if name == "update" and self.before_update is not None:
                stall, self.before_update = self.before_update, None
                await stall()
            result = await method(*args, **kwargs)
            if self.left == 0:
                raise KilledError
            return result

        return call


class Histories(RuleBasedStateMachine):
    """One history on one store."""

    source: StoreSource

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.mesh = f"h{uuid4().hex[:12]}"
        self.clock = ManualClock()
        self.told: dict[str, ProposalState] = {}
        self.counted: dict[tuple[str, str], Choice] = {}
        self.needs: dict[str, int] = {}
        self.lives = dict.fromkeys((elector.id for elector in ELECTORS), 1)
        self.backend: Backend = self.run(self.open())

    def run(self, work: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await work

        return self.runner.run(awaited())

    async def open(self) -> Backend:
        return await open_backend(self.source.url(self.mesh), BackendOptions(mesh=self.mesh, clock=self.clock))

    def process(self, dies: tuple[int, bool]) -> tuple[VoteService, ConsensusManager]:
        """Return what a fresh process has, which dies at a call of its own, or at none."""
        records: Any = MortalStore(self.backend.records)
        self.records = records
        records.left, records.is_done_first = dies
        messages = Messages(self.backend.records, self.backend.events, sender="client:h")

        async def tell(*args: Any, **kwargs: Any) -> object:
            await records.get("here")
            return await messages.send(*args, **kwargs)

        async def live() -> tuple[Elector, ...]:
            return ELECTORS

        votes = VoteService(records, self.backend.events, electors=live, tell=tell, rng=Random(0))
        return votes, ConsensusManager(votes, Agenda(records), tell=tell)

    def attempt(self, work: Awaitable[Any]) -> Proposal | None:
        """Return what a process got told, `None` if it died or was refused."""
        try:
            answer = self.run(work)
        except (KilledError, ConflictError, NotElectorError, NotFoundError):
            return None
        if isinstance(answer, Proposal):
            self.see(answer)
            return answer
        return None

    def see(self, proposal: Proposal) -> None:
        if proposal.state.is_decided:
            assert self.told.setdefault(proposal.id, proposal.state) is proposal.state
        assert self.needs.setdefault(proposal.id, proposal.need) == proposal.need
        for (name, voter), choice in self.counted.items():
            if name == proposal.id:
                assert proposal.votes[voter].choice is choice
        counts = tally(proposal)
        vetoed = any(vote.choice is Choice.NO for voter, vote in proposal.votes.items() if voter == "a4")
        match proposal.state:
            case ProposalState.ACCEPTED:
                assert counts.yes >= proposal.need
                assert not vetoed
            case ProposalState.REJECTED:
                assert counts.is_impossible or vetoed
            case ProposalState.PENDING | ProposalState.EXPIRED:
                assert not counts.is_accepted
                assert not counts.is_impossible

    deaths = st.tuples(st.integers(-1, 12), st.booleans())
    names = st.sampled_from(PROPOSALS)

    @rule(name=names, dies=deaths)
    def propose(self, name: str, dies: tuple[int, bool]) -> None:
        votes, _ = self.process(dies)
        self.attempt(votes.propose(name, id=name, quorum=Quorum(), timeout=timedelta(seconds=30)))

    @rule(name=names, voter=st.integers(0, 5), choice=st.sampled_from(Choice), dies=deaths, back=st.integers(0, 1))
    def vote(self, name: str, voter: int, choice: Choice, dies: tuple[int, bool], back: int) -> None:
        votes, _ = self.process(dies)
        agent = f"a{voter}"
        incarnation = self.lives.get(agent, 1) - back
        done = self.attempt(votes.vote(name, agent, choice, incarnation=incarnation))
        if done is not None:
            assert self.counted.setdefault((name, agent), choice) is choice

    @rule(voter=st.integers(0, 4))
    def restart(self, voter: int) -> None:
        self.lives[f"a{voter}"] += 1

    @rule(name=names, one=st.integers(0, 4), other=st.integers(0, 4))
    def vote_at_once(self, name: str, one: int, other: int) -> None:
        async def both() -> tuple[Any, ...]:
            crew = [self.process((-1, False))[0] for _ in range(3)]
            return await asyncio.gather(
                crew[0].vote(name, f"a{one}", True, incarnation=self.lives[f"a{one}"]),
                crew[1].vote(name, f"a{other}", False, incarnation=self.lives[f"a{other}"]),
                crew[2].get(name),
                return_exceptions=True,
            )

        answers = self.run(both())
        for answer, (agent, choice) in zip(answers, ((f"a{one}", Choice.YES), (f"a{other}", Choice.NO)), strict=False):
            if isinstance(answer, Proposal):
                assert self.counted.setdefault((name, agent), choice) is choice
        for answer in answers:
            assert isinstance(answer, Proposal | MeshError), answer
            if isinstance(answer, Proposal) and answer.state.is_decided:
                assert self.told.setdefault(name, answer.state) is answer.state

    @rule(name=names, voter=st.integers(0, 4), choice=st.sampled_from(Choice), seconds=st.integers(0, 40))
    def vote_slowly(self, name: str, voter: int, choice: Choice, seconds: int) -> None:
        """The voter stalls between its read and its write; time passes, and others are told how things stand."""
        votes, _ = self.process((-1, False))
        agent = f"a{voter}"

        async def meanwhile() -> None:
            self.clock.advance(seconds=seconds)
            self.see(await self.process((-1, False))[0].get(name))

        self.records.before_update = meanwhile
        done = self.attempt(votes.vote(name, agent, choice, incarnation=self.lives[agent]))
        if done is not None:
            assert self.counted.setdefault((name, agent), choice) is choice

    @rule(seconds=st.integers(0, 40))
    def jump(self, seconds: int) -> None:
        self.clock.advance(seconds=seconds)

    @rule(dies=st.tuples(st.integers(-1, 30), st.booleans()))
    def manage(self, dies: tuple[int, bool]) -> None:
        _, manager = self.process(dies)
        self.attempt(manager.run_once())

    @invariant()
    def every_reader_sees_the_same(self) -> None:
        for name in PROPOSALS:
            self.attempt(self.process((-1, False))[0].get(name))

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        self.run(self.finish())
        self.runner.close()
        self.source.finish(self.mesh)

    async def finish(self) -> None:
        """Let a last manager work, and see that each elector is told each decision once."""
        try:
            self.clock.advance(seconds=60)
            votes, manager = self.process((-1, False))
            await manager.run_once()
            decided = {each.id for each in await votes.list()}
            for elector in ELECTORS:
                keys = [record.key for record in await self.backend.records.list(inbox_prefix(elector.id))]
                assert sorted(key.rpartition(":")[2] for key in keys if "~decision:" in key) == sorted(decided)
        finally:
            await self.backend.aclose()


def test_every_reader_is_told_the_same_decision_whatever_happens(stores: StoreSource) -> None:
    machine = type("HistoriesHere", (Histories,), {"source": stores})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=25, deadline=None))
