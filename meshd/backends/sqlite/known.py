"""What the only process that writes a file knows of it without looking: what its own last transaction left there.

Invariant: this is what the file says as long as the connection has changed nothing since. Whoever changes rows and does
not say what they are now has made it void by that alone, and so has a transaction that was rolled back.
"""

from dataclasses import dataclass, field
from typing import NamedTuple


class MemoryRow(NamedTuple):
    """The row of `memories` that writes of items change."""

    generation: str
    revision: int
    items: int
    bytes: int
    expired_ms: int
    quarantined: str
    past: int


class MeshRow(NamedTuple):
    """The row of `meshes` that every write looks at."""

    now_ms: int
    token: int
    revision: int
    paused: str
    audit: str | None
    ahead_ms: int


@dataclass(slots=True)
class Actor:
    """A row of `memory_actors`."""

    id: int
    seq: int


@dataclass(slots=True, kw_only=True)
class Known:
    """Rows as one transaction left them."""

    memory: MemoryRow
    actors: dict[str, Actor] = field(default_factory=dict)
    """Those met so far."""
    free_id: int = 0
    """No item has this number or a higher one; 0: not known."""
    is_heard: bool = True
    """Somebody may wait for hints that items have changed."""
    mesh: MeshRow | None = None
    changes: int = -1
    """How many rows the connection had changed."""
