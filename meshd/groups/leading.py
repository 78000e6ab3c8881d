"""Leading one announcement, from asking for offers to its end.

The record is the truth: a leader may die between any two steps, and two may lead at once. What a leader keeps in memory
are the offers of this moment, and when to act next. It reads the record only when it has to act and was told, or must
suppose, that others have changed it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from meshd.errors import ConflictError, CorruptDataError, NotFoundError, UnavailableError
from meshd.groups.announcements import Announcements, Done, Kept
from meshd.groups.asking import by_node, holders_of, question
from meshd.groups.codec import offers_from_rows
from meshd.groups.gathering import Gathering, Invited, worth_keeping
from meshd.groups.happenings import AgentDied, GroupEvent, OffersGathered, OthersSeen, Ticked
from meshd.groups.inviting import OPEN
from meshd.groups.lives import Lives
from meshd.groups.model import (
    Announcement,
    AnnouncementState,
    GroupMessage,
    Invitation,
    Member,
    Offer,
    SkillNeed,
)
from meshd.groups.phases import others_of
from meshd.groups.protocol import apply, apply_all, next_visit, outstanding
from meshd.groups.registry import Registry
from meshd.groups.shares import DEFAULT_SHARES, ShareRules
from meshd.groups.skill_index import Holder
from meshd.groups.steps import Rules, Step, open_needs
from meshd.groups.wire import MISSED, Envelope, Post, node_place

logger = logging.getLogger(__name__)

RETRY_S = (0.1, 0.5)
"""Pause after a call the store did not answer."""
STRANGE_S = 2.0
"""Pause after a failure nobody has thought of."""
OTHERS_MS = 10_000
"""How often announcements that this one waits for, or is a part of, are looked at unless told."""
LEAST_PAUSE_MS = 50
"""Between two rounds of asking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubOptions:
    """What a hub can be told beside the rules."""

    rules: Rules = field(default_factory=Rules)
    shares: ShareRules = DEFAULT_SHARES
    most_asked: int = 64
    """Holders of each skill that one round of asking reaches."""
    most_written: int = 16
    """Offers of one round of asking that are written down at most, …"""
    written_each: int = 4
    """… and for each skill that is missing; the others are remembered while the hub lives."""
    query_ms: int = 5_000
    """How often a gap that nobody fills is asked for."""
    lease_ms: int = 1_500
    """How long a hub that says nothing is taken to lead."""
    look_ms: int = 1_500
    """How often a hub that is willing to lead looks whether something open is led by nobody, while anything is open."""
    litter_ms: int = 5_000
    """Age at which a marker without an announcement is removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What leaders of one hub share."""

    announcements: Announcements
    registry: Registry
    post: Post
    lives: Lives
    options: HubOptions
    hub: str
    reply_to: str
    rng: Random
    interval_ms: Callable[[], int]
    """How long to wait before a gap that nobody fills is asked for again."""
    listening: Callable[[], Awaitable[None]]
    """Returns once answers to the hub are heard."""
    watch: Callable[[str, Sequence[str]], None]
    """An announcement is to be told when others are over."""
    invited: Invited = field(default_factory=Invited)
    """Whom this hub has just invited."""


