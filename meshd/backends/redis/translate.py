"""What the driver raises, said in our words; and which refusals pass by themselves."""

import asyncio
import re
from collections.abc import Awaitable, Generator
from contextlib import contextmanager
from time import monotonic
from typing import Any, cast

import hiredis
import redis.exceptions as broken
from redis.asyncio.connection import AbstractConnection

from meshd.errors import (
    BackpressureError,
    ConfigurationError,
    CorruptDataError,
    MeshError,
    StoreReadOnlyError,
    StoreUnreachableError,
    UnavailableError,
    UnconfirmedError,
)

EARLY_S = 0.05
"""A wait may end this much before its time and still count as having ended on time."""

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
    "UNBLOCKED": UnavailableError,
    "REWOUND": UnavailableError,
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

_REFUSED = frozenset({"READONLY", "LOADING", "BUSY", "MASTERDOWN", "NOREPLICAS"})
"""The server did nothing, and will do it later or elsewhere."""
_IN_SCRIPT = re.compile(r"^ERR Error running script .*?: -([A-Z]+) ")
"""How Redis before 7 wraps what a command inside a script was refused with."""


class UnconfirmedWriteError(broken.RedisError):
    """Too few replicas said in time that they have a write."""


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
        raise error_of(exc, url) from exc
    if task is not None and task.cancelling() > cancelled:
        raise asyncio.CancelledError


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


def read_already(connection: AbstractConnection) -> list[Any]:
    """Return the answers on a lent connection that have come whole, without a wait; after an answer was read."""
    reader = getattr(cast("Any", connection)._parser, "_reader", None)  # noqa: SLF001 -- no public way
    found: list[Any] = []
    if isinstance(reader, hiredis.Reader):
        while isinstance(answer := cast("Any", reader).gets(), list):
            found.append(answer)
        if isinstance(answer, Exception):
            raise answer
    return found


def error_of(exc: broken.RedisError | OSError, url: str) -> MeshError:
    """Return our error for what the driver raised."""
    return _kind(exc)(f"redis at {url}: {str(exc) or type(exc).__name__}")


def word_of(exc: Exception) -> str:
    """Return the word by which a server's refusal says its kind."""
    text = str(exc)
    inside = _IN_SCRIPT.match(text)
    return inside[1] if inside else text.partition(" ")[0]


def is_broken(exc: Exception) -> bool:
    """Return whether the connection failed, so that nobody knows what became of the call."""
    if isinstance(exc, broken.AuthenticationError | broken.BusyLoadingError):
        return False
    return isinstance(exc, broken.ConnectionError | broken.TimeoutError | OSError)


def is_refused(exc: Exception) -> bool:
    """Return whether the server did nothing, for a reason that passes or that holds on this server only."""
    return isinstance(exc, broken.ReadOnlyError | broken.BusyLoadingError) or word_of(exc) in _REFUSED


def is_replica(exc: Exception) -> bool:
    """Return whether the call reached a replica."""
    return isinstance(exc, broken.ReadOnlyError) or word_of(exc) == "READONLY"


def _kind(exc: Exception) -> type[MeshError]:
    if isinstance(exc, OSError):
        return StoreUnreachableError
    if isinstance(exc, UnconfirmedWriteError):
        return UnconfirmedError
    for theirs, ours in _BY_TYPE:
        if isinstance(exc, theirs):
            return ours
    known = _BY_WORD.get(word_of(exc))
    return known or (CorruptDataError if "script" in str(exc) else ConfigurationError)
