"""Noticing that a store went back: it lost its newest writes, or everything, and does not say so itself.

A partition's clock carries a **generation**, which changes whenever somebody noticed such a loss. Every script is told
which one its caller knows and refuses another, so a wiped store is found by the first call. A store that came back with
an older state has its generation still, so every new server process notes a **gap**: from the last token it found to
one above all that were given out until then. A client that saw a token in a gap proves a loss, however late it comes.
Either way tokens go on above every token seen (ADR 0013).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

STORE_LOG = "store"
"""Name of the event log about the store itself: `{"event": "store_rollback", "partition": …, "token": …, …}`."""
SCRIPT = "store_generation"
_NOT_ASKED: tuple[str, str] = ("-", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What a client knows of one partition's history."""

    number: int = 0
    token: int = 0
    """The highest token seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """A loss that this client is the first to notice."""

    partition: str
    token: int
    """The store knows nothing after this token; what came later, up to `seen`, is lost."""
    seen: int
    generation: int

    @property
    def event(self) -> Mapping[str, Any]:
        """The body of the event that tells."""
        return {
            "event": "store_rollback",
            "partition": self.partition,
            "token": self.token,
            "seen": self.seen,
            "generation": self.generation,
        }


class Generations:
    """What one client knows of every partition it uses."""

    def __init__(self) -> None:
        self._known: dict[str, Generation] = {}
        self._marks: dict[str, tuple[str, str]] = {}

    def mark(self, key: str, run: str) -> str | None:
        """Return what goes with a call on the partition of `key`; `None` if this run of a server was not asked last."""
        asked, mark = self._marks.get(key, _NOT_ASKED)
        return mark if asked == run else None

    def doubt(self, key: str | None = None) -> None:
        """Have this partition asked again before its next call, or every one."""
        if key is None:
            self._marks.clear()
        else:
            self._marks.pop(key, None)

    def known(self, key: str) -> Generation:
        """Return what to ask with."""
        return self._known.get(key) or Generation()

    def saw(self, key: str, token: int) -> None:
        """Note a token that the partition of `key` gave out."""
        known = self._known.get(key)
        if known is not None and token > known.token:
            self._known[key] = replace(known, token=token)

    def learn(self, key: str, run: str, reply: Any) -> Rollback | None:
        """Take the script's answer on this run of a server; return the loss it tells of."""
        before = self.known(key)
        verdict, number, fence, last = reply
        self._known[key] = Generation(number=int(number), token=int(fence))
        self._marks[key] = (run, f"@{int(number)}")
        if verdict != b"rewound":
            return None
        partition = key[: key.index("}")].rpartition(":")[2]
        return Rollback(partition=partition, token=int(last), seen=before.token, generation=int(number))
