"""What a node sees by itself, in a file of its machine: so `mesh partitions` has something to say with the hub away.

Invariant: a reader finds a whole view or none.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from meshd.runtime.state_dir import StateDir


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnView:
    """One node's view; times are the store's, as far as the node knows it. Written when it changes."""

    mesh: str
    node: str
    pid: int
    incarnation: int
    address: str
    """Of its links; empty without links."""
    at_ms: int
    hub_reachable: bool
    hub_since_ms: int
    """Since when that is so."""
    reached: Mapping[str, float]
    """Nodes that answer it, each with the median round trip in milliseconds."""
    unreached: Mapping[str, int]
    """Nodes it probes that do not, each with the time since when."""
    suspected: tuple[str, ...]
    """Nodes that nobody who tried reaches, as far as probers told each other."""


def write(path: Path, view: OwnView) -> None:
    """Replace the file at once.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fresh.write_bytes(msgspec.json.encode(view))
    fresh.replace(path)


def remove_left(folder: Path) -> None:
    """Remove the views of processes that ended without doing so."""
    for path in folder.glob("*.json"):
        view = _read(path)
        if view is not None and not psutil.pid_exists(view.pid):
            path.unlink(missing_ok=True)


def read_all(state: StateDir, mesh: str) -> Sequence[OwnView]:
    """Return the views of this machine's nodes of a mesh that run now, by name; files that are none are left out."""
    views = (_read(path) for path in sorted(state.views.glob(f"{mesh}@*.json")))
    return [view for view in views if view is not None and view.mesh == mesh and psutil.pid_exists(view.pid)]


def _read(path: Path) -> OwnView | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=OwnView)
    except (OSError, msgspec.MsgspecError):
        return None
