"""What was not sealed by a member, for this node, lately and once, is refused and counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.clock import ManualClock
from meshd.peers.sealing import MAX_NONCES, WINDOW_MS, Kind, Seal

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
ME, YOU = "10.0.0.1:9900", "[fe80::1]:9901"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def sealed(seal: Seal, payload: bytes = b"hello", *, kind: Kind = Kind.DATAGRAM, receiver: str = YOU) -> bytes:
    return seal.close(kind, payload, sender=ME, receiver=receiver)[0]


def test_what_is_sealed_opens_with_its_sender(clock: ManualClock) -> None:
    opened = Seal(KEY, clock=clock).open(Kind.DATAGRAM, sealed(Seal(KEY, clock=clock)), receiver=YOU)
    assert opened is not None
    assert (opened.sender, opened.payload) == (ME, b"hello")


@given(st.binary(max_size=300))
def test_noise_is_refused(data: bytes) -> None:
    seal = Seal(KEY)
    assert seal.open(Kind.DATAGRAM, data, receiver=YOU) is None
    assert sum(seal.drops.values()) == 1


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_damaged_byte_is_noticed(place: int, flip: int) -> None:
    data = bytearray(sealed(Seal(KEY)))
    data[place % len(data)] ^= flip
    assert Seal(KEY).open(Kind.DATAGRAM, bytes(data), receiver=YOU) is None


def test_each_refusal_is_counted_by_its_reason(clock: ManualClock) -> None:
    mine, yours = Seal(KEY, clock=clock), Seal(KEY, clock=clock)
    yours.open(Kind.DATAGRAM, sealed(Seal(OTHER_KEY, clock=clock)), receiver=YOU)
    yours.open(Kind.DATAGRAM, sealed(mine, receiver="10.0.0.9:1"), receiver=YOU)
    yours.open(Kind.DATAGRAM, sealed(mine, kind=Kind.REQUEST), receiver=YOU)
    data = sealed(mine)
    assert yours.open(Kind.DATAGRAM, data, receiver=YOU) is not None
    yours.open(Kind.DATAGRAM, data, receiver=YOU)
    old = sealed(mine)
    clock.advance(ms=WINDOW_MS + 1)
    yours.open(Kind.DATAGRAM, old, receiver=YOU)
    yours.open(Kind.DATAGRAM, b"\x02" + old[1:], receiver=YOU)
    assert yours.drops == {"checksum": 2, "kind": 1, "replay": 1, "time": 1, "version": 1}


def test_a_nonce_is_remembered_for_as_long_as_it_would_be_accepted(clock: ManualClock) -> None:
    mine, yours = Seal(KEY, clock=clock), Seal(KEY, clock=clock)
    clock.advance(ms=WINDOW_MS)
    from_the_future = sealed(mine)
    clock.advance(ms=-WINDOW_MS)
    assert yours.open(Kind.DATAGRAM, from_the_future, receiver=YOU) is not None
    for _ in range(8):
        clock.advance(ms=WINDOW_MS // 4)
        assert yours.open(Kind.DATAGRAM, from_the_future, receiver=YOU) is None
        assert yours.open(Kind.DATAGRAM, sealed(mine), receiver=YOU) is not None


def test_nonces_are_not_kept_for_ever(clock: ManualClock) -> None:
    mine, yours = Seal(KEY, clock=clock), Seal(KEY, clock=clock)
    for _ in range(MAX_NONCES + 10):
        yours.open(Kind.DATAGRAM, sealed(mine), receiver=YOU)
    assert yours.remembered <= MAX_NONCES
    assert not yours.drops


def test_another_key_takes_effect_at_once(clock: ManualClock) -> None:
    mine, yours = Seal(KEY, clock=clock), Seal(OTHER_KEY, clock=clock)
    assert yours.open(Kind.DATAGRAM, sealed(mine), receiver=YOU) is None
    yours.rekey(KEY)
    assert yours.open(Kind.DATAGRAM, sealed(mine), receiver=YOU) is not None
