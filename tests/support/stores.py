"""Where tests get stores from: the same questions for a file and for a server."""

import shutil
from pathlib import Path
from typing import Protocol

from tests.support.leaks import MeshKeys


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

    def __init__(self, server_url: str) -> None:
        self._url = server_url

    def url(self, mesh: str) -> str:
        del mesh
        return self._url

    def finish(self, mesh: str) -> None:
        keys = MeshKeys(self._url, mesh)
        try:
            immortal = keys.immortal()
            keys.remove()
        finally:
            keys.close()
        assert not immortal, f"keys with neither a TTL nor a place on the permanent list: {immortal}"
