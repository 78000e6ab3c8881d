"""The way to one Redis: a lane for all scripts, a pool for plain calls, lanes for waiting; errors translated.

Invariant: scripts reach a server that said it takes writes, under the generation it is in (`generation`), and writes
that are to be confirmed come back only when replicas have them.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from time import monotonic
from typing import Any, ClassVar, cast

import redis.asyncio as driver
import redis.exceptions as broken
from redis.asyncio.connection import AbstractConnection

from meshd.backends import redact
from meshd.backends.port import BackendOptions
from meshd.backends.redis import scripts
from meshd.backends.redis.durability import ACKNOWLEDGING
from meshd.backends.redis.footing import Footing, ask
from meshd.backends.redis.generation import SCRIPT, STORE_LOG, Generations, Rollback
from meshd.backends.redis.keys import Keys
from meshd.backends.redis.lane import Command, ConfirmingLane, Lane, Quorum
from meshd.backends.redis.pool import open_pool
from meshd.backends.redis.retries import Act, Tries, may_go_on, repeat
from meshd.backends.redis.sentinel import Sentinels
from meshd.backends.redis.translate import error_of, is_replica, read_already, read_within, translated, word_of
from meshd.backends.redis.watch import Watch
from meshd.errors import MeshError, StoreUnreachableError
from meshd.tasks.model import Durability

__all__ = ["Connection", "read_already", "read_within", "translated"]

logger = logging.getLogger(__name__)

MAX_SPARE = 4
"""Most idle connections kept for calls that wait."""
LOOK_S = 1.0
"""How often a client that works asks its sentinels whether the primary is still where it is."""
READS_ONLY = frozenset({"MISCONF", "NOREPLICAS", "OOM"})
"""What a server says that takes no writes for now: it is read without knowing its generation."""
CONFIRM_SHARE = 0.4
"""Share of a call's time in which replicas have to confirm it; behind another, it may wait as long again."""


