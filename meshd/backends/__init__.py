"""Backends: implementations of the ports. `open_backend` and `open_replica` are the only doors; nothing else names one.

A backend package is imported when its URL scheme is first used, so `mesh --help` loads none.
"""

import re
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import SplitResult, urlsplit

from meshd.backends.port import Backend, BackendOptions
from meshd.errors import ConfigurationError
from meshd.memory.replication.local import ReplicaFile

SCHEMES = {
    "sqlite": "meshd.backends.sqlite",
    "redis": "meshd.backends.redis",
    "rediss": "meshd.backends.redis",
    "redis+sentinel": "meshd.backends.redis",
    "rediss+sentinel": "meshd.backends.redis",
    "redis+cluster": "meshd.backends.redis",
    "rediss+cluster": "meshd.backends.redis",
    "unix": "meshd.backends.redis",
}


_PASSWORD_OPTION = re.compile(r"([?&]\w*password=)[^&#]*")


class _BackendModule(Protocol):
    async def open_backend(self, url: str, options: BackendOptions) -> Backend: ...


class _ReplicaModule(Protocol):
    async def open_replica(self, path: Path, options: BackendOptions) -> ReplicaFile: ...


async def open_backend(url: str, options: BackendOptions | None = None) -> Backend:
    """Return an open backend for `url`: `sqlite:///relative.db`, `sqlite:////absolute.db`, `redis://host:port/db`.

    Raises:
        ConfigurationError: the URL names no backend meshd has.
        StoreUnreachableError: nothing answers there.
        CorruptDataError: the file there is not a sound meshd store.
    """
    scheme = split_url(url).scheme
    if scheme not in SCHEMES:
        raise ConfigurationError(f"store url {redact(url)!r} is not understood: use one of {', '.join(SCHEMES)}://…")
    module = cast("_BackendModule", import_module(SCHEMES[scheme]))
    return await module.open_backend(url, options or BackendOptions())


async def open_replica(path: Path, options: BackendOptions | None = None) -> ReplicaFile:
    """Return the replica file at `path`, made if there is none, for this process alone.

    Raises:
        ConfigurationError: another process, or another replica of this one, has it open.
        StoreUnreachableError: its folder cannot be made.
        StoreReadOnlyError: it cannot be written.
        CorruptDataError: the file there is not a sound meshd store.
    """
    module = cast("_ReplicaModule", import_module(SCHEMES["sqlite"]))
    return await module.open_replica(path, options or BackendOptions())


def split_url(url: str) -> SplitResult:
    """Return the parts of a URL that may name several hosts: newer Pythons refuse an IPv6 address among others."""
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    parts = urlsplit(f"any://host{rest[len(authority) :]}")
    return parts._replace(scheme=scheme.lower(), netloc=authority)


def redact(url: str) -> str:
    """Return `url` with its passwords hidden, fit for logs and screens."""
    parts = split_url(url)
    if parts.password is not None:
        url = url.replace(f":{parts.password}@", ":***@")
    return _PASSWORD_OPTION.sub(r"\1***", url)


__all__ = ["SCHEMES", "Backend", "BackendOptions", "open_backend", "open_replica", "redact", "split_url"]
