"""The vote service: propose, vote, and learn the decision, from any process of the mesh.

The store is where votes meet, so this is a record of decisions, not Paxos: a decision is as safe as the store's
durability level, which it states, and there is none while the store is away.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any

from meshd.errors import AlreadyExistsError, DeadlineError, InvalidArgumentError, UnavailableError
from meshd.events import EventBus, Subscription
from meshd.ids import check_name, new_id
from meshd.records import Guard, RecordStore
from meshd.votes.agenda import Agenda
from meshd.votes.announcing import VOTES_TOPIC, Tell, proposal_topic, tell_proposal
from meshd.votes.box import RETENTION_MS, BallotBox, Level
from meshd.votes.codec import check_content
from meshd.votes.counting import Count
from meshd.votes.leadership import Leaders, Leadership
from meshd.votes.leading import Lease
from meshd.votes.model import (
    CastVote,
    Choice,
    Elector,
    Proposal,
    ProposalState,
    ProposalType,
    Quorum,
    VoteStatistics,
    Waggle,
)
from meshd.votes.tally import cast, choice_of, elector_of, open_proposal, permil, reach, withdraw

MAX_LISTED = 1_000
LOOK_S = 10.0
"""Longest wait for a hint before looking anyway."""

Electors = Callable[[], Awaitable[Sequence[Elector]]]
"""Returns every agent that may vote now, as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteOptions:
    """What holds when a caller says nothing."""

    quorum: Quorum = field(default_factory=Quorum)
    timeout: timedelta = timedelta(seconds=30)
    minimum_intensity: float = 0.3
    """From here on the default policy supports a proposal."""
    proposer: str = "client"


