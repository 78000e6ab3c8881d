"""Where tests get stores from: the same questions for a file and for a server."""

import shutil
from pathlib import Path
from typing import Protocol

import redis

from tests.support.leaks import MeshKeys
from tests.support.redis_cluster import RedisCluster


class StoreSource(Protocol):
    """Gives each mesh a store, and looks at what the mesh left there when it is done."""

    def url(self, mesh: str) -> str:
        """Return the URL of the store to use for `mesh`."""
        ...

    def finish(self, mesh: str) -> None:
        """Check and remove what the mesh left; call it when every backend of the mesh is closed."""
        ...


class SqliteFiles:
    """A file of its own for each mesh."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def url(self, mesh: str) -> str:
        folder = self._directory / mesh
        folder.mkdir(exist_ok=True)
        return f"sqlite:///{folder / 'mesh.db'}"

    def finish(self, mesh: str) -> None:
        shutil.rmtree(self._directory / mesh)


class RedisMeshes:
    """One server for all meshes; each must leave only keys that end by themselves."""

    def __init__(self, server_url: str, *, partitions: int | None = None) -> None:
        self._url = server_url
        self._partitions = partitions

    def url(self, mesh: str) -> str:
        if self._partitions is not None:
            with redis.Redis.from_url(self._url) as client:  # pyright: ignore[reportUnknownMemberType]
                client.hset(shape_key(mesh), "partitions", str(self._partitions))
        return self._url

    def finish(self, mesh: str) -> None:
        keys = MeshKeys(self._url, mesh)
        try:
            immortal = keys.immortal()
            keys.remove()
        finally:
            keys.close()
        assert not immortal, f"keys with neither a TTL nor a place on the permanent list: {immortal}"


class ClusterMeshes:
    """One cluster for all meshes, each made with a fixed number of partitions."""

    def __init__(self, cluster: RedisCluster, *, partitions: int) -> None:
        self._cluster = cluster
        self._partitions = partitions

    def url(self, mesh: str) -> str:
        key = shape_key(mesh)
        owner = self._cluster.owner_of(self._cluster.slot_of(key))
        self._cluster.run(owner)("HSET", key, "partitions", self._partitions)
        return self._cluster.url

    def finish(self, mesh: str) -> None:
        immortal: list[str] = []
        for number, server in enumerate(self._cluster.servers):
            keys = MeshKeys(server.url, mesh)
            immortal += keys.immortal()
            for key in keys.all():
                self._cluster.run(number)("DEL", key)
            keys.close()
        assert not immortal, f"keys with neither a TTL nor a place on the permanent list: {immortal}"


def shape_key(mesh: str) -> str:
    """Return where a mesh keeps how many partitions it has."""
    return f"mesh:{{{mesh}:c}}:shape"
