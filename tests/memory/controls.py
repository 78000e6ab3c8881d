"""Stores that do what is commonly done instead; the schedules must find them out."""

from meshd.memory.model import Applied, Version
from tests.memory.reference import ReferenceStore


class LastWriterWins(ReferenceStore):
    """Keeps the latest version by time and forgets a key with its deletion."""

    def take(self, version: Version) -> Applied:
        key = version.key
        before = self.items.get(key, ())
        if any(kept.dot == version.dot for kept in before):
            return Applied.KNOWN
        if before and max(before, key=lambda kept: kept.header.time).header.time > version.header.time:
            return Applied.OBSOLETE
        if before:
            self.forget(key)
        if not version.header.is_tombstone:
            self.items[key] = (version,)
            self.bytes += 4 + len(version.blob)
            self.count(version, 1)
        self.revise(key)
        return Applied.APPLIED


class ForgetsItsClock(ReferenceStore):
    """Takes versions by what it still holds, not by what it has received."""

    def take(self, version: Version) -> Applied:
        clock, self.received = self.received, {}
        try:
            return super().take(version)
        finally:
            self.received = clock