class Leading:
    """One announcement, led here. `run` ends when it is over, or is led by somebody else."""

    def __init__(self, announcement_id: str, tools: Tools, *, kept: Kept | None = None) -> None:
        """With `kept`, the announcement was just made; else it is taken over."""
        self.id = announcement_id
        self.watches: Sequence[str] = ()
        """Announcements whose end it is to be told of."""
        self._tools = tools
        self._kept = kept
        self._found: Mapping[SkillNeed, Sequence[Holder]] | None = None
        self._gathering: Gathering | None = None
        self._invited: Sequence[str] = ()
        self._asked_ms = self._ask_at_ms = self._others_at_ms = 0
        self._look_at_ms: int | None = None
        self._woken = asyncio.Event()
        self._is_told = False
        self._is_over = False

    def with_holders(self, found: Mapping[SkillNeed, Sequence[Holder]]) -> "Leading":
        """Ask these first, who were looked up while the announcement was made."""
        self._found = found
        return self

    @property
    def announcement(self) -> Announcement | None:
        """The announcement as it was read or written here last."""
        return None if self._kept is None else self._kept.announcement

    async def run(self) -> None:
        """Lead until it is over. Nothing the store does ends it."""
        await self._tools.listening()
        if self._kept is not None:
            self._watch(self._kept.announcement)
        while not self._is_over:
            try:
                await self._step()
            except UnavailableError as exc:
                logger.debug("announcement %s waits: %s", self.id, exc)
                self._kept = None
                await asyncio.sleep(self._tools.rng.uniform(*RETRY_S))
            except NotFoundError:
                return
            except Exception:
                logger.exception("announcement %s is led on in a while", self.id)
                await asyncio.sleep(STRANGE_S)

    def hear(self, envelope: Envelope) -> None:
        """Take what an agent or its node answered."""
        match envelope.type:
            case GroupMessage.SKILL_OFFER:
                self._offered(envelope.payload)
            case GroupMessage.GROUP_ACCEPT:
                self._look_at_ms = self._later() if self._look_at_ms is None else self._look_at_ms
            case _:
                if envelope.type != MISSED:
                    self._ask_soon()
                self.look()

    def changed(self, state: AnnouncementState) -> None:
        """Take what is told of the announcement: it has another state."""
        if state in (AnnouncementState.FORMED, AnnouncementState.RUNNING) or state.is_over:
            self._tools.invited.seen(self._invited)
            self._invited = ()
        if state.is_over:
            self._is_over = True
            self._woken.set()
        elif state in (AnnouncementState.FORMED, AnnouncementState.RUNNING):
            self._look_at_ms = self._later()
            self._woken.set()
        elif state is AnnouncementState.REFORMING:
            self._ask_soon()
            self.look()

    def other_is_over(self) -> None:
        """Something it waits for, or is a part of, has ended."""
        self._others_at_ms = 0
        self._woken.set()

    def look(self) -> None:
        """Read it again: it was changed, or may have been."""
        self._look_at_ms = 0
        self._woken.set()

    def mourn(self, nodes: Collection[str]) -> None:
        """A life of each of these nodes is over: whoever lived there has no part in this any more."""
        known = self.announcement
        if known is not None and nodes & places_of(known).keys():
            self.look()
        if self._gathering is not None:
            for node in nodes:
                self._gathering.lose(node)
            self._woken.set()

    async def _step(self) -> None:
        """Do what is due, then wait for what comes next."""
        if self._kept is None or (self._look_at_ms is not None and self._now_ms() >= self._look_at_ms):
            await self._read()
        if self._is_over or self._kept is None:
            return
        current = self._kept.announcement
        if others_of(current) and self._now_ms() >= self._others_at_ms:
            await self._look_at_others(current)
        elif self._look_at_ms is None and (visit := self._visit()) is not None and visit <= self._now_ms():
            await self._change(self._tick)
        elif self._gathering is not None and self._is_ripe(current):
            await self._choose()
        elif self._gathering is None and self._has_gap(current) and self._now_ms() >= self._ask_at_ms:
            await self._ask(current)
        else:
            await self._wait()

    async def _read(self) -> None:
        is_new = self._kept is None
        self._look_at_ms = None
        self._kept = await self._tools.announcements.get(self.id)
        current = self._kept.announcement
        if is_new:
            await self._tools.post.carry(outstanding(current, now_ms=self._now_ms()))
        self._over_if(current)
        self._watch(current)
        is_over = self._tools.lives.is_over
        if not self._is_over and of_the_dead(current, is_over):
            self._ask_soon()
            await self._change(partial(_buried, is_over=is_over, rules=self._tools.options.rules))

    def _watch(self, current: Announcement) -> None:
        self.watches = others_of(current)
        if self.watches:
            self._tools.watch(self.id, self.watches)

    async def _look_at_others(self, current: Announcement) -> None:
        """Look at what it waits for, and at what it is a part of."""
        self._others_at_ms = self._now_ms() + OTHERS_MS
        names = others_of(current)
        found = await asyncio.gather(*(self._tools.announcements.find(name) for name in names))
        states = {
            name: None if each is None else each.announcement.state for name, each in zip(names, found, strict=True)
        }
        await self._change(partial(self._seen, OthersSeen(states=states)))

    def _seen(self, event: OthersSeen, current: Announcement, now_ms: int) -> Step:
        return _applied(current, event, now_ms=now_ms, rules=self._tools.options.rules)

    async def _ask(self, current: Announcement) -> None:
        """Ask the holders of what is missing, node by node."""
        needs, tools = open_needs(current), self._tools
        found, self._found = self._found, None
        if found is None:
            found = await holders_of(tools.registry, needs, salt=current.id, most=tools.options.most_asked)
        nodes = by_node(current, (holder for each in needs for holder in found.get(each, ())), tools.lives)
        now_ms = self._now_ms()
        self._asked_ms, self._ask_at_ms = now_ms, now_ms + tools.interval_ms()
        if not nodes:
            return
        is_first = not self._is_told and not current.round and current.state is AnnouncementState.ANNOUNCED
        self._is_told = True
        until_ms = max(current.offers_until_ms, now_ms + tools.options.rules.offer_window_ms)
        self._gathering = Gathering(nodes, until_ms=until_ms)
        said = partial(
            question, current, needs, hub=tools.hub, reply_to=tools.reply_to, stamp="" if is_first else str(now_ms)
        )
        await asyncio.gather(*(tools.post.send(node_place(node), said(agents)) for node, agents in nodes.items()))

    def _offered(self, payload: Mapping[str, Any]) -> None:
        if self._kept is None:
            return
        needs = self._kept.announcement.needs
        try:
            offers = offers_from_rows(payload.get("offers", ()))
        except CorruptDataError as exc:
            logger.warning("what %s offers for %s is left out: %s", payload.get("node", ""), self.id, exc)
            offers = []
        if self._gathering is None:
            if not offers:
                return
            self._gathering = Gathering((), until_ms=0)
        self._gathering.hear(payload.get("node", ""), offers, needs=needs)
        if self._is_ripe(self._kept.announcement):
            self._woken.set()

    def _is_ripe(self, current: Announcement) -> bool:
        """Return whether the offers heard are to be chosen from; while nothing is missing they are kept in reserve."""
        if self._gathering is None or not self._has_gap(current):
            return False
        rules = self._tools.options.rules
        return self._gathering.is_ripe(open_needs(current), now_ms=self._now_ms(), enough=rules.enough_offers)

    async def _choose(self) -> None:
        gathering, self._gathering = self._gathering, None
        if gathering is None or not gathering.offers:
            return
        done = await self._change(partial(self._chosen, gathering))
        if not self._has_gap(done.announcement):
            rest = {name: each for name, each in gathering.offers.items() if name not in done.announcement.offers}
            if rest:
                self._gathering = Gathering((), until_ms=0)
                self._gathering.offers = rest

    def _chosen(self, gathering: Gathering, current: Announcement, now_ms: int) -> Step:
        options = self._tools.options
        known = self._tools.invited.counted(gathering.offers, now_s=time.monotonic())
        if len(known) < len(gathering.offers):
            self._ask_soon()
        most = min(options.most_written, options.written_each * len(open_needs(current)))
        offers = worth_keeping(current, known, most=most, shares=options.shares)
        step = _applied(current, OffersGathered(offers=offers), now_ms=now_ms, rules=options.rules)
        asked = step.announcement.invitations.keys() - current.invitations.keys()
        self._tools.invited.note(asked, now_s=time.monotonic())
        self._invited = (*self._invited, *asked)
        return step

    def _tick(self, current: Announcement, now_ms: int) -> Step:
        return _applied(current, Ticked(), now_ms=now_ms, rules=self._tools.options.rules)

    async def _change(self, rule: Callable[[Announcement, int], Step]) -> Done:
        """Write what the rule says, and say what follows from it."""
        done = await self._tools.announcements.change(self.id, rule, seen=self._kept)
        self._kept = done.kept
        self._look_at_ms = None
        self._over_if(done.announcement)
        await self._tools.post.carry(done)
        if done.is_news and done.announcement.state is not AnnouncementState.NEGOTIATING:
            await self._tools.post.changed(done.announcement)
        return done

    def _over_if(self, current: Announcement) -> None:
        self._is_over = self._is_over or current.state.is_over

    async def _wait(self) -> None:
        """Wait until something is heard, or due."""
        self._woken.clear()
        wake_ms = self._wake_ms()
        left_ms = None if wake_ms is None else max(1, wake_ms - self._now_ms())
        try:
            async with asyncio.timeout(None if left_ms is None else left_ms / 1_000):
                await self._woken.wait()
        except TimeoutError:
            return

    def _wake_ms(self) -> int | None:
        if self._kept is None:
            return None
        current = self._kept.announcement
        times: list[int | None] = []
        if others_of(current):
            times.append(self._others_at_ms)
        times += [self._look_at_ms if self._look_at_ms is not None else self._visit()]
        if self._has_gap(current):
            times.append(self._ask_at_ms if self._gathering is None else self._gathering.until_ms)
        return min((each for each in times if each is not None), default=None)

    def _visit(self) -> int | None:
        if self._kept is None:
            return None
        return next_visit(self._kept.announcement, now_ms=self._now_ms(), rules=self._tools.options.rules)

    def _has_gap(self, current: Announcement) -> bool:
        return current.state in OPEN and bool(open_needs(current))

    def _ask_soon(self) -> None:
        self._ask_at_ms = min(self._ask_at_ms, self._asked_ms + LEAST_PAUSE_MS)

    def _later(self) -> int:
        """Return when something may be due that agents wrote and this leader has not read."""
        rules, now_ms, known = self._tools.options.rules, self._now_ms(), self.announcement
        ends = () if known is None else (known.deadline_ms, known.forms_until_ms)
        soon = now_ms + max(1, min(rules.start_ms, rules.hold_ms - rules.hold_margin_ms))
        return min([soon, *(end for end in ends if end > now_ms)])

    def _now_ms(self) -> int:
        return self._tools.announcements.now_ms()


