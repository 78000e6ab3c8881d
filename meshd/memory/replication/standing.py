"""Up to where every replica has what the hub has: when deletions written here may be forgotten here. Pure.

A later version of an actor supersedes its earlier ones, but says nothing of what those had superseded once its writer
has forgotten them. So what an actor wrote is forgotten by who writes as that actor when nobody can lack it any more.
"""

from collections.abc import Mapping, Sequence

from meshd.memory.model import LENT, Member, NodeClock, StoreClock


class Standing:
    """What every replica is known to have, of one generation of the hub's data; learnt a step at a time."""

    def __init__(self) -> None:
        self._newest: StoreClock | None = None
        self._awaited: StoreClock | None = None
        self._known: NodeClock = {}

    def saw(self, hub: StoreClock) -> None:
        """Note where the hub stands."""
        if self._newest is not None and self._newest.generation != hub.generation:
            self._awaited, self._known = None, {}
        self._newest = hub

    def met(self, members: Sequence[Member]) -> None:
        """Note how far every replica is: all of them were at this hub that are in the list."""
        least = min((member.revision for member in members), default=0)
        if self._awaited is not None and least >= self._awaited.revision:
            self._known, self._awaited = self._awaited.clock, None
        if self._awaited is None:
            self._awaited = self._newest

    def to_tidy(self, clock: NodeClock, *, own: str) -> Mapping[str, int]:
        """Return the part of the hub's clock whose deletions may be forgotten by who writes as `own`."""
        return {
            actor: min(seq, self._known.get(actor, 0)) if actor == own or actor.startswith(LENT) else seq
            for actor, seq in clock.items()
        }
