"""What a replica counts of its syncing since the process began."""

from dataclasses import dataclass, field

from meshd.memory.replication.pace import Pace
from meshd.memory.syncing import SyncState


@dataclass(slots=True)
class Counters:
    """Raised by whoever does it."""

    sent: int = 0
    received: int = 0
    conflicts: int = 0
    damaged: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    pace: Pace = field(default_factory=Pace, compare=False)

    def copy(self) -> "Counters":
        return Counters(self.sent, self.received, self.conflicts, self.damaged, self.bytes_sent, self.bytes_received)

    def since(self, before: "Counters") -> "Counters":
        """Return what was counted after `before`."""
        return Counters(
            self.sent - before.sent,
            self.received - before.received,
            self.conflicts - before.conflicts,
            self.damaged - before.damaged,
            self.bytes_sent - before.bytes_sent,
            self.bytes_received - before.bytes_received,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One comparison of a replica with its hub."""

    moved: Counters
    at_ms: int
    duration_ms: int
    is_equal: bool | None
    """Whether the memories are equal now; `None` where only clocks were compared."""
    unrepaired: int = 0
    """Keys that differ whatever was done, as the hub refuses a version; the next write of each settles it."""
    differing: tuple[str, ...] = ()
    """The first of the keys that differ whatever was done."""
    is_quiet: bool = False
    """Whether the hub's clock alone said that there was nothing to do."""


def state_of(
    total: Counters, last: Round | None, *, pending: int, refused: int, request: str, is_closed: bool
) -> SyncState:
    """Return what the replica reports of itself."""
    moved = Counters() if last is None else last.moved
    recent_items, recent_tries, recent_failures = total.pace.sums()
    return SyncState(
        pending=pending,
        sent=total.sent,
        received=total.received,
        conflicts=total.conflicts,
        refused=refused,
        damaged=total.damaged,
        bytes_sent=total.bytes_sent,
        bytes_received=total.bytes_received,
        last_sent=moved.sent,
        last_received=moved.received,
        last_conflicts=moved.conflicts,
        last_bytes=moved.bytes_sent + moved.bytes_received,
        synced_ms=0 if last is None else last.at_ms,
        duration_ms=0 if last is None else last.duration_ms,
        is_equal=last is not None and bool(last.is_equal),
        unrepaired=0 if last is None else last.unrepaired,
        differing="" if last is None else "\n".join(last.differing),
        recent_items=recent_items,
        recent_tries=recent_tries,
        recent_failures=recent_failures,
        request=request,
        is_closed=is_closed,
    )
