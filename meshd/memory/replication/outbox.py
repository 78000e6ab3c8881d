"""Own versions on their way to the hub, in the order they were written.

Invariant: the outbox is the local store: what the hub has not taken is read from there, whatever happened in between.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Protocol

from meshd.errors import CorruptDataError, UnavailableError
from meshd.memory.model import AT_ONCE, MAX_BATCH, MAX_BATCH_BYTES, Applied, Batch, Pushed, Refusal, Version
from meshd.memory.refusals import refusal_of
from meshd.memory.replication.counters import Counters
from meshd.memory.replication.local import ReplicaFile
from meshd.memory.sealing import Seal
from meshd.memory.store import MemoryStore
from meshd.memory.syncing import SyncOptions

logger = logging.getLogger(__name__)

_RECENT = 2_000
"""Versions kept in memory on their way; more are read back from the file."""
_TOGETHER = 2
"""Batches on their way at once: one that comes before its turn is a gap, and is sent again."""
_AHEAD = 1_000
"""Versions read back at once."""
_HELD_S = 5.0
_SHORTEST_S, _LONGEST_S = 0.05, 1.0


class Made(Protocol):
    """Is told that the hub's last `count` changes up to `revision` are of keys with nothing but versions from here."""

    def __call__(self, revision: int, *, count: int, generation: str) -> None: ...


Restamp = Callable[[Sequence[Version]], Awaitable[None]]
"""Writes these anew, at the time it is now."""


