"""Versions as bytes: two bytes of header length, the header (MessagePack), the body, sixteen bytes of checksum.

The checksum is BLAKE2b-128 over everything before it, keyed with the mesh's secret: a flipped bit and a foreign writer
are both refused. The bytes of an item are its siblings in the order of their dots, each after its length in four bytes.
"""

import hashlib
import struct
from collections.abc import Iterable

import msgspec

from meshd.errors import CorruptDataError, PayloadTooLargeError
from meshd.memory.model import Header, Item, Version

CHECKSUM_BYTES = 16
_HEADER_LIMIT = 0xFFFF
_length = struct.Struct(">I").unpack_from
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Header).decode


class Seal:
    """Makes and checks versions of one mesh."""

    def __init__(self, secret: str = "") -> None:
        key = hashlib.blake2b(secret.encode(), digest_size=32).digest() if secret else b""
        self._fresh = hashlib.blake2b(digest_size=CHECKSUM_BYTES, key=key, person=b"meshd version")

    def make(self, header: Header, body: bytes) -> Version:
        """Return the version with its checksum.

        Raises:
            PayloadTooLargeError: what it says of itself does not fit into 65,535 bytes.
        """
        head = _encode(header)
        if len(head) > _HEADER_LIMIT:
            raise PayloadTooLargeError(f"header of memory key {header.key!r}", size=len(head), limit=_HEADER_LIMIT)
        sealed = len(head).to_bytes(2, "big") + head + body
        return Version(header, body, sealed + self._sum(sealed))

    def open(self, blob: bytes) -> Version:
        """Return the version whose bytes these are.

        Raises:
            CorruptDataError: its checksum is another: a damaged byte, or a writer with another secret.
        """
        version = read(blob)
        self.check(version)
        return version

    def check(self, version: Version) -> None:
        """Check a version that was read.

        Raises:
            CorruptDataError: its checksum is another: a damaged byte, or a writer with another secret.
        """
        blob = version.blob
        if self._sum(blob[:-CHECKSUM_BYTES]) != blob[-CHECKSUM_BYTES:]:
            raise CorruptDataError(f"memory key {version.key!r}: the checksum of {_name(version.header)} is wrong")

    def _sum(self, data: bytes) -> bytes:
        state = self._fresh.copy()
        state.update(data)
        return state.digest()


def read(blob: bytes) -> Version:
    """Return the version without checking its sum.

    Raises:
        CorruptDataError: these bytes are no version.
    """
    end = 2 + int.from_bytes(blob[:2], "big")
    try:
        header = _decode(blob[2:end])
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise CorruptDataError(f"{len(blob)} bytes are no version of a memory key: {exc}") from exc
    if len(blob) < end + CHECKSUM_BYTES:
        raise CorruptDataError(f"memory key {header.key!r}: {_name(header)} was cut at {len(blob)} bytes")
    return Version(header, blob[end:-CHECKSUM_BYTES], blob)


def pack_one(version: Version) -> bytes:
    """Return the bytes a store keeps for an item that has this version alone."""
    blob = version.blob
    return len(blob).to_bytes(4, "big") + blob


def pack_item(item: Iterable[Version]) -> bytes:
    """Return the bytes a store keeps for an item; its siblings must be in the order of their dots."""
    return b"".join([part for version in item for part in (len(version.blob).to_bytes(4, "big"), version.blob)])


def unpack_item(data: bytes) -> list[bytes]:
    """Return the blobs of an item's siblings.

    Raises:
        CorruptDataError: the lengths do not add up.
    """
    blobs: list[bytes] = []
    at, size = 0, len(data)
    while at + 4 < size:
        start = at + 4
        at = start + _length(data, at)[0]
        if at > size or at == start:
            break
        blobs.append(data[start:at])
    if at != size:
        raise CorruptDataError(f"an item of {size} bytes was cut")
    return blobs


def read_item(data: bytes) -> Item:
    """Return the siblings in an item's bytes, their sums unchecked.

    Raises:
        CorruptDataError: these bytes are no item.
    """
    if len(data) == 4 + int.from_bytes(data[:4], "big") > 4:
        return (read(data[4:]),)
    return tuple([read(blob) for blob in unpack_item(data)])


def _name(header: Header) -> str:
    return f"version {header.actor}:{header.seq}"
