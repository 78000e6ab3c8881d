"""The way to one Redis: a pool for calls, single connections for waiting, and the one place that translates errors."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
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
    return _BY_WORD.get(str(exc).partition(" ")[0], CorruptDataError)


async def read_within(connection: AbstractConnection, timeout_s: float, *, margin_s: float = 0.0) -> Any:
    """Return the next answer on a lent connection, or `None` once `timeout_s` and the margin have passed.

    The driver takes a socket's own ETIMEDOUT for the end of the wait and answers `None` at once, for ever: the network
    was cut. A `None` that comes early is therefore a broken connection.

    Raises:
        StoreUnreachableError: the connection is broken.
    """
    began = monotonic()
    answer = await cast("Awaitable[Any]", connection.read_response(timeout=timeout_s + margin_s))
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
        self._spare: list[AbstractConnection] = []
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
            return await self._call(*command, retry=retry)
        except broken.NoScriptError:
            return await self._call("EVAL", script.text, *command[2:], retry=retry)

    async def command(self, *command: str | bytes | int, retry: bool = True) -> Any:
        """Run one plain command."""
        return await self._call(*command, retry=retry)

    async def pipeline(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
        """Run commands that may be repeated, in one round trip."""
        with translated(self.url):
            async with self._client.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)  # pyright: ignore[reportUnknownMemberType, reportUnusedCoroutine]
                return await pipe.execute()

    async def info(self, section: str) -> dict[str, Any]:
        """Return one section of what the server says about itself."""
        answer: dict[str, Any] = await self._call("INFO", section, retry=True)
        return answer

    async def lend(self) -> AbstractConnection:
        """Return an open connection of its own for calls that wait; give it back with `take_back`."""
        self._check_open()
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        self._lent.add(connection)
        try:
            with translated(self.url):
                await connection.connect()  # type: ignore[no-untyped-call]
            self._check_open()
        except BaseException:
            await self.take_back(connection)
            raise
        return connection

    async def take_back(self, connection: AbstractConnection) -> None:
        """Close a lent connection."""
        self._lent.discard(connection)
        await connection.disconnect(nowait=True)

    @asynccontextmanager
    async def waiting(self) -> AsyncGenerator[AbstractConnection]:
        """Lend an open connection for one call that waits; it is used again only if the call came to its end."""
        connection = await self._spare_connection() or await self.lend()
        is_clean = False
        try:
            with translated(self.url):
                yield connection
            is_clean = connection.is_connected and not self._closed
        finally:
            if is_clean and len(self._spare) < MAX_SPARE:
                self._spare.append(connection)
            else:
                await self.take_back(connection)

    async def _spare_connection(self) -> AbstractConnection | None:
        self._check_open()
        while self._spare:
            connection = self._spare.pop()
            with suppress(broken.ConnectionError, OSError):
                if connection.is_connected and not await connection.can_read():
                    return connection
            await self.take_back(connection)
        return None

    async def aclose(self) -> None:
        """Close every connection, those lent out too."""
        self._closed = True
        for connection in list(self._lent):
            await connection.disconnect(nowait=True)
        await self._client.aclose()
        await self._pool.disconnect()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnreachableError(f"redis at {self.url}: this backend is closed")

    async def _call(self, *command: str | bytes | int, retry: bool) -> Any:
        self._check_open()
        give_up = monotonic() + self._timeout_s
        with translated(self.url):
            async with asyncio.timeout(self._timeout_s):
                return await self._try(command, give_up=give_up if retry else 0)

    async def _try(self, command: Sequence[str | bytes | int], *, give_up: float) -> Any:
        delay = FIRST_DELAY_S
        while True:
            try:
                return await self._execute(*command)
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
