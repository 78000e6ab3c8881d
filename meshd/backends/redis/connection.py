"""The way to one Redis: a lane for all scripts, a pool for plain calls, lanes for waiting; errors translated."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from random import Random
from time import monotonic
from typing import Any, cast

import redis.asyncio as driver
import redis.exceptions as broken
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from meshd.backends import redact
from meshd.backends.port import BackendOptions
from meshd.backends.redis import scripts
from meshd.backends.redis.keys import Keys
from meshd.backends.redis.lane import Command, Lane
from meshd.errors import (
    BackpressureError,
    ConfigurationError,
    CorruptDataError,
    MeshError,
    StoreReadOnlyError,
    StoreUnreachableError,
    UnavailableError,
)

FIRST_DELAY_S = 0.02
MAX_DELAY_S = 1.0
EARLY_S = 0.05
"""A wait may end this much before its time and still count as having ended on time."""
MAX_SPARE = 4
"""Most idle connections kept for calls that wait."""

_BY_WORD: dict[str, type[MeshError]] = {
    "READONLY": StoreReadOnlyError,
    "MISCONF": StoreReadOnlyError,
    "OOM": BackpressureError,
    "LOADING": UnavailableError,
    "BUSY": UnavailableError,
    "TRYAGAIN": UnavailableError,
    "CLUSTERDOWN": UnavailableError,
    "MASTERDOWN": UnavailableError,
    "NOREPLICAS": UnavailableError,
    "NOAUTH": ConfigurationError,
    "WRONGPASS": ConfigurationError,
    "NOPERM": ConfigurationError,
    "WRONGTYPE": CorruptDataError,
}

_BY_TYPE: tuple[tuple[type[Exception], type[MeshError]], ...] = (
    (broken.AuthenticationError, ConfigurationError),
    (broken.NoPermissionError, ConfigurationError),
    (broken.ReadOnlyError, StoreReadOnlyError),
    (broken.OutOfMemoryError, BackpressureError),
    (broken.BusyLoadingError, UnavailableError),
    (broken.ClusterDownError, UnavailableError),
    (broken.TryAgainError, UnavailableError),
    (broken.MasterDownError, UnavailableError),
    (broken.ConnectionError, StoreUnreachableError),
    (broken.TimeoutError, StoreUnreachableError),
)


@contextmanager
def translated(url: str) -> Generator[None]:
    """Raise the driver's exceptions as ours; an unknown script is no failure, `run` sends its text then.

    A cancellation that the driver swallowed is raised after all: it awaits through `asyncio.wait_for`, which loses one
    that comes together with the answer before Python 3.12 (https://github.com/python/cpython/issues/86296).
    """
    task = asyncio.current_task()
    cancelled = task.cancelling() if task else 0
    try:
        yield
    except broken.NoScriptError:
        raise
    except (broken.RedisError, OSError) as exc:
        raise _kind(exc)(f"redis at {url}: {str(exc) or type(exc).__name__}") from exc
    if task is not None and task.cancelling() > cancelled:
        raise asyncio.CancelledError


def _kind(exc: Exception) -> type[MeshError]:
    if isinstance(exc, OSError):
        return StoreUnreachableError
    for theirs, ours in _BY_TYPE:
        if isinstance(exc, theirs):
            return ours
    known = _BY_WORD.get(str(exc).partition(" ")[0])
    return known or (CorruptDataError if "script" in str(exc) else ConfigurationError)


async def read_within(connection: AbstractConnection, timeout_s: float) -> Any:
    """Return the next answer on a lent connection, or `None` once `timeout_s` has passed.

    The driver takes a socket's own ETIMEDOUT for the end of the wait and answers `None` at once, for ever: the network
    was cut. A `None` that comes early is therefore a broken connection.

    Raises:
        StoreUnreachableError: the connection is broken.
    """
    began = monotonic()
    answer = await cast("Awaitable[Any]", connection.read_response(timeout=timeout_s))
    if answer is None and monotonic() - began < timeout_s - EARLY_S:
        raise broken.ConnectionError("the connection timed out")
    return answer


class Connection:
    """One mesh's connections to one Redis. Calls end within the timeout, one way or the other."""

    def __init__(self, url: str, options: BackendOptions) -> None:
        self.url = redact(url)
        self.options = options
        self.keys = Keys(options.mesh)
        self._timeout_s = options.timeout_ms / 1000
        self._closed = False
        self._chance = Random()
        self._lent: set[AbstractConnection] = set()
        self._spare: list[Lane] = []
        self._shared: Lane | None = None
        self._opening = asyncio.Lock()
        self._flag_scripts = False
        self._pool = _pool(url, options, self._timeout_s)
        self._client = driver.Redis.from_pool(self._pool)
        self._execute = cast("Callable[..., Awaitable[Any]]", self._client.execute_command)  # pyright: ignore[reportUnknownMemberType]

    async def open(self) -> None:
        """Check that a Redis answers, and learn which kind."""
        info = await self.info("server")
        self._flag_scripts = int(str(info["redis_version"]).partition(".")[0]) >= 7

    def now(self) -> str:
        """Return the clock argument of a script: empty means the server's clock."""
        return "" if self.options.clock is None else str(self.options.clock())

    async def run(self, name: str, *, key: str, args: Sequence[str | bytes | int], retry: bool = True) -> Any:
        """Run a script on the partition of `key`, its clock argument first.

        With `retry`, a broken connection is tried again until the timeout: for scripts that may run twice.
        """
        script = scripts.load(name, flagged=self._flag_scripts)
        command = ("EVALSHA", script.sha, 1, key, self.now(), *args)
        try:
            return await self._call(self._by_lane, command, retry=retry)
        except broken.NoScriptError:
            return await self._call(self._by_lane, ("EVAL", script.text, *command[2:]), retry=retry)

    async def command(self, *command: str | bytes | int, retry: bool = True) -> Any:
        """Run one plain command."""
        return await self._call(self._by_pool, command, retry=retry)

    async def pipeline(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
        """Run commands that may be repeated, in one round trip."""
        with translated(self.url):
            async with self._client.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)  # pyright: ignore[reportUnknownMemberType, reportUnusedCoroutine]
                return await pipe.execute()

    async def info(self, section: str) -> dict[str, Any]:
        """Return one section of what the server says about itself."""
        answer: dict[str, Any] = await self._call(self._by_pool, ("INFO", section), retry=True)
        return answer

    async def lend(self) -> AbstractConnection:
        """Return an open connection of its own for calls that wait; give it back with `take_back`."""
        with translated(self.url):
            return await self._connect()

    async def take_back(self, connection: AbstractConnection) -> None:
        """Close a lent connection."""
        self._lent.discard(connection)
        await connection.disconnect(nowait=True)

    @asynccontextmanager
    async def waiting(self) -> AsyncGenerator[Lane]:
        """Lend a lane for one call that waits; it is used again only if the call came to its end."""
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
        for lane in (*self._spare, *([self._shared] if self._shared else [])):
            lane.close()
        for connection in list(self._lent):
            await connection.disconnect(nowait=True)
        await self._client.aclose()
        await self._pool.disconnect()

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

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnreachableError(f"redis at {self.url}: this backend is closed")

    async def _by_pool(self, command: Command) -> Any:
        return await self._execute(*command)

    async def _by_lane(self, command: Command) -> Any:
        lane = self._shared
        if lane is None or lane.is_closed:
            lane = await self._open_lane()
        return await lane.call(command)

    async def _open_lane(self) -> Lane:
        async with self._opening:
            lane = self._shared
            if lane is not None and lane.is_closed:
                await self._end_lane(lane)
            if lane is None or lane.is_closed:
                lane = self._shared = Lane(await self._connect())
            return lane

    async def _call(self, send: Callable[[Command], Awaitable[Any]], command: Command, *, retry: bool) -> Any:
        """Send a command within the timeout; a lane that does not answer in it is given up with all its calls."""
        self._check_open()
        give_up = monotonic() + self._timeout_s if retry else 0
        with translated(self.url):
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._try(send, command, give_up=give_up)
            except TimeoutError:
                if self._shared is not None and send == self._by_lane:
                    self._shared.close()
                raise

    async def _try(self, send: Callable[[Command], Awaitable[Any]], command: Command, *, give_up: float) -> Any:
        delay = FIRST_DELAY_S
        while True:
            try:
                return await send(command)
            except (broken.ConnectionError, broken.TimeoutError, OSError) as exc:
                pause = delay * self._chance.uniform(0.5, 1.0)
                if isinstance(exc, broken.AuthenticationError) or monotonic() + pause >= give_up:
                    raise
            await asyncio.sleep(pause)
            delay = min(delay * 2, MAX_DELAY_S)


def _pool(url: str, options: BackendOptions, timeout_s: float) -> driver.BlockingConnectionPool:
    tcp_only = {} if url.startswith("unix:") else {"socket_keepalive": True}
    try:
        return driver.BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
            url,
            max_connections=options.pool_size,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            decode_responses=False,
            **tcp_only,
        )
    except ValueError as exc:
        raise ConfigurationError(f"store url {redact(url)!r} is not understood: {exc}") from exc
