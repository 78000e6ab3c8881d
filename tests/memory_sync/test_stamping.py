"""A write that is stamped again has seen what its writer had seen, and itself; nothing that stands beside it."""

from meshd.clock import ManualClock
from meshd.memory.access import Draft
from meshd.memory.joining import join
from meshd.memory.model import Dot
from meshd.memory.stamping import Stamper
from tests.memory_sync.replicas import SEAL


def test_what_stood_beside_a_write_stands_beside_it_when_it_is_stamped_again() -> None:
    ann, bob = Stamper(SEAL, lambda: 4_070_908_800_000), Stamper(SEAL, lambda: 1_700_000_000_000)
    seen = bob.make(Draft(key="k", body=lambda _: b"seen", over=()), Dot("bob", 1))
    write = ann.make(Draft(key="k", body=lambda _: b"ann", over=(seen,)), Dot("ann", 1))
    beside = bob.make(Draft(key="k", body=lambda _: b"beside", over=(seen,)), Dot("bob", 2))
    again = bob.again(write, Dot("ann~2", 1))
    assert again.header.observed == {"ann": 1, "bob": 1}
    assert {version.body for version in join((seen, write, beside, again))} == {b"ann", b"beside"}
    assert again.header.ms < write.header.ms


def test_an_answer_that_took_long_does_not_move_a_clock_it_does_not_refute() -> None:
    clock = ManualClock()
    stamper = Stamper(SEAL, clock)
    asked_ms = clock()
    clock.advance(ms=400)
    stamper.correct(hub_ms=asked_ms + 10, asked_ms=asked_ms)
    assert stamper.now_ms() == clock()
    stamper.correct(hub_ms=clock() + 5_000, asked_ms=asked_ms)
    assert stamper.now_ms() == clock() + 5_200
