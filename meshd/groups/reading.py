"""What can be known of announcements and agents, by any process of the mesh: states, ends, changes, and why.

Nothing here announces, leads or changes anything.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from meshd.errors import DeadlineError, InvalidArgumentError, NotFoundError, UnavailableError
from meshd.events import EventBus
from meshd.groups.announced import failure_of
from meshd.groups.announcements import Announcements, Kept
from meshd.groups.explaining import GroupExplanation, explain
from meshd.groups.lookout import Lookout
from meshd.groups.model import Announcement, AnnouncementState, Candidate, Member
from meshd.groups.registry import Registry
from meshd.groups.scoring import DEFAULT_RULES, ScoreRules
from meshd.groups.shares import DEFAULT_SHARES, ShareRules
from meshd.groups.skill_index import Holder
from meshd.groups.skills import level_named
from meshd.groups.steps import Rules
from meshd.groups.working import stalled
from meshd.ids import check_name
from meshd.nodes.model import Level

MAX_LISTED = 1_000
_AT_ONCE = 50
MAX_EXPLAINED = 64
"""Most agents of each skill an explanation looks at, beside those that have had a part."""
HAS_FORMED = (AnnouncementState.FORMED, AnnouncementState.RUNNING, AnnouncementState.COMPLETED)
IS_OVER = tuple(state for state in AnnouncementState if state.is_over)

Live = Callable[[], Awaitable[Collection[str]]]
"""Returns the ids of the nodes that are not dead."""


UNHEARD = timedelta(minutes=1)
"""After so long without a word a member at work is pointed out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOptions:
    """What holds for everything announced here."""

    initiator: str
    max_size: int = 5
    rules: Rules = field(default_factory=Rules)
    scores: ScoreRules = DEFAULT_RULES
    shares: ShareRules = DEFAULT_SHARES


class _Seen:
    """What one who watches was shown."""

    def __init__(self) -> None:
        self.open: dict[str, int] = {}
        """Announcement → revision."""
        self._over = deque[str](maxlen=MAX_LISTED)

    def is_news(self, kept: Kept) -> bool:
        """Return whether it was not shown so, and note that it is."""
        name = kept.announcement.id
        before = self.open.pop(name, None)
        if not kept.announcement.state.is_over:
            self.open[name] = kept.revision
            return before != kept.revision
        is_first = name not in self._over
        if is_first:
            self._over.append(name)
        return is_first


