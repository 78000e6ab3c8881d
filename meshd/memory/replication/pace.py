"""How fast a replica syncs, and how often that succeeds, over the last minute."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from meshd.memory.syncing import WINDOW_S


@dataclass(slots=True)
class _Second:
    at: int
    moved: int = 0
    tries: int = 0
    failures: int = 0


class Pace:
    """Sums of each second of the window in which anything happened."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._seconds: deque[_Second] = deque(maxlen=WINDOW_S)

    def moved(self, items: int) -> None:
        """Note versions that were sent, or received and changed something."""
        self._current().moved += items

    def tried(self, *, is_done: bool) -> None:
        """Note that something was sent or compared, or could not be."""
        second = self._current()
        second.tries += 1
        second.failures += not is_done

    def sums(self) -> tuple[int, int, int]:
        """Return what was moved in the window, how often something was tried, and how often it failed."""
        since = int(self._now()) - WINDOW_S
        recent = [each for each in self._seconds if each.at > since]
        moved, tries = sum(each.moved for each in recent), sum(each.tries for each in recent)
        return moved, tries, sum(each.failures for each in recent)

    def _current(self) -> _Second:
        at = int(self._now())
        if not self._seconds or self._seconds[-1].at != at:
            self._seconds.append(_Second(at))
        return self._seconds[-1]
