"""Roles: the mesh's own jobs, each done by one node at a time, elected among those that are willing.

A player that dies or is cut off is followed within its lease, one that ends resigns. Whoever only waits asks the store
once in `idle_seconds`, for all roles together; the rest is hints.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from random import Random
from typing import Protocol

from meshd.errors import FencedError, MeshError, NotLeaderError, UnavailableError
from meshd.events import EventBus, Subscription
from meshd.records import Guard
from meshd.runtime.outage import Outage
from meshd.settings_roles import RolesSettings
from meshd.votes.leadership import Candidate, Leaders, Leadership
from meshd.votes.leading import topic_of

logger = logging.getLogger(__name__)

SCOPES = "role:"
"""Scopes of roles begin with it, and so do their addresses for messages."""
RETRY_S = (0.1, 0.5)
"""Pause after a call the store did not answer."""


class Role(Protocol):
    """One of the mesh's own jobs."""

    @property
    def name(self) -> str: ...

    @property
    def is_elected(self) -> bool:
        """Whether one at a time does it; else everybody who wants to."""
        ...

    @property
    def topics(self) -> Sequence[str]:
        """Hints after which a round is due."""
        ...

    async def run_once(self, guard: Guard | None) -> float | None:
        """Do one round; return the seconds after which the next is due without a hint, `None`: whenever.

        Raises:
            FencedError: the leadership that `guard` names has ended.
            UnavailableError: the store is away.
        """
        ...

    def playing(self) -> AbstractContextManager[None]:
        """What holds while it is played here."""
        ...

    def statistics(self) -> Mapping[str, int]:
        """Return what it did since it is played here."""
        ...


class Roles:
    """Stands for roles and plays those it is elected for, as long as `run` runs."""

    def __init__(self, leaders: Leaders, events: EventBus, roles: Sequence[Role], settings: RolesSettings) -> None:
        self._leaders = leaders
        self._events = events
        self._roles = roles
        self._settings = settings
        self._rng = Random()
        self._candidates: dict[str, Candidate] = {}
        self._vacancies = {SCOPES + role.name: asyncio.Event() for role in roles if role.is_elected}

    async def run(self) -> None:
        """Play until cancelled; what is led is resigned from then. Nothing a role or the store does ends it."""
        async with asyncio.TaskGroup() as group:
            for role in self._roles:
                job = self._stand_and_play(role) if role.is_elected else self._play(role, None)
                group.create_task(job, name=f"meshd role {role.name}")
            if self._vacancies:
                group.create_task(self._follow(), name="meshd roles")

    async def _stand_and_play(self, role: Role) -> None:
        scope = SCOPES + role.name
        while True:
            candidate = self._candidates[scope] = Candidate(self._leaders, scope, self._settings.lease())
            try:
                leadership = await self._elected(candidate)
            except BaseException:
                await candidate.withdraw()
                raise
            del self._candidates[scope]
            try:
                async with self._leaders.holding(leadership):
                    await self._play(role, leadership.guard)
            except (NotLeaderError, FencedError) as exc:
                logger.info("role %s is no longer played here: %s", role.name, exc)

    async def _elected(self, candidate: Candidate) -> Leadership:
        vacancy = self._vacancies[candidate.scope]
        outage = Outage(logger, f"standing for {candidate.scope}")
        while True:
            vacancy.clear()
            try:
                found = await candidate.stand()
            except UnavailableError as exc:
                outage.met(exc)
                await asyncio.sleep(self._rng.uniform(*RETRY_S))
                continue
            except MeshError:
                logger.exception("standing for %s is not possible", candidate.scope)
                await asyncio.sleep(self._settings.idle_seconds)
                continue
            outage.over()
            if isinstance(found, Leadership):
                return found
            await vacancy.wait()

    async def _follow(self) -> None:
        """Find out which roles have nobody, and wake those who stand for them."""
        topics = {topic_of(scope): scope for scope in self._vacancies}
        outage = Outage(logger, "following the leaders of roles")
        while True:
            try:
                async with self._events.subscribe(*topics) as hints:
                    while True:
                        await self._look()
                        outage.over()
                        await self._heard(hints, topics)
            except UnavailableError as exc:
                outage.met(exc)
            except MeshError:
                logger.exception("the leaders of roles cannot be followed")
                await asyncio.sleep(self._settings.idle_seconds)
            await asyncio.sleep(self._rng.uniform(*RETRY_S))

    async def _look(self) -> None:
        if self._candidates:
            led = {term.scope for term in await self._leaders.list(SCOPES)}
            for scope in self._candidates.keys() - led:
                self._vacancies[scope].set()

    async def _heard(self, hints: Subscription, topics: Mapping[str, str]) -> None:
        """Wake whom hints concern, until it is time to look."""
        loop = asyncio.get_running_loop()
        look_s = loop.time() + self._settings.idle_seconds * self._rng.uniform(1.0, 1.2)
        while (left_s := look_s - loop.time()) > 0:
            hint = await hints.get(timeout_ms=round(left_s * 1000))
            if hint is not None and (candidate := self._candidates.get(topics[hint.topic])) is not None:
                candidate.heard(hint.body)
                self._vacancies[candidate.scope].set()

    async def _play(self, role: Role, guard: Guard | None) -> None:
        """Play until leadership ends, or for ever.

        Raises:
            FencedError: leadership has ended.
        """
        logger.info("role %s is played here", role.name)
        rounds = Rounds(role, guard, self._settings)
        with role.playing():
            while True:
                try:
                    async with self._events.subscribe(*role.topics) as hints:
                        await rounds.run(hints)
                except UnavailableError as exc:
                    rounds.outage.met(exc)
                    rounds.soon()
                    await asyncio.sleep(self._rng.uniform(*RETRY_S))


