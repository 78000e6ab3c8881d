"""Whatever two stores hold of the versions that both know: one exchange, and they hold the same, with nothing lost."""

from collections.abc import Sequence
from random import Random

import pytest

from meshd.clock import ManualClock
from meshd.memory.joining import admit, join
from meshd.memory.model import Dot, Flag, Header, Item, NodeClock, Version
from meshd.memory.replication.renaming import renamed
from meshd.memory.replication.repairing import Parted, Remedies, Side, remedies
from meshd.memory.stamping import Stamper
from tests.memory.mesh import SEAL

NOW_MS = 1_000
ACTORS = ("a~1", "b~1", "c~1")


class Two:
    """Two stores that know every version; each holds what chance left it."""

    def __init__(self, rng: Random) -> None:
        made: list[Version] = []
        for number in range(1, rng.randint(2, 7)):
            seen = rng.sample(made, rng.randint(0, len(made)))
            made.append(_version(rng.choice(ACTORS), number, over=seen, is_deletion=rng.random() < 0.25))
        self.clock: NodeClock = dict.fromkeys(ACTORS, 100)
        self.here, self.there = (_held(rng.sample(made, rng.randint(1, len(made)))) for _ in range(2))

    def found(self) -> Remedies:
        here, there = (Side(clock=self.clock, items={"k": item}) for item in (self.here, self.there))
        return remedies(here, there, now_ms=NOW_MS, may_drop_there=False)

    def exchange(self, versions: Sequence[Version]) -> None:
        for version in versions:
            self.here = admit(self.here, version, self.clock)[1]
            self.there = admit(self.there, version, self.clock)[1]


@pytest.mark.parametrize("seed", range(500))
def test_one_exchange_makes_two_stores_equal_and_keeps_every_live_value(seed: int) -> None:
    two = Two(Random(seed))
    wanted = {each.body for each in join(two.here, two.there) if each.is_live(NOW_MS)}
    versions, _ = renamed(two.found().again, node="a", stamper=Stamper(SEAL, ManualClock()))
    two.exchange(versions)
    assert _live(two.here) == _live(two.there)
    assert {body for _, body in _live(two.here)} >= wanted
    assert two.found().keys == []


def test_what_is_written_again_keeps_its_time_and_stands_beside_its_siblings() -> None:
    older, newer = _version("a~1", 1, over=()), _version("b~1", 2, over=())
    keys = {"k": Parted(current=(older,), gone=()), "l": Parted(current=(older, newer), gone=())}
    versions, clock = renamed(keys, node="n", stamper=Stamper(SEAL, ManualClock()))
    assert [(each.header.ms, each.body) for each in versions] == [(1, b"1"), (1, b"1"), (2, b"2")]
    assert versions[1].header.actor != versions[2].header.actor
    assert sorted(clock.values()) == [1, 2]
    assert join((older, newer), tuple(versions[1:])) == tuple(sorted(versions[1:], key=lambda each: each.dot))
    assert max((newer, versions[0]), key=lambda each: each.header.time) is newer


def _version(actor: str, number: int, *, over: Sequence[Version], is_deletion: bool = False) -> Version:
    observed: dict[str, int] = {}
    for each in over:
        for other, seq in (*each.header.observed.items(), each.dot):
            observed[other] = max(seq, observed.get(other, 0))
    observed.pop(actor, None)
    flags = Flag.TOMBSTONE if is_deletion else Flag.NONE
    header = Header(actor=actor, seq=number, observed=observed, ms=number, flags=flags, key="k")
    return SEAL.make(header, b"" if is_deletion else str(number).encode())


def _held(versions: Sequence[Version]) -> Item:
    item: Item = ()
    for version in versions:
        item = admit(item, version, {})[1]
    return item


def _live(item: Item) -> set[tuple[Dot, bytes]]:
    return {(each.dot, each.body) for each in item if each.is_live(NOW_MS)}
