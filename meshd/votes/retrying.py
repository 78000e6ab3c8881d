"""When something that could not be done for a proposal is tried again, and who is still to be told of it. Pure.

Forgetting costs messages that change nothing, so this is kept in memory only, of the latest few things.
"""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

FIRST_MS = 1_000
LONGEST_MS = 30_000
MAX_KEPT = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Retry:
    wait_ms: int
    at_age_ms: int
    untold: frozenset[str]


class Retries:
    """What failed, by name. Times are ages of the proposal by the store's clock."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Retry] = OrderedDict()

    def wait_ms(self, name: str, *, age_ms: int) -> int:
        """Return how long to leave it alone; 0 if it may be tried."""
        retry = self._kept.get(name)
        return 0 if retry is None else max(0, retry.at_age_ms - age_ms)

    def untold(self, name: str) -> frozenset[str] | None:
        """Return the electors who had no room for it, `None` if nobody is known to have been told."""
        retry = self._kept.get(name)
        return retry.untold or None if retry else None

    def failed(self, name: str, *, age_ms: int, untold: Collection[str] = ()) -> int:
        """Note that it failed; return how long to leave it alone now: twice as long as the last time."""
        before = self._kept.pop(name, None)
        wait_ms = FIRST_MS if before is None else min(LONGEST_MS, 2 * before.wait_ms)
        self._kept[name] = _Retry(wait_ms=wait_ms, at_age_ms=age_ms + wait_ms, untold=frozenset(untold))
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return wait_ms

    def done(self, *names: str) -> None:
        """Forget what is done, or will never be."""
        for name in names:
            self._kept.pop(name, None)
