"""What a node answers when its agents are asked: offers of those that have room, and later of those that had none.

Guarantee: a slot that comes free is offered to the earliest turn that waits for it (`waiting.py`), and kept for it as
long as that may still be invited.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshd.errors import CorruptDataError, UnavailableError
from meshd.groups.codec import offer_row
from meshd.groups.enrolment import Enrolment
from meshd.groups.inviting import OPEN
from meshd.groups.model import Announcement, GroupMessage, SkillNeed, Urgency
from meshd.groups.scoring import brought, has_room, offer_of
from meshd.groups.steps import open_needs
from meshd.groups.vicinity import Vicinity
from meshd.groups.waiting import Call, Turns
from meshd.groups.wire import Envelope, Post
from meshd.nodes.model import Level

logger = logging.getLogger(__name__)

MAX_CALLS = 1_024
"""Announcements whose turn is remembered."""
CHECK_EACH_S = 0.1
"""How often a promised slot that others wait for is checked to be wanted still."""
SPARE_S = 0.3
"""How much longer than offers are waited for a slot is kept for the one it was offered to."""

SAME_S = 1.0
"""How long an offer of an agent that nothing has happened to stays the same."""
MAX_MADE = 64

_URGENCIES: Mapping[str, Urgency] = {each.name.lower(): each for each in Urgency}


_Key = tuple[tuple[str, int], ...]
"""Which skills, at which levels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What an agent can do and offers for which skills, while nothing about it changes."""

    enrolment: Enrolment
    until_s: float
    able: dict[_Key, bool]
    offers: dict[_Key, list[Any] | None]
    """As they travel."""


class Answering:
    """The offers of one node's agents."""

    def __init__(self, vicinity: Vicinity, post: Post) -> None:
        self._books = vicinity.books
        self._announcements = vicinity.announcements
        self._behaviours = vicinity.behaviours
        self._node = vicinity.node
        self._window_s = vicinity.rules.offer_window_ms / 1000
        self._scores = vicinity.scores
        self._rng = vicinity.rng
        self._post = post
        self._turns = Turns()
        self._calls = OrderedDict[str, Call]()
        self._tasks = set[asyncio.Task[None]]()
        self._made: dict[str, _Made] = {}
        self._is_stopped = False

    async def asked(self, envelope: Envelope) -> None:
        """Answer a hub: what each agent it asks offers, and who would if it had room. Nothing to offer is said, too."""
        call = call_of(envelope)
        self._remember(call)
        key = _key(call)
        offers, later = list[list[Any]](), list[str]()
        for agent in await self._wanting(call, key, envelope.payload.get("agents", ())):
            if (offer := self._offer(agent, call, key)) is not None:
                offers.append(offer)
            else:
                self._turns.wait(call, agent)
                later.append(agent)
        await self._answer(call, offers, later=later)

    def may_take(self, agent: str, announcement: str) -> bool:
        """Return whether the agent has a free slot that is promised to nobody with an earlier turn."""
        enrolment = self._books.find(agent)
        if enrolment is None:
            return False
        if announcement in enrolment.book.holds:
            return True
        return self._turns.is_free(agent, self._calls.get(announcement), free=enrolment.book.free)

    def taken(self, agent: str, announcement: str) -> None:
        """The slot is held: nothing is promised any more, and nobody waits for it."""
        self._turns.keep(agent, announcement)

    def missed(self, agent: str, announcement: str) -> None:
        """It was invited and had no room: it waits on."""
        call = self._calls.get(announcement)
        if call is not None:
            self._turns.wait(call, agent)

    def freed(self, agent: str) -> None:
        """A slot of the agent is free: offer it to whose turn it is."""
        if not self._is_stopped and self._turns.has_waiting(agent):
            self._spawn(agent)

    def stop(self) -> None:
        """Offer nothing any more."""
        self._is_stopped = True

    async def aclose(self) -> None:
        self.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _wanting(self, call: Call, key: _Key, agents: Iterable[str]) -> list[str]:
        """Return those that live here, have a skill that is asked for and want to take part."""
        able = [] if self._is_stopped else [agent for agent in agents if self._is_able(agent, call, key)]
        choosy = [agent for agent in able if self._behaviours[agent].is_choosy]
        if not choosy:
            return able
        wants = dict(zip(choosy, await asyncio.gather(*(self._wants(agent, call) for agent in choosy)), strict=True))
        return [agent for agent in able if wants.get(agent, True)]

    def _is_able(self, agent: str, call: Call, key: _Key) -> bool:
        enrolment = self._books.find(agent)
        if enrolment is None or agent not in self._behaviours:
            return False
        made = self._made_of(agent, enrolment)
        is_able = made.able.get(key)
        if is_able is None:
            now_ms = self._books.now_ms(agent)
            is_able = made.able[key] = bool(brought(enrolment.candidate, call.needs, now_ms, self._scores))
        return is_able

    async def _wants(self, agent: str, call: Call) -> bool:
        try:
            async with asyncio.timeout(self._window_s or None):
                return await self._behaviours[agent].wants(call)
        except TimeoutError:
            logger.warning("on_announce of %s took longer than offers are waited for: it does not offer", agent)
        except Exception:
            logger.exception("on_announce of %s failed: it does not offer", agent)
        return False

    def _made_of(self, agent: str, enrolment: Enrolment) -> _Made:
        made, now_s = self._made.get(agent), time.monotonic()
        if made is None or made.enrolment is not enrolment or now_s > made.until_s or len(made.able) > MAX_MADE:
            made = self._made[agent] = _Made(enrolment=enrolment, until_s=now_s + SAME_S, able={}, offers={})
        return made

    def _offer(self, agent: str, call: Call, key: _Key) -> list[Any] | None:
        enrolment = self._books.find(agent)
        if enrolment is None or call.announcement in enrolment.book.holds:
            return None
        if not self._turns.is_free(agent, call, free=enrolment.book.free):
            return None
        made = self._made_of(agent, enrolment)
        if key not in made.offers:
            offer = offer_of(enrolment.candidate, call.needs, self._books.now_ms(agent), self._scores)
            made.offers[key] = None if offer is None else offer_row(offer)
        return made.offers[key]

    async def _answer(self, call: Call, offers: Sequence[list[Any]], *, later: Sequence[str] = ()) -> None:
        payload: dict[str, Any] = {
            "node": self._node,
            "asked": len(offers) + len(later),
            "offers": offers,
            "later": later,
        }
        await self._post.send(
            call.reply_to,
            Envelope(type=GroupMessage.SKILL_OFFER, announcement=call.announcement, sender=self._node, payload=payload),
        )

    def _spawn(self, agent: str) -> None:
        task = asyncio.create_task(self._offer_next(agent), name=f"meshd offers of {agent}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _offer_next(self, agent: str) -> None:
        """Offer a free slot to the first that still wants it, and keep it for that one as long as it may be invited."""
        while (call := self._next(agent)) is not None:
            try:
                if await self._is_wanted(call, agent) and (offer := self._offer(agent, call, _key(call))) is not None:
                    await self._answer(call, [offer])
                    await self._kept_for(agent, call)
            except UnavailableError:
                self._turns.wait(call, agent)
                return
            except CorruptDataError as exc:
                logger.warning("%s; nothing is offered for it", exc)
            finally:
                self._turns.keep(agent, call.announcement)

    def _next(self, agent: str) -> Call | None:
        enrolment = self._books.find(agent)
        if self._is_stopped or enrolment is None or not has_room(enrolment.candidate, self._scores):
            return None
        if not self._turns.is_unpromised(agent, free=enrolment.book.free):
            return None
        call = self._turns.next(agent, now_ms=self._books.now_ms(agent))
        if call is not None:
            self._turns.promise(agent, call)
        return call

    async def _kept_for(self, agent: str, call: Call) -> None:
        """Return when the slot is taken by that one, or is not wanted by it any more."""
        until_s = time.monotonic() + self._window_s + SPARE_S
        while time.monotonic() < until_s:
            await asyncio.sleep(self._rng.uniform(0.5, 1.0) * CHECK_EACH_S)
            if not self._turns.is_promised(agent, call.announcement):
                return
            if self._turns.has_waiting(agent) and not await self._is_wanted(call, agent):
                return

    async def _is_wanted(self, call: Call, agent: str) -> bool:
        kept = await self._announcements.find(call.announcement)
        current = None if kept is None else kept.announcement
        if current is None or current.state not in OPEN:
            self._turns.forget(call.announcement)
            return False
        return agent in current.invitations or _may_join(current, agent)

    def _remember(self, call: Call) -> None:
        self._calls[call.announcement] = call
        self._calls.move_to_end(call.announcement)
        if len(self._calls) > MAX_CALLS:
            self._calls.popitem(last=False)


def call_of(envelope: Envelope) -> Call:
    """Return what TASK_ANNOUNCE and SKILL_QUERY say."""
    said = envelope.payload
    return Call(
        announcement=envelope.announcement,
        initiator=said.get("initiator", ""),
        description=said.get("description", ""),
        needs=tuple(SkillNeed(name=name, level=Level(level)) for name, level in said.get("skills", {}).items()),
        urgency=_URGENCIES.get(said.get("urgency", ""), Urgency.NORMAL),
        announced_ms=said.get("announced_ms", 0),
        deadline_ms=said.get("deadline_ms", 0),
        reply_to=envelope.reply_to,
    )


def _key(call: Call) -> _Key:
    return tuple((need.name, int(need.level)) for need in call.needs)


def _may_join(current: Announcement, agent: str) -> bool:
    return bool(open_needs(current)) and agent not in current.members and agent not in current.refused