class VoteService:
    """Decide together."""

    def __init__(  # noqa: PLR0913 -- each is one independent part of a mesh, all by keyword
        self,
        records: RecordStore,
        events: EventBus,
        *,
        electors: Electors,
        tell: Tell | None = None,
        level: Level | None = None,
        options: VoteOptions = VoteOptions(),
        leaders: Leaders | None = None,
        rng: Random | None = None,
    ) -> None:
        self.leaders = leaders or Leaders(records, events, holder=options.proposer)
        """Who leads what."""
        self._events = events
        self._electors = electors
        self._tell = tell
        self._options = options
        self._box = BallotBox(records, rng=rng) if level is None else BallotBox(records, level=level, rng=rng)
        self._agenda = Agenda(records)

    @property
    def options(self) -> VoteOptions:
        return self._options

    async def propose(  # noqa: PLR0913 -- each is one independent choice of the caller, all by keyword
        self,
        content: Any,
        *,
        id: str | None = None,
        type: str = ProposalType.DECISION,
        electorate: Iterable[Elector | str] | None = None,
        quorum: Quorum | None = None,
        timeout: timedelta | None = None,
        waggle: Waggle | None = None,
        supersedes: str = "",
        proposer: str | None = None,
    ) -> Proposal:
        """Ask the electorate, every agent of every live node by default; who may vote is fixed from here on.

        The same `id` and content again is the same proposal, its votes kept, so a call whose answer was lost may be
        repeated. `supersedes` ends an undecided proposal and counts as the next epoch of it.

        Raises:
            AlreadyExistsError: the id belongs to a proposal about something else.
            NotFoundError: the superseded proposal is not kept.
            InvalidArgumentError: nobody may vote, the quorum cannot be reached, or something is over its limit.
        """
        content = check_content(content)
        if id is not None and (known := await self._box.find(check_name("proposal", id))):
            return _same(known, content, type)
        epoch = 1
        electors = await self._electorate(electorate)
        if supersedes:
            epoch = (await self._withdrawn(supersedes)).epoch + 1
        proposal = open_proposal(
            Proposal(
                id=id or new_id(),
                proposer=check_name("proposer", proposer or self._options.proposer),
                type=type,
                content=content,
                electorate=tuple(electors),
                epoch=epoch,
                supersedes=supersedes,
                quorum=quorum or self._options.quorum,
                waggle=waggle or Waggle(),
                expires_ms=round((timeout or self._options.timeout).total_seconds() * 1_000),
            )
        )
        return await self._keep(proposal)

    async def vote(
        self,
        proposal_id: str,
        voter: str,
        choice: Choice | bool | str,
        *,
        intensity: float = 1.0,
        reason: str = "",
        incarnation: int | None = None,
    ) -> Proposal:
        """Count one elector's vote and return the proposal after it. The first vote is final; the same again is fine.

        `incarnation` is the voter's life, that of the electorate by default: a later one may vote if no earlier did.

        Raises:
            NotFoundError: there is no such proposal.
            NotElectorError: the voter is not in its electorate.
            AlreadyVotedError: the voter said something else before.
            ClosedError: the proposal is decided, or its time is over.
            FencedError: the incarnation is older than the one that may vote.
        """
        said, strength = choice_of(choice), permil(intensity)

        def counted(found: Proposal, now_ms: int) -> Proposal:
            life = elector_of(found, voter).incarnation if incarnation is None else incarnation
            vote = CastVote(
                voter=voter, choice=said, incarnation=life, intensity_permil=strength, reason=reason, at_ms=now_ms
            )
            return cast(found, vote)

        return await self._closing(proposal_id, await self._box.change(proposal_id, counted))

    async def reach(self, proposal_id: str, *, count: int) -> Proposal:
        """Return the proposal, accepted from here on if its quorum was left to who asks and it has `count` yes.

        Raises:
            NotFoundError: there is no such proposal.
        """
        found = await self._box.change(proposal_id, lambda found, now_ms: reach(found, count=count, now_ms=now_ms))
        return await self._closing(proposal_id, found)

    async def get(self, proposal_id: str) -> Proposal:
        """Return one proposal as it stands.

        Raises:
            NotFoundError: there is none of this id, or its decision is over a day old.
        """
        return await self._box.get(proposal_id)

    async def list(
        self, *, state: ProposalState | str | None = None, type: str | None = None, limit: int = 100
    ) -> Sequence[Proposal]:
        """Return up to `limit` proposals that match, in the order of their ids: by age, where meshd made the ids.

        One whose record is damaged is left out, with a warning in the log; `get` says why, `statistics` how many.

        Raises:
            InvalidArgumentError: no proposal is ever in that state, or the limit is not 1 to 1000.
        """
        if not 1 <= limit <= MAX_LISTED:
            raise InvalidArgumentError(f"limit {limit} is not 1 to {MAX_LISTED}")
        wanted = None if state is None else _state(state)
        found: list[Proposal] = []
        after = ""
        while len(found) < limit and (page := await self._box.page(after=after)).last:
            found += [each for each in page.proposals if wanted in (None, each.state) and type in (None, each.type)]
            after = page.last
        return found[:limit]

    async def decision(self, proposal_id: str, *, timeout: timedelta = timedelta(seconds=30)) -> Proposal:
        """Wait until the proposal is decided, and return it.

        Raises:
            NotFoundError: there is no such proposal.
            DeadlineError: it was not decided within `timeout`.
        """
        if (await self._box.get(proposal_id)).state.is_decided:
            return await self._settled(proposal_id)
        try:
            async with asyncio.timeout(timeout.total_seconds()), self._listening(proposal_id) as hints:
                while True:
                    found, read_ms = await self._box.read(proposal_id)
                    if found.state.is_decided or read_ms >= found.expires_ms:
                        return await self._settled(proposal_id)
                    await _until_hint(hints, wait_ms=found.expires_ms - read_ms)
        except TimeoutError:
            raise DeadlineError(
                f"proposal {proposal_id} was not decided within {timeout.total_seconds():g} s; votes go on"
            ) from None

    def leader(
        self, scope: str, *, lease: Lease | None = None, wait: timedelta | None = None
    ) -> AbstractAsyncContextManager[Leadership]:
        """Wait to be elected, then lead for the length of the block; see `Leaders.leader`."""
        return self.leaders.leader(scope, lease=lease, wait=wait)

    async def statistics(self) -> VoteStatistics:
        """Return the proposals the store keeps, in numbers."""
        count = Count()
        damaged, after = 0, ""
        while (page := await self._box.page(after=after)).last:
            for proposal in page.proposals:
                count.add(proposal)
            damaged += page.damaged
            after = page.last
        return count.statistics(damaged=damaged)

    async def confirm(self, proposal_id: str, *, guard: Guard | None = None) -> Proposal:
        """Return the proposal, its decision confirmed at the level it states; undecided, as it stands."""
        found = await self._box.get(proposal_id)
        if not found.state.is_decided or found.durability:
            return found
        return await self._box.confirm(proposal_id, guard=guard)

    async def announced(self, proposal_id: str, *, guard: Guard | None = None) -> Proposal:
        """Note that every elector was sent the decision."""
        return await self._box.change(proposal_id, lambda found, _: _announced(found), guard=guard)

    async def _withdrawn(self, proposal_id: str) -> Proposal:
        """Return a proposal that takes no more votes; who waits for it hears so."""
        old = await self._box.change(proposal_id, lambda old, now_ms: withdraw(old, now_ms=now_ms))
        await self._hint_end(old)
        return old

    async def _keep(self, proposal: Proposal) -> Proposal:
        """Return the proposal once it is kept and told, or the one of its id that was there before."""
        life_ms = proposal.expires_ms + RETENTION_MS
        await self._agenda.add(proposal.id, ttl_ms=life_ms)
        is_new = await self._box.create(proposal)
        kept = await self._box.get(proposal.id)
        if not is_new:
            return _same(kept, proposal.content, proposal.type)
        await self._announce(kept, life_ms)
        return kept

    async def _announce(self, proposal: Proposal, life_ms: int) -> None:
        """Tell the electors; what is not told because the store went away, the consensus manager tells later."""
        with suppress(UnavailableError):
            if self._tell is not None and not await tell_proposal(self._tell, proposal):
                await self._agenda.told(proposal.id, ttl_ms=life_ms)
            await self._hint(VOTES_TOPIC, proposal)

    async def _closing(self, proposal_id: str, proposal: Proposal) -> Proposal:
        """Return the proposal; a decision is confirmed first, then hinted at to whoever waits for it."""
        if not proposal.state.is_decided:
            return proposal
        confirmed = proposal if proposal.durability else await self._box.confirm(proposal_id)
        await self._hint_end(confirmed)
        return confirmed

    async def _settled(self, proposal_id: str) -> Proposal:
        found = await self._box.get(proposal_id)
        return found if found.durability else await self._box.confirm(proposal_id)

    async def _hint_end(self, proposal: Proposal) -> None:
        with suppress(UnavailableError):
            await self._hint(proposal_topic(proposal.id), proposal)
            await self._hint(VOTES_TOPIC, proposal)

    async def _hint(self, topic: str, proposal: Proposal) -> None:
        await self._events.publish(topic, {"proposal": proposal.id, "state": proposal.state.value})

    def _listening(self, proposal_id: str) -> AbstractAsyncContextManager[Subscription]:
        return self._events.subscribe(proposal_topic(proposal_id))

    async def _electorate(self, asked: Iterable[Elector | str] | None) -> Sequence[Elector]:
        """Return the electors asked for; of agents named, and when none are, as the live nodes have them."""
        if asked is None:
            return list(_latest(await self._electors()).values())
        named = list(asked)
        if all(isinstance(each, Elector) for each in named):
            return [each for each in named if isinstance(each, Elector)]
        live = _latest(await self._electors())
        return [each if isinstance(each, Elector) else live.get(each, Elector(id=each)) for each in named]


