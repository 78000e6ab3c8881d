"""When a busy node empties itself for a suspect task, which may kill its node and therefore runs alone."""

from random import Random

PATIENCE_S = 0.25
"""How long suspects may wait for a node that happens to be empty before a busy one makes room."""
FIRST_TRY_S = 5.0
"""Longest first try to get empty; each try that fails is followed by as long a rest and a try twice as long."""


class Quarantine:
    """One node's part in running suspects. Times are monotonic seconds.

    Nodes wait for different lengths, so usually one of them makes room and the others go on. Tries double, so a
    suspect runs in the end, however long the tasks beside it are, and never stalls a node for most of its time.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._make_room_at: float | None = None
        self._give_up_at: float | None = None
        self._try_s = FIRST_TRY_S
        self._not_before = 0.0

    @property
    def is_concerned(self) -> bool:
        """Whether suspects wait, as far as the node knows."""
        return self._make_room_at is not None

    def told(self, *, suspects_wait: bool, now: float) -> None:
        """Take note of what a claim said."""
        if not suspects_wait:
            self._make_room_at = self._give_up_at = None
            self._try_s = FIRST_TRY_S
        elif self._make_room_at is None:
            self._make_room_at = now + PATIENCE_S * self._rng.uniform(1, 4)

    def wants_room(self, *, now: float) -> bool:
        """Return whether the node should claim nothing until it is empty."""
        if self._make_room_at is None or now < self._make_room_at:
            return False
        if self._give_up_at is None:
            self._give_up_at = now + self._try_s
        if now < self._give_up_at:
            return True
        self._make_room_at, self._give_up_at = now + self._try_s, None
        self._try_s *= 2
        return False

    def should_claim_alone(self, *, is_empty: bool, now: float) -> bool:
        """Return whether the node can have a suspect now."""
        return is_empty and self._make_room_at is not None and now >= self._not_before

    def missed(self, *, now: float) -> None:
        """A claim alone brought nothing: somebody else was faster."""
        self._not_before = now + PATIENCE_S
