"""Versions as bytes: nothing changed is taken, nothing unknown is lost."""

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.errors import CorruptDataError, PayloadTooLargeError
from meshd.memory.model import Flag, Header, Version
from meshd.memory.sealing import CHECKSUM_BYTES, Seal, pack_item, read, read_item, unpack_item

SEAL = Seal("one mesh")
NUMBERS = st.integers(0, (1 << 53) - 1)
TEXTS = st.text(max_size=20)
HEADERS = st.builds(
    Header,
    actor=TEXTS,
    seq=NUMBERS,
    observed=st.dictionaries(TEXTS, NUMBERS, max_size=4),
    ms=NUMBERS,
    flags=st.sampled_from([Flag.NONE, Flag.TOMBSTONE]).map(int),
    expires_ms=NUMBERS,
    key=TEXTS,
    tick=st.integers(0, 0xFFFF),
    rank=st.integers(0, 9),
    node=TEXTS,
    note=TEXTS,
)


@given(HEADERS, st.binary(max_size=200))
def test_a_version_is_read_as_it_was_made(header: Header, body: bytes) -> None:
    version = SEAL.make(header, body)
    assert SEAL.open(version.blob) == read(version.blob) == version
    assert version.checksum == version.blob[-CHECKSUM_BYTES:]
    assert (version.header, version.body) == (header, body)


def test_every_flipped_bit_is_refused() -> None:
    blob = _version(body=b'{"city":"Paris"}').blob
    for at in range(len(blob) * 8):
        flipped = bytearray(blob)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(CorruptDataError):
            SEAL.open(bytes(flipped))


def test_every_cut_and_every_added_byte_is_refused() -> None:
    blob = _version(body=b"12345").blob
    for at in range(len(blob)):
        with pytest.raises(CorruptDataError):
            SEAL.open(blob[:at])
    with pytest.raises(CorruptDataError):
        SEAL.open(blob + b"\0")


@pytest.mark.parametrize("other", [Seal(), Seal("another mesh")])
def test_a_version_of_another_mesh_is_refused(other: Seal) -> None:
    with pytest.raises(CorruptDataError):
        other.open(_version().blob)


def test_fields_that_only_newer_nodes_know_survive() -> None:
    known = _version(body=b"[1]")
    fields: list[object] = [*msgspec.msgpack.decode(known.blob[2 : -CHECKSUM_BYTES - 3]), "newer", {"still": 1}]
    head = msgspec.msgpack.encode(fields)
    sealed = len(head).to_bytes(2, "big") + head + known.body
    newer = sealed + _sum(sealed)
    version = SEAL.open(newer)
    assert (version.header, version.body, version.blob) == (known.header, known.body, newer)
    assert read_item(pack_item([version]))[0].blob == newer


def test_fields_that_older_nodes_do_not_write_have_their_defaults() -> None:
    head = msgspec.msgpack.encode(["a~1", 3, {}, 5, 0, 0, "key"])
    header = read(len(head).to_bytes(2, "big") + head + b"1" + bytes(CHECKSUM_BYTES)).header
    assert header == Header(actor="a~1", seq=3, observed={}, ms=5, key="key")


def test_the_first_fields_are_where_scripts_read_them() -> None:
    names = Header.__struct_fields__
    assert names[:7] == ("actor", "seq", "observed", "ms", "flags", "expires_ms", "key")
    assert names[12] == "node"


def test_a_header_too_long_for_its_length_is_refused() -> None:
    with pytest.raises(PayloadTooLargeError):
        SEAL.make(Header(actor="a~1", seq=1, observed={}, ms=1, key="key", note="x" * 70_000), b"")


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=4))
def test_an_item_is_read_as_it_was_packed(bodies: list[bytes]) -> None:
    item = tuple(_version(seq=at, body=body) for at, body in enumerate(bodies))
    data = pack_item(item)
    assert read_item(data) == item
    for end in range(1, len(data)):
        try:
            assert len(unpack_item(data[:end])) < len(item)
        except CorruptDataError:
            continue


def _sum(sealed: bytes) -> bytes:
    key = hashlib.blake2b(b"one mesh", digest_size=32).digest()
    return hashlib.blake2b(sealed, digest_size=CHECKSUM_BYTES, key=key, person=b"meshd version").digest()


def _version(*, seq: int = 3, body: bytes = b"1") -> Version:
    header = Header(actor="a~1", seq=seq, observed={"b~1": 2}, ms=1_700_000_000_000, key="notes/paris", node="a")
    return SEAL.make(header, body)
