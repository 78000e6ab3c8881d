"""One membership at work: the handler runs, its progress is written now and then, how it ends is written once.

Invariant: what is refused is not recorded: a handler whose membership is over is stopped, and its result counts for
nothing, neither for the group nor for the agent.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from meshd.errors import (
    ConflictError,
    InvalidArgumentError,
    MeshError,
    NotFoundError,
    UnavailableError,
)
from meshd.groups.announcements import Done, Kept
from meshd.groups.behaviour import Behaviour, Part
from meshd.groups.happenings import MemberEvent, TaskCompleted, TaskFailed, TaskUpdated
from meshd.groups.model import Announcement, Member
from meshd.groups.outcomes import Outcome, outcome_of
from meshd.groups.protocol import apply
from meshd.groups.steps import Step
from meshd.groups.vicinity import Vicinity

logger = logging.getLogger(__name__)

REPORT_EACH_S = 0.2
"""Least time between two writes of progress; the last one is always written."""
STOP_WAIT_S = 1.0
"""How long a handler gets to end when it is told to stop."""
MAX_REASON = 500
LONGEST_PAUSE_S = 0.5
ANSWER_WAIT_S = 5.0
"""How long the end of a group waits for the answer to what its member said last."""


class AtWork:
    """Runs one member's part, from its start to the write of how it ended."""

    def __init__(
        self,
        kept: Kept,
        member: Member,
        behaviour: Behaviour,
        *,
        vicinity: Vicinity,
        carry: Callable[[Done], Awaitable[None]],
        refused: Callable[[], None],
    ) -> None:
        """`carry` does what a step that stands asks for; `refused` is called when the membership proves to be over."""
        self.agent = member.agent
        self.announcement = kept.announcement.id
        self.round = member.round
        self.outcome: Outcome | None = None
        """How it ended, once that is written."""
        self.part: Part | None = None
        self._kept = kept
        self._member = member
        self._behaviour = behaviour
        self._announcements = vicinity.announcements
        self._rules = vicinity.rules
        self._carry = carry
        self._refused = refused
        self._rng = vicinity.rng
        self._began_s = time.monotonic()
        self._reported_s = float("-inf")
        self._unsaid: tuple[float, str] | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._is_said = False
        self._answered: asyncio.Event | None = None
        self._handler: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the handler runs, or what became of it is being written."""
        return self._handler is not None and not self._handler.done()

    def begin(self) -> None:
        """Start the handler, once."""
        if self._handler is None:
            self._handler = asyncio.create_task(self._run(), name=f"meshd {self.agent} in {self.announcement}")

    async def finished(self) -> None:
        """Return once the handler has ended and that is written."""
        if self._handler is not None:
            await asyncio.wait({self._handler})

    async def stop(self, reason: str) -> None:
        """Stop the handler, whose work is not wanted any more; nothing of it is written from now on.

        If how it ended is being written, return once it is known whether that counts, or after a while.
        """
        if self._answered is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_WAIT_S):
                    await self._answered.wait()
        handler = self._handler
        if self._is_said or handler is None or handler.done() or handler is asyncio.current_task():
            return
        self._is_said = True
        handler.cancel()
        await asyncio.wait({handler}, timeout=STOP_WAIT_S)
        if self.part is not None:
            await _harmless(self._behaviour.stopped(self.part, reason), f"on_cancel of {self.agent}")

    async def report(self, progress: float, note: str) -> None:
        """Write how far it is; soon, if it was written a moment ago.

        Raises:
            InvalidArgumentError: the progress is not 0 to 1.
        """
        if not 0 <= progress <= 1:
            raise InvalidArgumentError(f"progress {progress} of {self.agent} is not 0 to 1")
        self._unsaid = (progress, note)
        wait_s = self._reported_s + REPORT_EACH_S - time.monotonic()
        if wait_s <= 0:
            await self._flush()
        elif self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_in(wait_s))

    async def _run(self) -> None:
        starting = asyncio.get_running_loop().call_later(self._rules.start_ms / 3000, self._say_started)
        try:
            event = await self._worked()
        finally:
            starting.cancel()
            if self._flushing is not None:
                self._flushing.cancel()
        if event is not None:
            await self._say_end(event)

    async def _worked(self) -> MemberEvent | None:
        try:
            self.part = Part(
                agent=self.agent,
                roles=self._member.roles,
                announcement=self._kept.announcement,
                results=await self._earlier_results(),
                report=self.report,
            )
            result = await self._behaviour.work(self.part)
        except asyncio.CancelledError:
            if self._is_said:
                return None
            return self._failed("the handler cancelled itself")
        except Exception as exc:  # noqa: BLE001 -- its own failure, never the node's
            logger.info("%s failed in %s: %r", self.agent, self.announcement, exc)
            return self._failed(f"{type(exc).__name__}: {exc}"[:MAX_REASON])
        return None if self._is_said else TaskCompleted(**self._shown(), result=result)

    async def _say_end(self, event: MemberEvent) -> None:
        """Write how it ended, however long the store is away; a result that cannot be kept is a failure."""
        took_ms = (time.monotonic() - self._began_s) * 1000
        try:
            await self._say_at_last(event, took_ms=took_ms)
        except InvalidArgumentError as exc:
            await self._say_at_last(self._failed(f"its result cannot be kept: {exc}"[:MAX_REASON]), took_ms=took_ms)

    async def _say_at_last(self, event: MemberEvent, *, took_ms: float) -> None:
        self._is_said = True
        self._answered = asyncio.Event()
        try:
            done = await self._answer(event, took_ms=took_ms)
        finally:
            self._answered.set()
        if done is not None:
            await self._carry(done)

    async def _answer(self, event: MemberEvent, *, took_ms: float) -> Done | None:
        pause_s = 0.05
        while True:
            try:
                return await self._say(event, took_ms=took_ms)
            except UnavailableError as exc:
                logger.debug("%s in %s: %s", self.agent, self.announcement, exc)
                await asyncio.sleep(self._rng.uniform(0, pause_s))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _say(self, event: MemberEvent, *, took_ms: float = 0.0) -> Done | None:
        """Write what the member says; `None`: it is no member any more."""
        outcome: Outcome | None = None

        def rule(current: Announcement, now_ms: int) -> Step:
            nonlocal outcome
            if self._was_taken(current, event):
                outcome = self._outcome(self._kept.announcement, event, now_ms=now_ms, took_ms=took_ms)
                return Step(announcement=current)
            step = apply(current, event, now_ms=now_ms, rules=self._rules)
            is_heard = now_ms < current.deadline_ms or step.announcement is current
            outcome = self._outcome(current, event, now_ms=now_ms, took_ms=took_ms) if is_heard else None
            return step

        try:
            done = await self._announcements.change(self.announcement, rule, seen=self._kept)
        except (ConflictError, NotFoundError) as exc:
            logger.debug("%s is not heard: %s", self.agent, exc)
            self._refused()
            return None
        self._kept = done.kept
        self.outcome = outcome
        return done

    def _was_taken(self, current: Announcement, event: MemberEvent) -> bool:
        """Return whether this end was written before, and only the answer was lost."""
        member = current.members.get(self.agent)
        match event:
            case TaskCompleted():
                return member is not None and member.round == self.round and member.is_done
            case TaskFailed():
                return member is None and current.refused.get(self.agent) == event.reason
            case TaskUpdated():
                return False

    def _outcome(self, current: Announcement, event: MemberEvent, *, now_ms: int, took_ms: float) -> Outcome | None:
        if isinstance(event, TaskUpdated):
            return None
        return outcome_of(
            current,
            self.agent,
            incarnation=self._member.incarnation,
            epoch=self._member.epoch,
            is_success=isinstance(event, TaskCompleted),
            at_ms=now_ms,
            took_ms=took_ms,
        )

    def _say_started(self) -> None:
        if self._unsaid is None and self._reported_s == float("-inf"):
            self._unsaid = (0.0, "")
            self._flushing = asyncio.create_task(self._flush_in(0))

    async def _flush_in(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        await self._flush()

    async def _flush(self) -> None:
        said, self._unsaid = self._unsaid, None
        if said is None or self._is_said:
            return
        self._reported_s = time.monotonic()
        progress, note = said
        try:
            done = await self._say(TaskUpdated(**self._shown(), progress=progress, note=note))
        except UnavailableError:
            self._unsaid = self._unsaid or said
            return
        if done is not None:
            await self._carry(done)

    def _failed(self, reason: str) -> TaskFailed:
        return TaskFailed(**self._shown(), reason=reason.strip() or "it failed without a word")

    def _shown(self) -> dict[str, Any]:
        """Return what a member shows with everything it says."""
        member = self._member
        return {
            "agent": self.agent,
            "incarnation": member.incarnation,
            "epoch": member.epoch,
            "token": member.token,
        }

    async def _earlier_results(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for name in self._kept.announcement.depends_on:
            with suppress(MeshError):
                kept = await self._announcements.find(name)
                if kept is not None:
                    found[name] = dict(kept.announcement.results)
        return found


async def _harmless(call: Awaitable[None], what: str) -> None:
    try:
        await call
    except Exception:
        logger.exception("%s failed", what)
