"""Groups for code without an event loop: `groups` of a `SyncMesh`. A facade, with no logic of its own."""

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import Any, ParamSpec

from meshd.groups.announced import Announced
from meshd.groups.model import Announcement
from meshd.groups.service import Groups
from meshd.sync_memory import Portal

P = ParamSpec("P")


class SyncAnnounced:
    """One announcement; see `Announced`."""

    def __init__(self, portal: Portal, announced: Announced) -> None:
        self.id: str = announced.id
        self.status = portal.wrap(announced.status)
        self.formed = portal.wrap(announced.formed)
        self.outcome = portal.wrap(announced.outcome)
        self.result = portal.wrap(announced.result)
        self.cancel = portal.wrap(announced.cancel)

    def __repr__(self) -> str:
        return f"SyncAnnounced({self.id!r})"


class SyncGroups:
    """Teaming up; see `Groups`."""

    def __init__(self, portal: Portal, groups: Groups) -> None:
        self._portal = portal
        self._groups = groups
        self.options = groups.options
        self.announce = self._handled(groups.announce)
        self.follow = self._handled(groups.follow)
        self.get = portal.wrap(groups.get)
        self.list = portal.wrap(groups.list)
        self.stalled = groups.stalled
        self.formed = portal.wrap(groups.formed)
        self.wait_for_task = portal.wrap(groups.wait_for_task)
        self.cancel = portal.wrap(groups.cancel)
        self.holders = portal.wrap(groups.holders)
        self.agents = portal.wrap(groups.agents)
        self.live_nodes = portal.wrap(groups.live_nodes)
        self.children = portal.wrap(groups.children)
        self.explain = portal.wrap(groups.explain)

    def handle(self, announcement_id: str) -> SyncAnnounced:
        """Return a handle on an announcement made anywhere."""
        return SyncAnnounced(self._portal, self._groups.handle(announcement_id))

    def watch(self, announcement_id: str | None = None) -> Iterator[Announcement]:
        """Yield announcements as they change; see `Groups.watch`."""
        changes = self._groups.watch(announcement_id)
        try:
            while (found := self._portal.call(_next(changes))) is not None:
                yield found
        finally:
            self._portal.call(changes.aclose())

    def _handled(self, method: Callable[P, Coroutine[Any, Any, Announced]]) -> Callable[P, SyncAnnounced]:
        def call(*args: P.args, **kwargs: P.kwargs) -> SyncAnnounced:
            return SyncAnnounced(self._portal, self._portal.call(method(*args, **kwargs)))

        call.__doc__ = method.__doc__
        return call


async def _next(changes: AsyncGenerator[Announcement]) -> Announcement | None:
    return await anext(changes, None)
