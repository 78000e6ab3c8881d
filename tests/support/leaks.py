"""No immortal keys: what a mesh leaves in Redis either ends by itself or is on the permanent list."""

import re
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import cast
from urllib.parse import urlsplit

import redis


class MeshKeys:
    """A direct look at the keys that meshes of one name, or of a longer one, have on a Redis server."""

    def __init__(self, url: str, mesh: str) -> None:
        parts = urlsplit(url)
        self._client = redis.Redis(host=parts.hostname or "", port=parts.port or 0)
        self._mesh = mesh
        self._scan = cast("Callable[..., Iterable[bytes]]", self._client.scan_iter)  # pyright: ignore[reportUnknownMemberType]

    def all(self) -> list[str]:
        """Return every such key, in order."""
        return sorted(key.decode() for key in self._scan(match=f"mesh:{{{self._mesh}*", count=10_000))

    def immortal(self) -> list[str]:
        """Return the keys that have no TTL and no place on the permanent list."""
        permanent = _permanent_patterns()
        return [key for key in self.all() if self._client.ttl(key) == -1 and not _matches(key, permanent)]

    def remove(self) -> None:
        """Delete them all."""
        keys = self.all()
        if keys:
            self._client.delete(*keys)

    def close(self) -> None:
        self._client.close()


def _permanent_patterns() -> Sequence[str]:
    return cast("Sequence[str]", import_module("meshd.backends.redis.keys").PERMANENT)


def _matches(key: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(pattern, key) for pattern in patterns)
