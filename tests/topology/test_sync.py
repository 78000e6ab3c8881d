"""The topology without an event loop has the same surface, and the same answers."""

from pathlib import Path

from meshd import SyncMesh
from meshd.settings import Settings
from meshd.topology.service import TopologyService


def public(surface: object) -> set[str]:
    return {name for name in dir(surface) if not name.startswith("_")}


def test_both_surfaces_are_equal_and_answer(tmp_path: Path) -> None:
    with SyncMesh(f"sqlite:///{tmp_path / 'mesh.db'}", settings=Settings()) as mesh:
        assert public(mesh.topology) == public(TopologyService)
        assert mesh.topology.statistics().agents == 0
        assert mesh.topology.restore(mesh.topology.snapshot()).agents == ()
