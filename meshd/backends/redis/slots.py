"""Where keys live in a Redis Cluster: the slot of a key, which primary serves it, and what a redirect says. Pure."""

import binascii
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from meshd.errors import UnavailableError

SLOTS = 16_384


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class SlotElsewhereError(UnavailableError):
    """This server does not serve the slot, or not all of it, at the moment; nothing was applied."""

    def __init__(self, message: str, *, owner: Address | None) -> None:
        self.owner = owner
        """Who has the slot now; `None` while it is on its way."""
        super().__init__(message)


def slot_of(key: str) -> int:
    """Return the slot of a key: the CRC-16 of its hash tag, or of the whole key without one."""
    begin = key.find("{")
    end = key.find("}", begin + 1)
    if begin >= 0 and end > begin + 1:
        key = key[begin + 1 : end]
    return binascii.crc_hqx(key.encode(), 0) % SLOTS


def address_of(text: str, *, asked: str = "") -> Address:
    """Return the address in `host:port`; an empty host stands for the server that was asked.

    Raises:
        ValueError: it is not one.
    """
    host, _, port = text.rpartition(":")
    return Address(host.strip("[]") or asked, int(port))


def elsewhere(words: str, *, url: str, asked: str = "") -> SlotElsewhereError | None:
    """Return the error that `MOVED 42 host:port` or `ASK 42 host:port` stands for, `None` for any other words.

    An ASK is no address to us: while a slot is on its way, neither side has all its keys (ADR 0009).
    """
    kind, _, rest = words.partition(" ")
    slot, _, address = rest.partition(" ")
    if kind == "ASK":
        return SlotElsewhereError(f"redis at {url}: slot {slot} is being moved", owner=None)
    if kind == "MOVED":
        owner = address_of(address, asked=asked)
        return SlotElsewhereError(f"redis at {url}: slot {slot} has moved to {owner}", owner=owner)
    return None


class SlotMap:
    """Which primary serves which slot, as far as one look at the cluster told."""

    def __init__(self, ranges: Iterable[tuple[int, int, Address]]) -> None:
        self._ranges = sorted(ranges)
        self._begins = [begin for begin, _, _ in self._ranges]
        self._moved: dict[int, Address] = {}

    @property
    def primaries(self) -> Sequence[Address]:
        """Every primary that serves a slot, in order."""
        return sorted({*(address for _, _, address in self._ranges), *self._moved.values()})

    def owner(self, slot: int) -> Address | None:
        """Return who serves the slot; `None` when nobody does."""
        if slot in self._moved:
            return self._moved[slot]
        at = bisect_right(self._begins, slot) - 1
        return self._ranges[at][2] if at >= 0 and slot <= self._ranges[at][1] else None

    def moved(self, slot: int, owner: Address) -> None:
        """Note one slot's new owner until the next look."""
        self._moved[slot] = owner


def slot_map(reply: Sequence[Any], *, asked: str) -> SlotMap:
    """Return the map in an answer to `CLUSTER SLOTS` of the server at host `asked`."""
    ranges: list[tuple[int, int, Address]] = []
    for begin, end, (host, port, *_), *_ in reply:
        name = host.decode() if host else ""
        ranges.append((int(begin), int(end), Address(asked if name in ("", "?") else name, int(port))))
    return SlotMap(ranges)
