"""The groups service: announce work that needs several skills, learn how it goes and why, from any process of the mesh.

Everything stands in the announcement's record, so whoever has its id can wait for it, watch and cancel it, also after
who announced it is gone: then a node that plays the role `groups` leads on.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from meshd.errors import (
    AlreadyExistsError,
    GroupFailedError,
    InvalidArgumentError,
    NoCandidateError,
    UnavailableError,
)
from meshd.events import EventBus
from meshd.groups.announced import Announced, Callbacks, Follower, GroupResults, Update
from meshd.groups.announcements import Announcements
from meshd.groups.drafting import Wanted, draft, is_same, need_of
from meshd.groups.happenings import TaskCancelled
from meshd.groups.hub import Hub
from meshd.groups.model import Announcement, PartialPolicy, SkillNeed, Urgency
from meshd.groups.obstacles import need_text
from meshd.groups.protocol import announce, apply
from meshd.groups.reading import GroupOptions, GroupReader, Live
from meshd.groups.registry import Registry
from meshd.groups.wire import HUBS, Post
from meshd.ids import check_name, new_id


class Groups(GroupReader):
    """Team up."""

    def __init__(
        self,
        announcements: Announcements,
        registry: Registry,
        events: EventBus,
        *,
        options: GroupOptions,
        make_hub: Callable[[], Hub],
        live: Live,
    ) -> None:
        """`make_hub` is called when something is first led here."""
        super().__init__(announcements, registry, events, options=options, live=live)
        self._make_hub = make_hub
        self._hub: Hub | None = None
        self._events = events
        self._post = Post(events, sender=options.initiator)
        self._following = set[asyncio.Task[None]]()

    async def aclose(self) -> None:
        """Lead nothing and call nobody back any more; what is open, a node leads on. Idempotent."""
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
        await super().aclose()
        hub, self._hub = self._hub, None
        if hub is not None:
            await hub.aclose()

    async def announce(  # noqa: PLR0913 -- each is one independent choice of the caller, all by keyword
        self,
        description: str,
        *,
        skills: Iterable[SkillNeed | str],
        payload: Any = None,
        id: str | None = None,
        max_size: int | None = None,
        priority: Urgency | str = "normal",
        partial: PartialPolicy | str = "fail",
        deadline: timedelta | None = None,
        formation: timedelta | None = None,
        depends_on: Iterable[Announced | str] = (),
        parent: str = "",
        metadata: Mapping[str, Any] | None = None,
        unserved: str = "wait",
        detach: bool = False,
        on_update: Callable[[Update], object] | None = None,
        on_failure: Callable[[GroupFailedError], object] | None = None,
        on_complete: Callable[[GroupResults], object] | None = None,
    ) -> Announced:
        """Announce work for a group that has all `skills` between its members. Return once it is kept, nobody asked.

        The words are those of `Wanted`; for callbacks see `follow`. The same `id` and work again is the same one, so a
        call whose answer was lost may be repeated. With `detach` the nodes' hubs lead it, else this process, and they
        do when it is gone. `unserved`: wait for agents with the skills to come, or refuse.

        Raises:
            InvalidArgumentError: something is said that cannot be, or over its limit.
            NoCandidateError: nobody has one of the skills, and `unserved` is refuse.
            AlreadyExistsError, BackpressureError: the id belongs to other work; too many are open.
        """
        name = new_id() if id is None else check_name("announcement", id)
        wanted = Wanted(
            description=description,
            skills=tuple(skills),
            payload=payload,
            max_size=max_size,
            priority=priority,
            partial=partial,
            deadline=deadline,
            formation=formation,
            depends_on=tuple(each.id if isinstance(each, Announced) else each for each in depends_on),
            parent=parent,
            metadata=metadata or {},
        )
        await self._check_served(wanted.skills, unserved)
        made = await self._announced(wanted, name, detach=detach)
        self._follow(made, Callbacks(on_update=on_update, on_failure=on_failure, on_complete=on_complete))
        return Announced(self, name)

    async def follow(
        self,
        announcement_id: str,
        *,
        on_update: Callable[[Update], object] | None = None,
        on_failure: Callable[[GroupFailedError], object] | None = None,
        on_complete: Callable[[GroupResults], object] | None = None,
    ) -> Announced:
        """Call back as news come of an announcement, also one made elsewhere or in an earlier life; its end once.

        Raises:
            NotFoundError: none of this id is kept.
        """
        found = await self.get(announcement_id)
        self._follow(found, Callbacks(on_update=on_update, on_failure=on_failure, on_complete=on_complete))
        return Announced(self, announcement_id)

    def handle(self, announcement_id: str) -> Announced:
        """Return a handle on an announcement made anywhere."""
        return Announced(self, announcement_id)

    async def cancel(self, announcement_id: str, reason: str = "") -> Announcement:
        """End it at whatever stage it is, its parts too; every slot is free again. Twice is once.

        Raises:
            NotFoundError: none of this id is kept (any more).
            InvalidTransitionError: it has completed or failed.
        """
        event = TaskCancelled(by=self._options.initiator, reason=reason)
        rules = self._options.rules
        done = await self._announcements.change(
            announcement_id, lambda found, now_ms: apply(found, event, now_ms=now_ms, rules=rules)
        )
        with suppress(UnavailableError):
            await self._post.carry(done)
            if done.is_news:
                await self._post.changed(done.announcement)
        return done.announcement

    async def _announced(self, wanted: Wanted, name: str, *, detach: bool) -> Announcement:
        """Return the announcement once it is kept, or the one of its id and work that was there before."""

        def drafted(now_ms: int) -> Announcement:
            own = self._options
            return draft(wanted, id=name, initiator=own.initiator, now_ms=now_ms, limit=own.max_size)

        try:
            if detach:
                return await self._left_to_others(name, drafted)
            return await self._leading().announce(name, drafted)
        except AlreadyExistsError:
            known = await self.get(name)
            if not is_same(known, drafted(known.announced_ms)):
                raise
            return known

    async def _left_to_others(self, name: str, drafted: Callable[[int], Announcement]) -> Announcement:
        """Return the announcement once it is kept, for whoever plays the role to lead."""
        rules = self._options.rules
        kept = await self._announcements.create(
            name, lambda now_ms: announce(drafted(now_ms), now_ms=now_ms, rules=rules)
        )
        with suppress(UnavailableError):
            await self._events.publish(HUBS, {"a": name, "now": True})
        return kept.announcement

    def _leading(self) -> "Hub":
        if self._hub is None:
            self._hub = self._make_hub()
            self._hub.start()
        return self._hub

    async def _check_served(self, skills: Iterable[SkillNeed | str], unserved: str) -> None:
        if unserved not in ("wait", "refuse"):
            raise InvalidArgumentError(f"unserved {unserved!r} is not wait or refuse")
        if unserved == "wait":
            return
        live = await self._live()
        for need in map(need_of, skills):
            holders = await self._registry.holders(need.name, level=need.level)
            if not any(holder.node in live for holder in holders):
                raise NoCandidateError(f"no live agent has {need_text(need)}; unserved=wait announces it anyway")

    def _follow(self, found: Announcement, callbacks: Callbacks) -> None:
        if not callbacks:
            return
        follower = Follower(self._announcements, self._lookout, callbacks)
        task = asyncio.create_task(follower.run(found.id, initiator=found.initiator), name=f"meshd follow {found.id}")
        self._following.add(task)
        task.add_done_callback(self._following.discard)
