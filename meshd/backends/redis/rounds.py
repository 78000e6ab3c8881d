"""Which partitions a claim visits. Pure but for the chance passed in.

A claimer is known as waiting in a partition since a visit there gave less than it asked for, until that partition rings
or the registration runs out. A claim visits the partitions that rang, then those where it is not registered, each time
in a new random order, so that none starves. If that gives nothing it looks into the others too, at the price of a read
each: a ring may be on its way, or lost, or meant for somebody who does not come. The first visits ask one partition for
everything, since a batch from one partition is cheapest to run and to finish; then the rest is asked at the same time,
a share each.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from random import Random

ONE_BY_ONE = 2
"""Partitions asked for everything, one after the other, before the rest is asked at the same time."""
MANY = 64
"""From so many claimers on, those that claim no more are looked for and forgotten."""


class Plan:
    """The visits of one claim."""

    def __init__(
        self, rung: Sequence[int], others: Sequence[int], *, limit: int, registered: dict[int, float], until: float
    ) -> None:
        self._order = [*rung, *others]
        self.not_visited = set(rung)
        """Partitions that rang and were not asked."""
        self.passed_over = tuple(registered)
        """Partitions where the claimer is registered, so that they need no visit."""
        self._found = 0
        self._wanted = limit
        self._registered = registered
        self._until = until
        self._visited = 0
        self._asked: dict[int, int] = {}

    @property
    def is_fruitless(self) -> bool:
        """Whether nothing was found, and something was asked for."""
        return self._found == 0 and self._wanted > 0

    def add(self, having: Sequence[int]) -> None:
        """Visit these partitions that were passed over, or one, if the store was not heard of at all."""
        self._order += having if having or self._visited else self.passed_over[:1]

    @property
    def is_filled(self) -> bool:
        """Whether the claim got all it asked for."""
        return self._wanted <= 0

    def wave(self) -> Sequence[tuple[int, int]]:
        """Return the next partitions to visit at once, with how much to ask of each; empty at the end."""
        width = 1 if self._visited < ONE_BY_ONE else len(self._order)
        chosen = self._order[: max(0, min(width, self._wanted))]
        del self._order[: len(chosen)]
        self._asked = {
            number: self._wanted // len(chosen) + (at < self._wanted % len(chosen)) for at, number in enumerate(chosen)
        }
        return list(self._asked.items())

    def visited(self, found: Mapping[int, int]) -> None:
        """Take note of how many tasks each partition of the wave gave."""
        for number, count in found.items():
            self._visited += 1
            self.not_visited.discard(number)
            self._wanted -= count
            self._found += count
            if count < self._asked[number]:
                self._registered[number] = self._until
            else:
                self._registered.pop(number, None)
                self._order.append(number)


class Rounds:
    """Where each claimer of this process is registered."""

    def __init__(self, *, partitions: int, valid_ms: int, now_ms: Callable[[], float], chance: Random) -> None:
        self._partitions = partitions
        self._valid_ms = valid_ms
        self._now_ms = now_ms
        self._chance = chance
        self._registered: dict[str, dict[int, float]] = {}

    def plan(
        self, bell: str, *, limit: int, rung: AbstractSet[int], missed: bool, away: AbstractSet[int] = frozenset()
    ) -> Plan:
        """Return the visits of a claim, not to partitions that are `away`; `missed`: rings may have been lost."""
        now = self._now_ms()
        registered = {} if missed else self._registered.get(bell, {})
        valid = [(n, until) for n, until in registered.items() if until > now and n not in rung and n not in away]
        self._chance.shuffle(valid)
        registered = dict(valid)
        if len(self._registered) > MANY:
            self._forget_unused(now)
        self._registered[bell] = registered
        others = set(range(self._partitions)) - registered.keys() - rung - away
        first, rest = list(rung), list(others)
        self._chance.shuffle(first)
        self._chance.shuffle(rest)
        return Plan(first, rest, limit=limit, registered=registered, until=now + self._valid_ms)

    def drop(self, bell: str, number: int) -> None:
        """Note that a claimer is not registered in a partition any more: it was rung, and somebody else was told."""
        self._registered.get(bell, {}).pop(number, None)

    def _forget_unused(self, now: float) -> None:
        unused = [bell for bell, places in self._registered.items() if all(until <= now for until in places.values())]
        for bell in unused:
            del self._registered[bell]