def _latest(electors: Iterable[Elector]) -> dict[str, Elector]:
    """Return one elector for each id: its latest life, should an agent have moved to another node."""
    latest: dict[str, Elector] = {}
    for elector in electors:
        if elector.id not in latest or latest[elector.id].incarnation < elector.incarnation:
            latest[elector.id] = elector
    return latest


def _same(known: Proposal, content: Any, type: str) -> Proposal:
    if (known.content, known.type) != (content, type):
        raise AlreadyExistsError(f"proposal {known.id} exists already and is about something else: use another id")
    return known


def _announced(proposal: Proposal) -> Proposal:
    return proposal if proposal.announced else replace(proposal, announced=True)


def _state(name: ProposalState | str) -> ProposalState:
    try:
        return ProposalState(name)
    except ValueError:
        raise InvalidArgumentError(f"state {name!r} is not one of {', '.join(ProposalState)}") from None


async def _until_hint(hints: Subscription, *, wait_ms: int) -> None:
    """Return at a hint, when `wait_ms` are over, or after a while even without a store that answers."""
    limit_ms = max(1, min(wait_ms, round(LOOK_S * 1_000)))
    try:
        await hints.get(timeout_ms=limit_ms)
    except UnavailableError:
        await asyncio.sleep(min(limit_ms, 1_000) / 1_000)
