"""What was read and written so far, as a token: whoever passes it on sees no older state, on whatever node."""

from collections.abc import Iterable

from meshd.memory.access import Session
from meshd.memory.model import LOCAL, Item, NodeClock, Version


class Seen:
    """Per actor, the newest write that arrived here."""

    def __init__(self) -> None:
        self.clock: dict[str, int] = {}

    def add(self, versions: Iterable[Version]) -> None:
        """Note versions that were taken."""
        clock = self.clock
        for version in versions:
            header = version.header
            if header.seq > clock.get(header.actor, 0) and header.actor != LOCAL:
                clock[header.actor] = header.seq

    def add_items(self, items: Iterable[Item]) -> None:
        """Note items that were read."""
        for item in items:
            self.add(item)

    def cover(self, clock: NodeClock) -> None:
        """Note that everything of this clock was received."""
        for actor, seq in clock.items():
            if seq > self.clock.get(actor, 0) and actor != LOCAL:
                self.clock[actor] = seq

    def covers(self, session: Session) -> bool:
        """Return whether everything the holder of the session saw is here, or was superseded by what is."""
        known = self.clock.get
        for actor, seq in session.items():  # noqa: SIM110 -- a generator costs more than all of a read from memory
            if known(actor, 0) < seq:
                return False
        return True