class Outbox:
    """Sends soon after a commit, by batches; urgent versions at once."""

    def __init__(
        self,
        hub: MemoryStore,
        file: ReplicaFile,
        seal: Seal,
        *,
        options: SyncOptions,
        counters: Counters,
        restamp: Restamp,
        rng: Random,
    ) -> None:
        self._hub = hub
        self._file = file
        self._seal = seal
        self._options = options
        self._counters = counters
        self._restamp = restamp
        self.hub_differs: Callable[[], None] = lambda: None
        """Called when the hub's data is not what it was."""
        self.made: Made | None = None
        """Told which of the hub's changes were made by what was sent."""
        self._rng = rng
        self._recent: deque[Version] = deque()
        self._recent_after = 0
        """`_recent` has every own version numbered over this."""
        self._ahead: list[Version] = []
        self._ahead_upto = 0
        """`_ahead` has what is to be sent up to this number, from wherever it begins."""
        self._waiting = asyncio.Event()
        self._urgent = asyncio.Event()
        self._is_asked = False
        """Everything is to be sent now, not only full batches."""
        self._sending = asyncio.Lock()
        self.actor = ""
        self.last = 0
        """The last own number committed here."""
        self.taken = 0
        """The last own number the hub has."""
        self.generation = ""
        """Of the hub's data that `taken` is about."""
        self.held: Refusal | None = None
        """Why the hub refuses the next version, while it does."""

    def begin(self, actor: str, *, last: int) -> None:
        """Send this actor's versions from now on."""
        self.actor, self.last, self.taken = actor, last, 0
        self._recent.clear()
        self._ahead.clear()
        self._recent_after = last

    @property
    def pending(self) -> int:
        """Own numbers that the hub has not taken; superseded ones count until they are passed over."""
        return max(0, self.last - self.taken)

    def add(self, versions: Sequence[Version]) -> None:
        """Note what was committed."""
        if not versions:
            return
        self._recent.extend(versions)
        self.last = versions[-1].header.seq
        while len(self._recent) > _RECENT:
            self._recent_after = self._recent.popleft().header.seq
        self._waiting.set()
        if any(each.header.priority >= AT_ONCE for each in versions):
            self.send_soon()
        elif self.pending >= self._options.batch_size:
            self._urgent.set()

    def send_soon(self) -> None:
        """Send what waits now."""
        self._is_asked = True
        self._waiting.set()
        self._urgent.set()

    async def stands_at(self, seq: int, *, generation: str) -> None:
        """Go on from the hub's own word."""
        async with self._sending:
            self._go_to(seq, generation)
        if self.pending:
            self._waiting.set()

    async def run(self) -> None:
        """Send until cancelled, patient while the hub is away."""
        pause = _SHORTEST_S
        while True:
            await self._waiting.wait()
            least = 1
            with suppress(TimeoutError):
                async with asyncio.timeout(self._options.batch_delay.total_seconds()):
                    await self._urgent.wait()
                    least = 1 if self._is_asked else self._options.batch_size
            self._is_asked = False
            self._waiting.clear()
            self._urgent.clear()
            try:
                while self.pending >= least and self.held is None:
                    await self.send_once()
                pause = _SHORTEST_S
                if self.pending:
                    self._waiting.set()
            except UnavailableError as exc:
                logger.debug("%d versions of shared memory wait: %s", self.pending, exc)
                self._counters.pace.tried(is_done=False)
                await asyncio.sleep(self._rng.uniform(pause / 2, pause))
                pause = min(pause * 2, _LONGEST_S)
                self._waiting.set()
            if self.held is not None:
                await asyncio.sleep(self._rng.uniform(_HELD_S / 2, _HELD_S))
                self.held = None
                self.send_soon()

    async def flush(self, *, wanted: bool = False) -> None:
        """Return when the hub has everything committed here before; `wanted`: replicas are to report it at once.

        Raises:
            MemoryRefusedError: it refuses one of the versions.
            StoreUnreachableError: it is away.
        """
        goal = self.last
        self.held = None
        while self.taken < min(goal, self.last):
            await self.send_once(wanted=wanted)
            if self.held is not None:
                raise refusal_of(f"of {self.actor}", self.held)

    async def send_once(self, *, wanted: bool = False) -> None:
        """Send the next batch, if there is one, and of a backlog the one behind it along with it."""
        refused: list[Version] = []
        async with self._sending:
            if not self.pending:
                return
            batches = await self._next()
            pushing = [self._hub.push(batch, wanted=wanted) for batch in batches]
            if len(batches) == 1:
                refused = self._follow(batches[0], await pushing[0])
            else:
                refused = self._follow_all(batches, await asyncio.gather(*pushing, return_exceptions=True))
        if refused:
            await self._restamp(refused)

    def _follow_all(self, batches: Sequence[Batch], pushed: Sequence[Pushed | BaseException]) -> list[Version]:
        """Take note of these up to the first that was not taken; what came behind that was too early."""
        for batch, each in zip(batches, pushed, strict=True):
            if isinstance(each, BaseException):
                raise each
            refused = self._follow(batch, each)
            if refused or self.taken < batch.last:
                return refused
        return []

    def _follow(self, batch: Batch, pushed: Pushed) -> list[Version]:
        """Take note of what became of a batch; return what is to be stamped anew."""
        if pushed.gap or pushed.generation != self.generation:
            self.hub_differs()
        if pushed.gap:
            self._go_to(pushed.seq, pushed.generation)
            return []
        refusals = {reply.refusal for reply in pushed.replies if reply.applied is Applied.REFUSED}
        self._counters.pace.tried(is_done=not refusals)
        if refusals == {Refusal.FUTURE}:
            return self._refused(batch, pushed)
        if refusals:
            self.held = (refusals - {Refusal.FUTURE}).pop()
        else:
            self._took(batch, pushed)
        return []

    def _go_to(self, seq: int, generation: str) -> None:
        if seq < self.taken:
            self._ahead.clear()
        self.taken, self.generation = seq, generation

    def _took(self, batch: Batch, pushed: Pushed) -> None:
        self.taken = max(pushed.seq, batch.last)
        while self._recent and self._recent[0].header.seq <= self.taken:
            self._recent_after = self._recent.popleft().header.seq
        self._counters.sent += len(batch.versions)
        self._counters.pace.moved(len(batch.versions))
        self._counters.bytes_sent += sum(len(version.blob) for version in batch.versions)
        self._counters.conflicts += sum([reply.applied is Applied.SIBLING for reply in pushed.replies])
        if self.made is not None and _is_ours_alone(pushed):
            count = sum([reply.applied is Applied.APPLIED for reply in pushed.replies])
            self.made(pushed.revision, count=count, generation=pushed.generation)

    def _refused(self, batch: Batch, pushed: Pushed) -> list[Version]:
        """Return what is to be stamped anew; the numbers it had are passed over, since what replaces it observes it."""
        pairs = zip(batch.versions, pushed.replies, strict=True)
        refused = [version for version, reply in pairs if reply.applied is Applied.REFUSED]
        earliest = min(version.header.ms for version in refused)
        self._recent.clear()
        self._ahead.clear()
        self._recent_after = self.last
        return [each for each in batch.versions if each.header.ms >= earliest]

    async def _next(self) -> list[Batch]:
        if self.taken >= self._recent_after:
            versions, upto = [each for each in self._recent if each.header.seq > self.taken], self.last
            size = self._options.batch_size
        else:
            await self._read_ahead()
            versions, upto, size = self._ahead, self._ahead_upto, MAX_BATCH
        first, batches = self.taken + 1, list[Batch]()
        while len(batches) < _TOGETHER:
            fitting = _fitting(versions[:size])
            versions = versions[len(fitting) :]
            last = fitting[-1].header.seq if versions else upto
            batches.append(Batch(actor=self.actor, first=first, last=last, versions=fitting))
            if not versions:
                break
            first = last + 1
        return batches

    async def _read_ahead(self) -> None:
        """Have the next of a backlog in memory, from the file."""
        self._ahead = [each for each in self._ahead if each.header.seq > self.taken]
        if self._ahead:
            return
        last = self.last
        read = await self._file.written(self.actor, after=self.taken, limit=_AHEAD)
        newest = read[-1].header.seq if read else 0
        self._ahead_upto = newest if len(read) == _AHEAD else max(last, newest)
        self._ahead = [each for each in read if self._is_sound(each)]

    def _is_sound(self, version: Version) -> bool:
        try:
            self._seal.check(version)
        except CorruptDataError as exc:
            self._counters.damaged += 1
            logger.error("not sent, and lost unless another node has it: %s", exc)  # noqa: TRY400 -- no program error
            return False
        return True


def _is_ours_alone(pushed: Pushed) -> bool:
    """Return whether the changed keys have nothing but what was sent.

    What stands beside it moved along in the order of changes, from a place that perhaps was not read yet.
    """
    return all(reply.applied is not Applied.SIBLING for reply in pushed.replies)


def _fitting(versions: Sequence[Version]) -> list[Version]:
    """Return the first of these that fit into one batch, at least one."""
    size = 0
    for at, version in enumerate(versions):
        size += len(version.blob)
        if size > MAX_BATCH_BYTES and at:
            return list(versions[:at])
    return list(versions)