class GroupReader:
    """Look at announcements and agents."""

    def __init__(
        self, announcements: Announcements, registry: Registry, events: EventBus, *, options: GroupOptions, live: Live
    ) -> None:
        self._announcements = announcements
        self._registry = registry
        self._options = options
        self._live = live
        self._lookout = Lookout(announcements, events, initiator=options.initiator)

    @property
    def options(self) -> GroupOptions:
        return self._options

    async def aclose(self) -> None:
        """Listen no more; waits in progress are cancelled. Idempotent."""
        await self._lookout.aclose()

    async def get(self, announcement_id: str) -> Announcement:
        """Return one announcement as it stands.

        Raises:
            NotFoundError: none of this id is kept (any more).
        """
        return (await self._announcements.get(announcement_id)).announcement

    def stalled(self, announcement: Announcement, *, after: timedelta = UNHEARD) -> Sequence[Member]:
        """Return the members at work of one read here that have reported nothing for so long; none once it is over."""
        after_ms = round(after.total_seconds() * 1_000)
        return stalled(announcement, now_ms=self._announcements.now_ms(), after_ms=after_ms)

    async def list(
        self, *, state: AnnouncementState | str | None = None, limit: int = 100, after: str = ""
    ) -> Sequence[Announcement]:
        """Return up to `limit` announcements, in the order of their ids: by age, where meshd made the ids.

        `state` "open" stands for all that are not over.

        Raises:
            InvalidArgumentError: there is no such state, or the limit is not 1 to 1000.
        """
        if not 1 <= limit <= MAX_LISTED:
            raise InvalidArgumentError(f"limit {limit} is not 1 to {MAX_LISTED}")
        if state == "open":
            return await self._open(limit=limit, after=after)
        return await self._announcements.list(state=_state(state), limit=limit, after=after)

    async def formed(self, announcement_id: str, *, timeout: timedelta | None = None) -> Announcement:
        """Wait until the group is formed, and return the announcement.

        Raises:
            GroupFailedError: it failed or was cancelled.
            DeadlineError: it was not formed within `timeout`; it goes on.
            NotFoundError: none of this id is kept (any more).
        """
        found = await self._until(announcement_id, (*HAS_FORMED, *IS_OVER), timeout=timeout, what="formed")
        if found.state not in HAS_FORMED:
            raise failure_of(found)
        return found

    async def wait_for_task(self, announcement_id: str, *, timeout: timedelta | None = None) -> Announcement:
        """Wait until the announcement is over, however it ends, and return it. Any process may wait.

        Raises:
            DeadlineError: it is not over within `timeout`; it goes on.
            NotFoundError: none of this id is kept (any more).
        """
        return await self._until(announcement_id, IS_OVER, timeout=timeout, what="over")

    async def watch(self, announcement_id: str | None = None) -> AsyncGenerator[Announcement]:
        """Yield the announcement, or each that is open, as it stands and after each change; ends when it is over.

        Of changes in quick succession the last is yielded.

        Raises:
            NotFoundError: none of this id is kept.
        """
        initiator = "" if announcement_id is None else (await self.get(announcement_id)).initiator
        seen = _Seen()
        async with self._lookout.watching(announcement_id or "", initiator=initiator) as watch:
            due: Iterable[str] = await self._in_view(announcement_id)
            while True:
                for each in due:
                    kept = await self._unless_away(each)
                    if kept is not None and seen.is_news(kept):
                        yield kept.announcement
                        if each == announcement_id and kept.announcement.state.is_over:
                            return
                is_news = await watch.news()
                due = list(watch.changed)
                watch.changed.clear()
                if not is_news:
                    with suppress(UnavailableError):
                        due = {*due, *seen.open, *await self._in_view(announcement_id)}

    async def holders(
        self, skill: str, *, level: Level | str = Level.NOVICE, most: int = MAX_EXPLAINED
    ) -> Sequence[Holder]:
        """Return up to `most` agents that declare the skill at the level or above, whether their nodes live or not."""
        return await self._registry.holders(check_name("skill", skill), level=level_named(level), most=most)

    async def agents(
        self, skill: str | None = None, *, level: Level | str = Level.NOVICE, limit: int = 100, after: str = ""
    ) -> Sequence[Candidate]:
        """Return up to `limit` agents with all that is known of them: of a skill, or by name after one of them."""
        return await self._registry.candidates(skill=skill, level=level_named(level), limit=limit, after=after)

    async def live_nodes(self) -> Collection[str]:
        """Return the ids of the nodes that are not dead."""
        return await self._live()

    async def children(self, announcement_id: str) -> Sequence[Announcement]:
        """Return the parts of an announcement that are kept: up to 1000 announcements are looked at."""
        return [each for each in await self.list(limit=MAX_LISTED) if each.parent == announcement_id]

    async def explain(self, announcement_id: str, *, agent: str | None = None) -> GroupExplanation:
        """Return why these agents were chosen, why others were not, and what would let a group form.

        `agent` is one to be judged, too, whatever it can do.

        Raises:
            NotFoundError: none of this id is kept, or the agent was never here.
        """
        kept = await self._announcements.get(announcement_id)
        found, live = kept.announcement, await self._live()
        named = {*found.members, *found.invitations, *found.offers, *found.refused, *filter(None, [agent])}
        pages = await asyncio.gather(
            *(self._registry.candidates(skill=need.name, limit=MAX_EXPLAINED) for need in found.needs)
        )
        known = {each.agent: each for page in pages for each in page}
        for name in sorted(named - known.keys()):
            record = await self._registry.find(name)
            if record is not None:
                known[name] = record.enrolment.candidate
            elif name == agent:
                raise _unknown(name)
        return explain(
            found,
            list(known.values()),
            away={each.agent for each in known.values() if each.node not in live},
            now_ms=kept.read_ms,
            rules=self._options.scores,
            shares=self._options.shares,
        )

    async def _unless_away(self, announcement_id: str) -> Kept | None:
        with suppress(UnavailableError):
            return await self._announcements.find(announcement_id)
        return None

    async def _until(
        self, announcement_id: str, states: Collection[AnnouncementState], *, timeout: timedelta | None, what: str
    ) -> Announcement:
        seconds = None if timeout is None else timeout.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                return await self._lookout.until(announcement_id, states)
        except TimeoutError:
            raise DeadlineError(
                f"announcement {announcement_id} was not {what} within {seconds:g} s; it goes on"
            ) from None

    async def _in_view(self, announcement_id: str | None) -> Sequence[str]:
        if announcement_id is not None:
            return [announcement_id]
        return [marker.id for marker in await self._announcements.open_markers()]

    async def _open(self, *, limit: int, after: str) -> Sequence[Announcement]:
        names = [marker.id for marker in await self._announcements.open_markers() if marker.id > after]
        found: list[Announcement] = []
        for start in range(0, len(names), _AT_ONCE):
            page = await asyncio.gather(*map(self._announcements.find, names[start : start + _AT_ONCE]))
            found += [kept.announcement for kept in page if kept is not None and not kept.announcement.state.is_over]
            if len(found) >= limit:
                break
        return found[:limit]


def _state(name: AnnouncementState | str | None) -> AnnouncementState | None:
    try:
        return None if name is None else AnnouncementState(name)
    except ValueError:
        raise InvalidArgumentError(f"state {name!r} is not one of open, {', '.join(AnnouncementState)}") from None


def _unknown(agent: str) -> NotFoundError:
    return NotFoundError(f"agent {agent!r} is not known here; `mesh skills` lists who is")
