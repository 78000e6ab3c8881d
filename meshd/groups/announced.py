"""What a caller gets for an announcement: a handle on it, its results, and news as they come."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from meshd.errors import GroupFailedError, NotFoundError, UnavailableError
from meshd.groups.announcements import Announcements
from meshd.groups.lookout import Lookout, Watch
from meshd.groups.model import Announcement, AnnouncementState, GroupMessage
from meshd.groups.wire import Envelope

logger = logging.getLogger(__name__)


class GroupResults(dict[str, Any]):
    """Results by role. `is_partial`: some of the skills asked for were never covered, and are in `missing`."""

    def __init__(self, announcement: Announcement) -> None:
        super().__init__(announcement.results)
        self.is_partial: bool = announcement.is_partial
        self.missing: tuple[str, ...] = tuple(
            need.name for need in announcement.needs if need.name not in announcement.results
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What is heard of a member while it works."""

    announcement: str
    agent: str
    progress: float = 0.0
    note: str = ""
    lost: str = ""
    """Why it is no member any more; empty: it is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """What to call, sync or async, as news of an announcement come. What one raises is logged, and ends nothing."""

    on_update: Callable[[Update], object] | None = None
    on_failure: Callable[[GroupFailedError], object] | None = None
    on_complete: Callable[[GroupResults], object] | None = None

    def __bool__(self) -> bool:
        return not (self.on_update is None and self.on_failure is None and self.on_complete is None)


class Waiting(Protocol):
    """What a handle asks; `Groups` is one."""

    async def get(self, announcement_id: str) -> Announcement: ...

    async def formed(self, announcement_id: str, *, timeout: timedelta | None = None) -> Announcement: ...

    async def wait_for_task(self, announcement_id: str, *, timeout: timedelta | None = None) -> Announcement: ...

    async def cancel(self, announcement_id: str, reason: str = "") -> Announcement: ...


class Announced:
    """One announcement, whoever made it."""

    def __init__(self, groups: Waiting, announcement_id: str) -> None:
        self.id = announcement_id
        self._groups = groups

    def __repr__(self) -> str:
        return f"Announced({self.id!r})"

    async def status(self) -> Announcement:
        """Return it as it stands; see `Groups.get`."""
        return await self._groups.get(self.id)

    async def formed(self, timeout: timedelta | None = None) -> Announcement:
        """Return it once its group is formed; see `Groups.formed`."""
        return await self._groups.formed(self.id, timeout=timeout)

    async def outcome(self, timeout: timedelta | None = None) -> Announcement:
        """Return it once it is over, however it ended; see `Groups.wait_for_task`."""
        return await self._groups.wait_for_task(self.id, timeout=timeout)

    async def result(self, timeout: timedelta | None = None) -> GroupResults:
        """Return the results by role once it has completed; partial ones are labelled.

        Raises:
            GroupFailedError: it failed or was cancelled; results that are there are on the error.
            DeadlineError: it is not over within `timeout`; it goes on.
            NotFoundError: it is not kept any more.
        """
        return results_of(await self.outcome(timeout))

    async def cancel(self, reason: str = "") -> Announcement:
        """End it at whatever stage it is; see `Groups.cancel`."""
        return await self._groups.cancel(self.id, reason)


def results_of(announcement: Announcement) -> GroupResults:
    """Return the results of an announcement that is over.

    Raises:
        GroupFailedError: it failed or was cancelled.
    """
    if announcement.state is not AnnouncementState.COMPLETED:
        raise failure_of(announcement)
    return GroupResults(announcement)


def failure_of(announcement: Announcement) -> GroupFailedError:
    """Return what is raised for an announcement that did not complete."""
    return GroupFailedError(
        announcement.id, state=announcement.state, reason=announcement.reason, results=announcement.results
    )


class Follower:
    """Calls back as news of one announcement come, and once when it is over.

    Updates are hints: of several in a row the last is sure to be told. The end is told once.
    """

    def __init__(self, announcements: Announcements, lookout: Lookout, callbacks: Callbacks) -> None:
        self._announcements = announcements
        self._lookout = lookout
        self._callbacks = callbacks
        self._told: dict[str, tuple[float, str]] = {}

    async def run(self, announcement_id: str, *, initiator: str) -> None:
        """Follow it to its end."""
        async with self._lookout.watching(announcement_id, initiator=initiator) as watch:
            while True:
                await self._pass_on(watch)
                try:
                    found = (await self._announcements.get(announcement_id)).announcement
                except NotFoundError:
                    logger.warning("announcement %s is followed no more: it is not kept", announcement_id)
                    return
                except UnavailableError as exc:
                    logger.debug("announcement %s: %s", announcement_id, exc)
                else:
                    await self._look(found)
                    if found.state.is_over:
                        await self._end(found)
                        return
                await watch.news()

    async def _pass_on(self, watch: Watch) -> None:
        while watch.heard:
            update = _update(watch.heard.popleft())
            if update is not None:
                await self._update(update)

    async def _look(self, found: Announcement) -> None:
        """Tell what was not heard: hints may be lost."""
        for member in found.members.values():
            if member.started and not member.is_done:
                await self._update(
                    Update(announcement=found.id, agent=member.agent, progress=member.progress, note=member.note)
                )

    async def _update(self, update: Update) -> None:
        if not update.lost:
            said = (update.progress, update.note)
            before = self._told.get(update.agent)
            if before == said or (before is not None and update.progress < before[0]):
                return
            self._told[update.agent] = said
        else:
            self._told.pop(update.agent, None)
        await _call(self._callbacks.on_update, update)

    async def _end(self, found: Announcement) -> None:
        if found.state is AnnouncementState.COMPLETED:
            await _call(self._callbacks.on_complete, GroupResults(found))
        else:
            await _call(self._callbacks.on_failure, failure_of(found))


def _update(envelope: Envelope) -> Update | None:
    if envelope.type is not GroupMessage.TASK_UPDATE or "agent" not in envelope.payload:
        return None
    said: Mapping[str, Any] = envelope.payload
    return Update(
        announcement=envelope.announcement,
        agent=str(said["agent"]),
        progress=float(said.get("progress", 0.0)),
        note=str(said.get("note", "")),
        lost=str(said.get("lost", "")),
    )


async def _call(function: Callable[[Any], object] | None, argument: object) -> None:
    if function is None:
        return
    try:
        answer = await asyncio.to_thread(function, argument) if _is_sync(function) else function(argument)
        if inspect.isawaitable(answer):
            await _done(answer)
    except Exception:
        logger.exception("a callback failed: %r", function)


async def _done(answer: Awaitable[object]) -> None:
    await answer


def _is_sync(function: Callable[[Any], object]) -> bool:
    target = function if inspect.isfunction(function) or inspect.ismethod(function) else type(function).__call__
    return not inspect.iscoroutinefunction(target)
