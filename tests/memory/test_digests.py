"""Digests: kept by each write, equal to what is summed up anew, and telling which buckets differ."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from meshd.memory.digests import BUCKETS, bucket_of, differing, digest_of, fingerprint
from meshd.memory.model import LOCAL, Flag, Header, Version
from tests.memory.mesh import SEAL

KEYS = st.text(min_size=1, max_size=8)


@given(st.lists(KEYS, unique=True, max_size=20), st.data())
def test_a_digest_does_not_depend_on_order_and_names_the_buckets_that_differ(
    keys: list[str], data: st.DataObject
) -> None:
    versions = [_version(key) for key in keys]
    whole = digest_of(versions, now_ms=0)
    assert digest_of(data.draw(st.permutations(versions)), now_ms=0) == whole
    kept = data.draw(st.lists(st.sampled_from(versions), unique_by=lambda each: each.key)) if versions else []
    lacking = {version.key for version in versions} - {version.key for version in kept}
    assert set(differing(whole, digest_of(kept, now_ms=0))) == {bucket_of(key) for key in lacking}


def test_only_what_is_live_and_shared_counts() -> None:
    nothing = digest_of([], now_ms=0)
    assert digest_of([_version("a", flags=int(Flag.TOMBSTONE))], now_ms=0) == nothing
    assert digest_of([_version("a", actor=LOCAL)], now_ms=0) == nothing
    mortal = _version("a", expires_ms=5)
    assert digest_of([mortal], now_ms=4) != nothing
    assert digest_of([mortal], now_ms=5) == nothing


def test_the_bucket_of_a_key_is_what_a_script_computes() -> None:
    assert bucket_of("") == 0xDA3


def test_sums_are_bytes_that_every_store_can_read() -> None:
    version = _version("a")
    buckets = digest_of([version], now_ms=0)
    at = bucket_of("a") * 8
    assert buckets[at : at + 8] == fingerprint(version).to_bytes(8, "big") == b"\0\0" + version.checksum[:6]
    assert len(buckets) == BUCKETS * 8
    assert sum(struct.unpack(f">{BUCKETS}Q", buckets)) == fingerprint(version)


def _version(key: str, *, actor: str = "a~1", flags: int = 0, expires_ms: int = 0) -> Version:
    header = Header(actor=actor, seq=1, observed={}, ms=1, key=key, flags=flags, expires_ms=expires_ms)
    return SEAL.make(header, b"1")
