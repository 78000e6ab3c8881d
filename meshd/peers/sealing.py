"""The bytes between nodes: a header, the payload, sixteen bytes of checksum.

    version  1   kind  1   time, ms  8   nonce  8   sender's length  1   sender's address   payload   checksum  16

The checksum is BLAKE2b-128 over all before it, keyed with the mesh's key, so damage and strangers are found. Time and
nonce keep what was recorded from being played again: what is older than the window is refused, and within it every
nonce is taken once. The receiver's address is summed up too, unsent, so nothing reaches another node than it was meant
for. The payload can be read on its way; it cannot be changed.

Invariant: `open` returns what a member sealed, once, or counts why not. Nothing it is given raises.
"""

import hashlib
import os
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from hmac import compare_digest

from meshd.clock import Clock, system_clock

VERSION = 1
KEY_BYTES = 32
SUM_BYTES = 16
WINDOW_MS = 30_000
"""How far a sender's clock may be from the receiver's, way included."""
MAX_NONCES = 100_000
"""Most nonces remembered at once; a mesh that sends more within the window is protected for a shorter one."""

_HEAD = struct.Struct(">BBQQB")
MAX_OVERHEAD = _HEAD.size + 255 + SUM_BYTES


class Kind(IntEnum):
    """What sealed bytes are for; one is never taken for another."""

    DATAGRAM = 1
    REQUEST = 2
    REPLY = 3


@dataclass(frozen=True, slots=True)
class Opened:
    sender: str
    """Address under which the sender says it is reached."""
    payload: bytes
    nonce: int


class Seal:
    """Seals and opens for one node; not safe across threads."""

    def __init__(self, key: bytes, *, clock: Clock = system_clock) -> None:
        """`clock` should be the same for all nodes: the store's, as far as each knows it."""
        self._fresh = self._keyed(key)
        self._clock = clock
        self._nonce = int.from_bytes(os.urandom(8), "big")
        self._seen: set[int] = set()
        self._seen_before: set[int] = set()
        self._turned_ms = 0
        self._drops: Counter[str] = Counter()

    @staticmethod
    def _keyed(key: bytes) -> "hashlib.blake2b":
        return hashlib.blake2b(digest_size=SUM_BYTES, key=key, person=b"meshd link")

    @property
    def drops(self) -> Mapping[str, int]:
        """What was refused, by reason: size, version, kind, checksum, time, replay."""
        return self._drops

    @property
    def remembered(self) -> int:
        """Nonces kept at this moment."""
        return len(self._seen) + len(self._seen_before)

    def rekey(self, key: bytes) -> None:
        """Seal and open with another key from now on."""
        self._fresh = self._keyed(key)

    def drop(self, reason: str) -> None:
        """Count something that was refused before it came here."""
        self._drops[reason] += 1

    def close(self, kind: Kind, payload: bytes, *, sender: str, receiver: str) -> tuple[bytes, int]:
        """Return the sealed bytes and their nonce."""
        self._nonce = (self._nonce + 1) & 0xFFFF_FFFF_FFFF_FFFF
        address = sender.encode()
        data = _HEAD.pack(VERSION, kind, self._clock(), self._nonce, len(address)) + address + payload
        return data + self._sum(data, receiver), self._nonce

    def open(self, kind: Kind, data: bytes, *, receiver: str) -> Opened | None:
        """Return what was sealed for this receiver, or `None` when it is refused."""
        start = _HEAD.size
        if len(data) < start + SUM_BYTES:
            self.drop("size")
            return None
        version, found, time_ms, nonce, length = _HEAD.unpack_from(data)
        if version != VERSION:
            self.drop("version")
            return None
        body = data[:-SUM_BYTES]
        if not compare_digest(self._sum(body, receiver), data[-SUM_BYTES:]):
            self.drop("checksum")
            return None
        now = self._clock()
        reason = "kind" if found != kind else "time" if abs(now - time_ms) > WINDOW_MS else self._replayed(nonce, now)
        if reason:
            self.drop(reason)
            return None
        return Opened(body[start : start + length].decode(errors="replace"), body[start + length :], nonce)

    def _replayed(self, nonce: int, now: int) -> str:
        if nonce in self._seen or nonce in self._seen_before:
            return "replay"
        if now - self._turned_ms > 2 * WINDOW_MS or len(self._seen) * 2 >= MAX_NONCES:
            self._seen_before, self._seen, self._turned_ms = self._seen, set(), now
        self._seen.add(nonce)
        return ""

    def _sum(self, data: bytes, receiver: str) -> bytes:
        state = self._fresh.copy()
        state.update(receiver.encode())
        state.update(data)
        return state.digest()