class Connection:
    """One mesh's connections to one Redis. Calls end within the timeout, one way or the other."""

    is_whole_store: ClassVar[bool] = True
    """It is all there is: what its server refuses for a while is waited out here. A cluster does that itself."""

    def __init__(self, url: str, options: BackendOptions) -> None:
        self.url = redact(url)
        self.options = options
        self.keys = Keys(options.mesh)
        self.announce: Callable[[str, Mapping[str, Any]], Awaitable[object]] = self._append
        """Appends an event to a log of the mesh."""
        self.is_split = False
        """Whether the mesh has several partitions; known once the backend is open."""
        self._timeout_s = options.timeout_ms / 1000
        self._confirms = options.durability is Durability.D3
        self._closed = False
        self._lent: set[AbstractConnection] = set()
        self._spare: list[Lane] = []
        self._shared: Lane | None = None
        self._confirming: ConfirmingLane | None = None
        self._opening = asyncio.Lock()
        self._flag_scripts = False
        self._watch = Watch(self.url, options)
        self._generations = Generations()
        self._run_id = ""
        self._look_at = 0.0
        self._following: asyncio.Task[None] | None = None
        self._pool, self._sentinels = open_pool(url, options)
        self._client = driver.Redis.from_pool(self._pool)
        self._execute = cast("Callable[..., Awaitable[Any]]", self._client.execute_command)  # pyright: ignore[reportUnknownMemberType]

    async def open(self) -> None:
        """Check that a Redis answers that may be used as asked, and learn which kind.

        Raises:
            StoreUnreachableError: nothing answers.
            StoreReadOnlyError: it is a replica.
            ConfigurationError: it may evict tasks, or cannot give the durability asked for.
        """
        await self._call(self._lane, retry=True)

    def now(self) -> str:
        """Return the clock argument of a script: empty means the server's clock."""
        return "" if self.options.clock is None else str(self.options.clock())

    async def run(
        self,
        name: str,
        *,
        key: str,
        args: Sequence[str | bytes | int],
        retry: bool = True,
        confirm: Durability | None = None,
    ) -> Any:
        """Run a script on the partition of `key`, its clock argument first.

        With `retry`, a broken connection is tried again until the timeout: for scripts that may run twice. With
        `confirm` at D3, or if the store was opened for D3 and the script's answer is an acknowledgement, it comes back
        when `options.replicas` replicas have the write.

        Raises:
            UnconfirmedError: the script ran, and too few replicas said so in time.
        """
        is_confirmed = confirm is Durability.D3 or (self._confirms and name in ACKNOWLEDGING)
        give_up = monotonic() + self._timeout_s
        quick = None if is_confirmed else self._at_once(name, key, args)
        if quick is not None:
            try:
                return await quick
            except (broken.RedisError, OSError) as exc:
                if isinstance(exc, broken.NoScriptError):
                    give_up = monotonic() + self._timeout_s
                if not may_go_on(exc, retry=retry) or monotonic() >= give_up:
                    raise error_of(exc, self.url) from exc
        act = partial(self._run, name, key, args, is_confirmed=is_confirmed)
        return await self._call(act, retry=retry, give_up=give_up)

    def script_keys(self, key: str) -> tuple[str, ...]:
        """Return the keys a script on the partition of `key` is called with, its clock first."""
        return (key,)

    async def command(self, *command: str | bytes | int, retry: bool = True) -> Any:
        """Run one plain command."""
        with translated(self.url):
            return await self._call(partial(self._by_pool, command), retry=retry)

    async def peek(self, *command: str | bytes | int, retry: bool = True) -> Any:
        """Run one plain command among the scripts; the answer comes as the server gave it."""
        lane = self._shared
        if lane is not None and not lane.is_closed and monotonic() < self._look_at:
            try:
                return await lane.call(command)
            except (broken.RedisError, OSError) as exc:
                if not may_go_on(exc, retry=retry):
                    raise error_of(exc, self.url) from exc

        async def ask() -> Any:
            return await (await self._lane()).call(command)

        with translated(self.url):
            return await self._call(ask, retry=retry)

    async def pipeline(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
        """Run commands that may be repeated, in one round trip."""
        with translated(self.url):
            async with self._client.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)  # pyright: ignore[reportUnknownMemberType, reportUnusedCoroutine]
                return await pipe.execute()

    async def footings(self, *, fresh: bool = False) -> Sequence[Footing]:
        """Return what the server said of itself, asked anew if `fresh`."""

        async def refreshed() -> Footing:
            return self._watch.take(await ask(await self._lane()))

        footing = self._watch.footing
        return [await self._call(refreshed, retry=True) if footing is None or fresh else footing]

    def saw(self, key: str, token: int) -> None:
        """Note a token that the partition of `key` gave out: should the store forget it, that will be noticed."""
        self._generations.saw(key, token)

    async def lend(self) -> AbstractConnection:
        """Return an open connection of its own for calls that wait; give it back with `take_back`."""
        with translated(self.url):
            return await self._connect()

    async def take_back(self, connection: AbstractConnection) -> None:
        """Close a lent connection."""
        self._lent.discard(connection)
        await connection.disconnect(nowait=True)

    @asynccontextmanager
    async def waiting(self, key: str) -> AsyncGenerator[Lane]:
        """Lend a lane for one call that waits on `key`; it is used again only if the call came to its end."""
        del key
        with translated(self.url):
            lane = await self._spare_lane() or Lane(await self._connect())
            try:
                yield lane
            finally:
                if lane.is_idle and len(self._spare) < MAX_SPARE and not self._closed:
                    self._spare.append(lane)
                else:
                    await self._end_lane(lane)

    async def aclose(self) -> None:
        """Close every connection, those lent out too."""
        self._closed = True
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})
        await self._leave()
        await self._client.aclose()
        await self._pool.disconnect()
        if self._sentinels is not None:
            await self._sentinels.aclose()

    async def _connect(self) -> AbstractConnection:
        self._check_open()
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        self._lent.add(connection)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            self._check_open()
        except BaseException:
            await self.take_back(connection)
            raise
        return connection

    async def _spare_lane(self) -> Lane | None:
        self._check_open()
        while self._spare:
            lane = self._spare.pop()
            if lane.is_idle:
                return lane
            await self._end_lane(lane)
        return None

    async def _end_lane(self, lane: Lane) -> None:
        lane.close()
        await self.take_back(lane.connection)

    async def _leave(self) -> None:
        """Give up every connection to the server, those lent out too; whoever waits on one is told."""
        confirming = [self._confirming.lane] if self._confirming else []
        for lane in (*self._spare, *([self._shared] if self._shared else []), *confirming):
            lane.close()
        for connection in list(self._lent):
            await connection.disconnect(nowait=True)
        await self._pool.disconnect(inuse_connections=False)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnreachableError(f"redis at {self.url}: this backend is closed")

    async def _by_pool(self, command: Command) -> Any:
        try:
            return await self._execute(*command)
        except broken.ReadOnlyError:
            await self._pool.disconnect(inuse_connections=False)
            raise

    def _at_once(self, name: str, key: str, args: Sequence[str | bytes | int]) -> Awaitable[Any] | None:
        """Send a script, if there is nothing to see to first; the lane has the patience of a call."""
        lane = self._shared
        mark = self._generations.mark(key, self._run_id)
        if lane is None or lane.is_closed or mark is None or monotonic() >= self._look_at:
            return None
        keys = self.script_keys(key)
        return lane.call(("EVALSHA", self._script(name).sha, len(keys), *keys, self.now() + mark, *args))

    async def _run(self, name: str, key: str, args: Sequence[str | bytes | int], *, is_confirmed: bool) -> Any:
        lane = self._shared
        if lane is None or lane.is_closed:
            lane = await self._open_lane()
        mark = self._generations.mark(key, self._run_id) or await self._greet(lane, key)
        if monotonic() >= self._look_at:
            self._look(lane)
        send = (await self._confirming_lane()).call if is_confirmed else lane.call
        try:
            return await self._eval(send, name, key, self.now() + mark, *args)
        except broken.ResponseError as exc:
            if is_replica(exc):
                lane.close()
            if word_of(exc) != "REWOUND":
                raise
        self._generations.doubt(key)
        return await self._run(name, key, args, is_confirmed=is_confirmed)

    def _script(self, name: str) -> scripts.Script:
        return scripts.load(name, flagged=self._flag_scripts, is_split=self.is_split)

    async def _eval(
        self, send: Callable[[Command], Awaitable[Any]], name: str, key: str, *args: str | bytes | int
    ) -> Any:
        script = self._script(name)
        keys = self.script_keys(key)
        try:
            return await send(("EVALSHA", script.sha, len(keys), *keys, *args))
        except broken.NoScriptError:
            return await send(("EVAL", script.text, len(keys), *keys, *args))

    async def _greet(self, lane: Lane, key: str) -> str:
        """Learn the generation of a partition and return its mark; tell of what the store has lost."""
        known, run_id = self._generations.known(key), self._run_id
        try:
            reply = await self._eval(lane.call, SCRIPT, key, self.now(), known.number, known.token, run_id)
        except broken.ResponseError as exc:
            if word_of(exc) not in READS_ONLY:
                raise
            return ""
        rollback = self._generations.learn(key, run_id, reply)
        mark = self._generations.mark(key, run_id) or ""
        if rollback is not None:
            await self._tell(rollback)
        return mark

    async def _tell(self, rollback: Rollback) -> None:
        logger.warning(
            "redis at %s went back: partition %s knows no token after %d and %d was seen; what came between is lost",
            *(self.url, rollback.partition, rollback.token, rollback.seen),
        )
        try:
            await self.announce(STORE_LOG, rollback.event)
        except (MeshError, broken.RedisError) as exc:
            logger.warning("the log of redis at %s does not have it: %s", self.url, exc)

    async def _append(self, log: str, body: Mapping[str, Any]) -> None:
        key = self.keys.clock(self.keys.partition_of(log))
        await self._run("event_append", key, (log, json.dumps(body)), is_confirmed=False)

    async def _lane(self) -> Lane:
        lane = self._shared
        return lane if lane is not None and not lane.is_closed else await self._open_lane()

    async def _open_lane(self) -> Lane:
        async with self._opening:
            lane = self._shared
            if lane is not None and not lane.is_closed:
                return lane
            if lane is not None:
                await self._end_lane(lane)
                await self._pool.disconnect(inuse_connections=False)
            fresh = Lane(await self._connect(), patience_s=self._timeout_s)
            try:
                self._begin(await ask(fresh))
                # A start once sent counts even if its sender dies: it must not need its text sent after it.
                await fresh.call(("SCRIPT", "LOAD", self._script("task_start").text))
            except BaseException:
                await self._end_lane(fresh)
                raise
            self._shared = fresh
            return fresh

    def _begin(self, footing: Footing) -> None:
        """Begin anew with a server just connected, if it may be used."""
        self._watch.accept(footing, may_change=self._sentinels is not None or not self.is_whole_store)
        self._flag_scripts = int(footing.version.partition(".")[0]) >= 7
        self._run_id = footing.run_id
        self._generations.doubt()
        if self._confirming is not None:
            self._confirming.lane.close()

    async def _confirming_lane(self) -> ConfirmingLane:
        async with self._opening:
            confirming = self._confirming
            if confirming is None or confirming.lane.is_closed:
                if confirming is not None:
                    await self._end_lane(confirming.lane)
                patience_ms = max(1, round(self.options.timeout_ms * CONFIRM_SHARE))
                quorum = Quorum(replicas=self.options.replicas, patience_ms=patience_ms)
                confirming = self._confirming = ConfirmingLane(Lane(await self._connect()), quorum)
            return confirming

    def _look(self, lane: Lane) -> None:
        """Have a look at the server and whoever knows the primary, beside the calls."""
        self._look_at = monotonic() + LOOK_S
        self._watch.refresh(lane)
        if self._sentinels and (self._following is None or self._following.done()):
            self._following = asyncio.create_task(self._follow(lane, self._sentinels), name="meshd sentinels")

    async def _follow(self, lane: Lane, sentinels: Sentinels) -> None:
        """Leave a server that is not the primary any more, as far as the sentinels know."""
        with suppress(broken.RedisError, OSError, MeshError):
            place: Any = lane.connection
            if await sentinels.name_another((place.host, place.port)) and lane is self._shared:
                await self._leave()

    async def _call(self, act: Act, *, retry: bool, give_up: float | None = None) -> Any:
        """Call within the timeout; a lane that does not answer in it is given up with all its calls."""
        self._check_open()
        now = monotonic()
        tries = Tries(give_up=now + self._timeout_s if give_up is None else give_up)
        try:
            async with asyncio.timeout(tries.give_up - now):
                return await repeat(act, tries, retry=retry, is_whole_store=self.is_whole_store)
        except TimeoutError as exc:
            for lane in (self._shared, self._confirming.lane if self._confirming else None):
                if lane is not None and not lane.is_idle:
                    lane.close()
            raise error_of(tries.refusal or exc, self.url) from exc
        except (broken.RedisError, OSError) as exc:
            raise error_of(exc, self.url) from exc
