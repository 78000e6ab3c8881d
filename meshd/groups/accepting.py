"""From an invitation to a slot that is free again: what one node's agents hold, and what they do for it.

Invariant: first the book, then the announcement is read, then it is written (`slots.py`); a slot is given back only
when the announcement is known not to name it any more.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from meshd.errors import ConflictError, FencedError, MeshError, NotFoundError, UnavailableError
from meshd.groups.announcements import Done, Kept
from meshd.groups.answering import Answering
from meshd.groups.aside import Aside
from meshd.groups.at_work import AtWork
from meshd.groups.behaviour import Progress, not_begun
from meshd.groups.enrolment import Enrolment, released, settled, taken
from meshd.groups.happenings import (
    AgentDied,
    GroupAccepted,
    GroupEvent,
    GroupRejected,
    SlotMissed,
    TaskStarted,
    Ticked,
)
from meshd.groups.inviting import say_invited
from meshd.groups.model import Announcement, AnnouncementState, GroupMessage
from meshd.groups.parting import LEAVING, answer, farewell, has_left, to_colleagues, unchanged, why
from meshd.groups.protocol import apply
from meshd.groups.seats import Seat, Seats
from meshd.groups.slots import Hold, Release, Take, held
from meshd.groups.steps import Outgoing, Step
from meshd.groups.vicinity import Vicinity
from meshd.groups.wire import MISSED, Envelope, Post

logger = logging.getLogger(__name__)

UNHEARD_S = 10.0
"""After so long without news of a group its announcement is read."""
ENDINGS = (GroupMessage.TASK_COMPLETE, GroupMessage.TASK_FAILED, GroupMessage.TASK_CANCEL)


class Accepting:
    """The holds of one node's agents, and their work."""

    def __init__(self, vicinity: Vicinity, answering: Answering) -> None:
        self._books = vicinity.books
        self._announcements = vicinity.announcements
        self._behaviours = vicinity.behaviours
        self._rules = vicinity.rules
        self._vicinity = vicinity
        self._answering = answering
        self._aside = Aside()
        self._seats = Seats()
        self._is_leaving = False

    async def invited(self, agent: str, envelope: Envelope) -> None:
        """Take a slot and accept, or say why not; the last to accept forms the group and starts it."""
        said, enrolment = envelope.payload, self._books.find(agent)
        if enrolment is None or said["incarnation"] != enrolment.candidate.incarnation:
            return
        wanted = Take(
            agent=agent,
            announcement=envelope.announcement,
            round=said["round"],
            incarnation=said["incarnation"],
            expires_ms=said["expires_ms"],
        )
        seat = self._seats.get((agent, envelope.announcement))
        if seat is not None and (seat.is_answering or seat.round > wanted.round or seat.work is not None):
            if seat.round >= wanted.round:
                return
            await self._end(agent, envelope.announcement, seat.round, "it was invited anew")
        seat = self._seats[agent, envelope.announcement] = Seat(round=wanted.round, is_answering=True)
        try:
            await self._answer(wanted, tuple(said["roles"]), reply_to=envelope.reply_to)
        except (ConflictError, NotFoundError) as exc:
            logger.debug("%s does not take part in %s: %s", agent, envelope.announcement, exc)
            await self.settle(agent, [envelope.announcement])
        finally:
            seat.is_answering = False

    async def said(self, agent: str, envelope: Envelope) -> None:
        """Take what is said to a member."""
        seat = self._seats.get((agent, envelope.announcement))
        if seat is not None:
            seat.heard_s = time.monotonic()
        if envelope.type is GroupMessage.TASK_START:
            if seat is None or seat.work is None:
                await self.settle(agent, [envelope.announcement])
        elif envelope.type in ENDINGS:
            await self._over(agent, envelope.announcement, envelope.payload.get("reason", ""))
        elif envelope.type is GroupMessage.TASK_UPDATE and seat is not None:
            await self._told(agent, seat, envelope.payload)

    async def freed(self, agent: str, announcement_id: str, number: int) -> None:
        """The announcement does not name the hold of this round any more."""
        await self._end(agent, announcement_id, number, "it is no member any more")

    async def look(self) -> None:
        """Read the announcements of what is due, or was not heard of for long."""
        now_s = time.monotonic()
        for agent in self._books.agents:
            try:
                await self._books.make_sure(agent)
            except FencedError as exc:
                await self._seats.vacate(agent, str(exc))
                self._books.forget(agent)
            enrolment = self._books.find(agent)
            if enrolment is None or not enrolment.book.holds:
                continue
            now_ms = self._books.now_ms(agent)
            holds = enrolment.book.holds.values()
            due = [hold.announcement for hold in holds if self._is_due(agent, hold, now_ms=now_ms, now_s=now_s)]
            if due:
                await self.settle(agent, due)

    async def settle(self, agent: str, names: Sequence[str]) -> None:
        """Bring what the agent holds of these announcements to what they say, and do what they ask of it.

        Raises:
            UnavailableError: the store is away.
        """
        found = await asyncio.gather(*(self._current(agent, name) for name in names))
        seen = {name: None if kept is None else kept.announcement for name, kept in zip(names, found, strict=True)}
        for name, announcement in seen.items():
            seat = self._seats.get((agent, name))
            if seat is not None and has_left(announcement, agent, seat.round):
                await self._end(agent, name, seat.round, why(announcement))
        first: Sequence[str] = ()

        def rule(enrolment: Enrolment, now_ms: int) -> Enrolment:
            nonlocal first
            after, first = settled(enrolment, seen, now_ms=now_ms)
            return after

        await self._books.change(agent, rule)
        for name in first:
            await self._say(name, Ticked(), sender=agent)
        for kept in found:
            if kept is not None:
                await self._take_up(agent, kept)
        self._answering.freed(agent)

    async def carry(self, done: Done, *, sender: str, reply_to: str = "") -> None:
        """Do what a step that stands asks for: here at once, elsewhere by hints."""
        messages = [*done.messages, *to_colleagues(done)]
        away = Step(
            announcement=done.announcement,
            slots=tuple(each for each in done.slots if each.agent not in self._behaviours),
            messages=tuple(
                each for each in messages if each.to not in self._behaviours or each.to == done.announcement.initiator
            ),
        )
        for message in messages:
            if message.to in self._behaviours:
                self._hear_at_once(message, done, reply_to=reply_to)
        post = Post(self._vicinity.events, sender=sender, reply_to=reply_to, on_sent=self._vicinity.on_sent)
        said = [post.carry(away), *([post.changed(done.announcement)] if done.is_news else [])]
        freed = [
            self._end(each.agent, each.announcement, each.round, why(done.announcement))
            for each in done.slots
            if isinstance(each, Release) and each.agent in self._behaviours
        ]
        for result in await asyncio.gather(*freed, *said, return_exceptions=True):
            if isinstance(result, UnavailableError):
                logger.debug("not said, or not given back yet: %s", result)
            elif isinstance(result, BaseException):
                raise result

    async def leave(self, *, grace_s: float, hurry: asyncio.Event) -> None:
        """Take part in nothing new, let what runs go on for a while, then give up the rest."""
        self._is_leaving = True
        self._answering.stop()
        await self._give_up(lambda seat: seat.work is None)
        running = [asyncio.create_task(seat.work.finished()) for seat in self._seats.values() if seat.work is not None]
        if running:
            hurried = asyncio.create_task(hurry.wait())
            ended = asyncio.create_task(asyncio.wait(running))
            await asyncio.wait({hurried, ended}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            for task in (hurried, ended, *running):
                task.cancel()
        await self._give_up(lambda seat: True)
        await self._aside.aclose()

    async def _answer(self, wanted: Take, roles: tuple[str, ...], *, reply_to: str) -> None:
        agent, name = wanted.agent, wanted.announcement
        hold = None if self._is_leaving else await self._hold(wanted)
        if hold is None and not self._is_leaving:
            self._seats.pop((agent, name), None)
            self._answering.missed(agent, name)
            missed = SlotMissed(agent=agent, round=wanted.round)
            await self._say(name, missed, sender=agent, reply_to=reply_to)
            await self._tell_hub(MISSED, wanted, reply_to=reply_to)
            return
        self._answering.taken(agent, name)
        reason = LEAVING if self._is_leaving else await self._refusal(agent, name, roles)
        if reason:
            rejected = GroupRejected(agent=agent, incarnation=wanted.incarnation, round=wanted.round, reason=reason)
            await self._say(name, rejected, sender=agent, reply_to=reply_to)
            await self.settle(agent, [name])
            await self._tell_hub(GroupMessage.GROUP_REJECT, wanted, reply_to=reply_to, reason=reason)
            return
        accepted = GroupAccepted(agent=agent, incarnation=wanted.incarnation, round=wanted.round, hold=hold)
        await self._say(name, accepted, sender=agent, reply_to=reply_to)
        await self._tell_hub(GroupMessage.GROUP_ACCEPT, wanted, reply_to=reply_to)

    async def _hold(self, wanted: Take) -> Hold | None:
        """Return the slot held for an invitation; `None` if none is free."""
        if not self._answering.may_take(wanted.agent, wanted.announcement):
            return None
        is_full = False

        def rule(enrolment: Enrolment, now_ms: int) -> Enrolment:
            nonlocal is_full
            after = taken(enrolment, wanted, now_ms=now_ms)
            is_full = after is None
            return enrolment if after is None else after

        enrolment = await self._books.change(wanted.agent, rule)
        return None if is_full else held(enrolment.book, wanted)

    async def _refusal(self, agent: str, name: str, roles: tuple[str, ...]) -> str:
        behaviour = self._behaviours[agent]
        if not behaviour.may_refuse:
            return ""
        kept = await self._announcements.get(name)
        part = not_begun(kept.announcement, agent=agent, roles=roles)
        try:
            return await behaviour.refusal(part)
        except Exception as exc:  # noqa: BLE001 -- its own failure, never the node's
            return f"{type(exc).__name__}: {exc}"

    async def _say(self, name: str, event: GroupEvent, *, sender: str, reply_to: str = "") -> None:
        """Apply the event; a group that is formed by it starts in the same write."""

        def rule(current: Announcement, now_ms: int) -> Step:
            step = apply(current, event, now_ms=now_ms, rules=self._rules)
            if step.announcement is current or step.announcement.state is not AnnouncementState.FORMED:
                return step
            return step.then(lambda formed: apply(formed, TaskStarted(), now_ms=now_ms, rules=self._rules))

        await self.carry(await self._announcements.change(name, rule), sender=sender, reply_to=reply_to)

    async def _tell_hub(self, type: GroupMessage | str, wanted: Take, *, reply_to: str, reason: str = "") -> None:
        """Tell the hub what is written, so that it acts at once."""
        if reply_to:
            await Post(self._vicinity.events, sender=wanted.agent).send(reply_to, answer(type, wanted, reason=reason))

    def _hear_at_once(self, message: Outgoing, done: Done, *, reply_to: str) -> None:
        """Take a message to an agent that lives here without sending it."""
        if message.type is GroupMessage.TASK_START:
            self._begin(message.to, done.kept)
        elif message.type is GroupMessage.GROUP_INVITE:
            envelope = Envelope(
                type=message.type,
                announcement=done.announcement.id,
                sender=message.to,
                reply_to=reply_to,
                payload=message.payload,
            )
            self._aside.run(self.invited(message.to, envelope))
        elif message.type is GroupMessage.TASK_UPDATE:
            seat = self._seats.get((message.to, done.announcement.id))
            if seat is not None:
                self._aside.run(self._told(message.to, seat, message.payload))

    async def _told(self, agent: str, seat: Seat, payload: Mapping[str, Any]) -> None:
        if seat.work is None or seat.work.part is None or payload.get("agent") == agent:
            return
        progress = Progress(
            agent=payload.get("agent", ""), progress=payload.get("progress", 0.0), note=payload.get("note", "")
        )
        try:
            await self._behaviours[agent].told(seat.work.part, progress)
        except Exception:
            logger.exception("on_update of %s failed", agent)

    async def _over(self, agent: str, name: str, reason: str) -> None:
        seat, enrolment = self._seats.get((agent, name)), self._books.find(agent)
        hold = None if enrolment is None else enrolment.book.holds.get(name)
        rounds = [each.round for each in (seat, hold) if each is not None]
        if rounds:
            await self._end(agent, name, max(rounds), reason or "it is over")

    async def _end(self, agent: str, name: str, number: int, reason: str) -> None:
        """Stop what runs, give the slot back and record how the work ended, in one write."""
        seat = self._seats.get((agent, name))
        if seat is not None and seat.round > number:
            return
        work = None if seat is None else seat.work
        if seat is not None:
            seat.is_over = True
        if work is not None:
            await work.stop(reason)
        wanted = Release(agent=agent, announcement=name, round=number)
        ended = None if work is None else work.outcome
        await self._books.change(agent, lambda found, _: released(found, wanted, ended=ended))
        if self._seats.get((agent, name)) is seat:
            self._seats.pop((agent, name), None)
        self._answering.taken(agent, name)
        self._answering.freed(agent)

    async def _current(self, agent: str, name: str) -> Kept | None:
        """Return the announcement as it stands, without an earlier life of the agent."""
        kept = await self._announcements.find(name)
        enrolment = self._books.find(agent)
        if kept is None or enrolment is None:
            return kept
        mine = enrolment.candidate.incarnation
        named = [
            each.incarnation
            for each in (kept.announcement.members.get(agent), kept.announcement.invitations.get(agent))
            if each is not None and each.incarnation < mine
        ]
        if not named or kept.announcement.state.is_over:
            return kept
        died = AgentDied(agent=agent, incarnation=max(named))
        done = await self._announcements.change(
            name, lambda current, now_ms: apply(current, died, now_ms=now_ms, rules=self._rules), seen=kept
        )
        await self.carry(done, sender=agent)
        return done.kept

    async def _take_up(self, agent: str, kept: Kept) -> None:
        """Do what the announcement asks of the agent and nobody told it, or it was told in vain."""
        seat, current = self._seats.get((agent, kept.announcement.id)), kept.announcement
        if seat is not None:
            seat.heard_s = time.monotonic()
        if current.state.is_over:
            return
        if agent in current.members:
            self._begin(agent, kept)
        invitation = current.invitations.get(agent)
        if invitation is None or invitation.accepted or (seat is not None and seat.is_answering):
            return
        for message in say_invited(current, invitation):
            self._hear_at_once(message, unchanged(kept), reply_to="")

    def _begin(self, agent: str, kept: Kept) -> None:
        """Start the work of a member that was told to, once."""
        name, enrolment = kept.announcement.id, self._books.find(agent)
        member = kept.announcement.members.get(agent)
        if enrolment is None or member is None or member.is_done or not member.starts_until_ms:
            return
        seat = self._seats.get((agent, name))
        if member.incarnation != enrolment.candidate.incarnation or (seat is not None and seat.round > member.round):
            return
        if seat is None or seat.round != member.round:
            seat = self._seats[agent, name] = Seat(round=member.round)
        if seat.work is not None or seat.is_over:
            return
        seat.work = AtWork(
            kept,
            member,
            self._behaviours[agent],
            vicinity=self._vicinity,
            carry=partial(self.carry, sender=agent),
            refused=lambda: self._aside.run(self.settle(agent, [name])),
        )
        seat.work.begin()

    async def _give_up(self, concerned: Callable[[Seat], bool]) -> None:
        seats = [(agent, name, seat) for (agent, name), seat in self._seats.items() if concerned(seat)]
        results = await asyncio.gather(*(self._withdrawn(*each) for each in seats), return_exceptions=True)
        for result in results:
            if isinstance(result, MeshError):
                logger.warning("left to others: %s", result)
            elif isinstance(result, BaseException):
                raise result

    async def _withdrawn(self, agent: str, name: str, seat: Seat) -> None:
        """Leave one group, whatever it has come to."""
        if seat.work is not None:
            await seat.work.stop(LEAVING)

        def rule(current: Announcement, now_ms: int) -> Step:
            event = farewell(current, agent, seat.round)
            if event is None:
                return Step(announcement=current)
            return apply(current, event, now_ms=now_ms, rules=self._rules)

        await self.carry(await self._announcements.change(name, rule), sender=agent)

    def _is_due(self, agent: str, hold: Hold, *, now_ms: int, now_s: float) -> bool:
        seat = self._seats.get((agent, hold.announcement))
        if seat is None or seat.is_over or now_s - seat.heard_s > UNHEARD_S:
            return True
        return hold.expires_ms is not None and hold.expires_ms <= now_ms
