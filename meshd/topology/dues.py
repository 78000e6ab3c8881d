"""What is due when: keys with a time each, of which only those that are due are ever looked at. Pure."""

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

SLACK = 1_024
"""Outdated entries borne beyond one for each key before the heap is made anew."""


class Dues(Generic[K]):
    """Times by key, the earliest first. Setting and taking cost O(log n)."""

    def __init__(self) -> None:
        self._at: dict[K, int] = {}
        self._heap: list[tuple[int, int, K]] = []
        self._entries = 0

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, key: K) -> bool:
        return key in self._at

    @property
    def next_ms(self) -> int | None:
        """When the first of all is due, `None` when nothing is."""
        self._skip()
        return self._heap[0][0] if self._heap else None

    def set(self, key: K, due_ms: int | None) -> None:
        """Have the key be due then, instead of whenever it was; `None`: never."""
        if due_ms is None:
            self._at.pop(key, None)
            return
        if self._at.get(key) == due_ms:
            return
        self._at[key] = due_ms
        self._push(due_ms, key)
        if len(self._heap) > 2 * len(self._at) + SLACK:
            self._heap = [(at, number, key) for number, (key, at) in enumerate(self._at.items())]
            self._entries = len(self._heap)
            heapify(self._heap)

    def take(self, now_ms: int) -> list[K]:
        """Return the keys due by `now_ms`, the earliest first, and forget them."""
        taken: list[K] = []
        while (due := self.next_ms) is not None and due <= now_ms:
            key = heappop(self._heap)[2]
            del self._at[key]
            taken.append(key)
        return taken

    def _push(self, due_ms: int, key: K) -> None:
        self._entries += 1
        heappush(self._heap, (due_ms, self._entries, key))

    def _skip(self) -> None:
        while self._heap and self._at.get(self._heap[0][2]) != self._heap[0][0]:
            heappop(self._heap)