def _applied(current: Announcement, event: GroupEvent, *, now_ms: int, rules: Rules) -> Step:
    """Return what the event makes of it; nothing if that cannot be any more."""
    try:
        return apply(current, event, now_ms=now_ms, rules=rules)
    except ConflictError:
        return Step(announcement=current)


def of_the_dead(current: Announcement, is_over: Callable[[str, int], bool]) -> list[AgentDied]:
    """Return the death of each agent that has a part in it and whose node's life is over."""
    dead = {each.agent: each.incarnation for each in _parts(current) if is_over(each.node, each.incarnation)}
    return [AgentDied(agent=agent, incarnation=incarnation) for agent, incarnation in sorted(dead.items())]


def _buried(current: Announcement, now_ms: int, *, is_over: Callable[[str, int], bool], rules: Rules) -> Step:
    return apply_all(current, of_the_dead(current, is_over), now_ms=now_ms, rules=rules)


def places_of(current: Announcement) -> dict[str, int]:
    """Return where those live who have a part in it, and in which life."""
    return {each.node: each.incarnation for each in _parts(current)}


def _parts(current: Announcement) -> list[Member | Invitation | Offer]:
    parts: list[Member | Invitation | Offer] = [*current.offers.values(), *current.invitations.values()]
    return [each for each in [*parts, *current.members.values()] if each.node]