class Rounds:
    """The rounds of one role while it is played: when the next is due, and what to say of them."""

    def __init__(self, role: Role, guard: Guard | None, settings: RolesSettings) -> None:
        self._role = role
        self._guard = guard
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._began_s = self._due_s = self._loop.time()
        self._tell_s = self._began_s + settings.statistics_seconds
        self.outage = Outage(logger, f"role {role.name}")

    async def run(self, hints: Subscription) -> None:
        """Do a round whenever one is due.

        Raises:
            FencedError: leadership has ended.
            UnavailableError: the store is away.
        """
        while True:
            if self._loop.time() >= self._due_s:
                await self._round()
            if self._loop.time() >= self._tell_s:
                self._tell_s = self._loop.time() + self._settings.statistics_seconds
                said = ", ".join(f"{name} {count}" for name, count in self._role.statistics().items())
                logger.info("role %s: %s", self._role.name, said)
            left_s = min(self._due_s, self._tell_s) - self._loop.time()
            hint = await hints.get(timeout_ms=max(1, round(left_s * 1000)))
            if hint is not None:
                self.soon()
                await asyncio.sleep(0)

    def soon(self) -> None:
        """There is news, or hints were lost: a round is due as soon as one may be."""
        self._due_s = min(self._due_s, self._began_s + self._settings.interval_seconds)

    async def _round(self) -> None:
        self._began_s = self._loop.time()
        self._due_s = self._began_s + self._settings.idle_seconds
        try:
            due_in_s = await self._role.run_once(self._guard)
        except (FencedError, UnavailableError):
            self._due_s = self._began_s + self._settings.interval_seconds
            raise
        except Exception:
            logger.exception("a round of role %s failed", self._role.name)
            return
        self.outage.over()
        if due_in_s is not None:
            shortest = self._settings.interval_seconds if due_in_s else 0.0
            self._due_s = self._began_s + min(max(due_in_s, shortest), self._settings.idle_seconds)


@asynccontextmanager
async def roles_played(roles: Roles) -> AsyncGenerator[None]:
    """Stand for roles and play them for the length of the block; resign at its end."""
    playing = asyncio.create_task(roles.run(), name="meshd roles")
    try:
        yield
    finally:
        playing.cancel()
        await asyncio.wait({playing})
        if not playing.cancelled() and (failure := playing.exception()) is not None:
            logger.error("roles were no longer played here", exc_info=failure)
