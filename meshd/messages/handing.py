"""Messages in hand: taken from the store, handed to a handler one by one, ended.

What one sender sent to one addressee is a lane: handled in order, one at a time, while lanes run side by side.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any

from meshd.errors import MeshError, UnavailableError
from meshd.messages.codec import Letter
from meshd.messages.delivering import Desk, Taken
from meshd.messages.model import Message

logger = logging.getLogger(__name__)

MAX_BACKOFF_S = 5.0
ENDING_S = 2.0
"""How long leaving waits for the store to hear what was handled."""


class Refused(Exception):  # noqa: N818 -- an answer, not an error
    """Raised by whoever is handed a message: no handler here will ever take it."""


Handle = Callable[[Message], Awaitable[None]]
"""Handles one message. Returning ends it; `Refused` puts it aside; any other error hands it over again."""


class _Lost(Exception):  # noqa: N818 -- an answer, not an error
    """The message is somebody else's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxOptions:
    """How messages are handed over."""

    handlers: int = 32
    """Most messages handled at once."""
    ahead: int = 16
    """Most messages of one sender taken at once, to be handled one after another."""
    retry_pause_s: float = 0.2
    """Pause after a first failure; four times as long after the next."""


@dataclass(slots=True)
class _Held:
    """A message this process holds, and what becomes of it."""

    taken: Taken
    worker: asyncio.Task[None]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Writes of one message wait for each other: each needs the revision of the one before."""
    is_running: bool = False
    is_lost: bool = False
    is_handled: bool = False

    @property
    def key(self) -> str:
        return self.taken.letter.key


class Hands:
    """Start once, close once."""

    def __init__(
        self,
        desk: Desk,
        handle: Handle,
        *,
        options: InboxOptions,
        freed: Callable[[str], None],
        rng: Random,
    ) -> None:
        """`freed` is called for an addressee that has less in hand now."""
        self._desk = desk
        self._handle = handle
        self._options = options
        self._freed = freed
        self._rng = rng
        self._known: set[str] = set()
        self._in_hand: defaultdict[str, int] = defaultdict(int)
        self._lanes: dict[tuple[str, str], deque[Letter]] = {}
        self._held: dict[str, _Held] = {}
        self._slots = asyncio.Semaphore(options.handlers)
        self._workers: set[asyncio.Task[None]] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    @property
    def is_stopping(self) -> bool:
        return self._is_stopping

    def knows(self, key: str) -> bool:
        """Return whether this message is in hand."""
        return key in self._known

    def in_hand(self, to: str) -> int:
        """Return how many messages of one addressee are."""
        return self._in_hand.get(to, 0)

    def add(self, letter: Letter) -> None:
        """Have a message handled after those of the same sender to the same addressee."""
        to = letter.message.to
        self._known.add(letter.key)
        self._in_hand[to] += 1
        place = (to, letter.message.sender)
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = deque()
            self._spawn(self._work(place), self._workers)
        lane.append(letter)

    def drop(self, key: str, to: str) -> None:
        """Have a message removed that needs no handler."""
        self._known.add(key)
        self._in_hand[to] += 1
        self._spawn(self._dropped(key, to), self._endings)

    def stop(self) -> None:
        """Take nothing more. Idempotent."""
        self._is_stopping = True

    async def finished(self) -> None:
        """Return when nothing is being handled, after a stop."""
        while self._workers:
            await asyncio.wait(self._workers)

    async def aclose(self, *, grace_s: float) -> None:
        """Wait up to `grace_s` for what is being handled, then cut it short and give it back. Idempotent."""
        self.stop()
        if self._workers and grace_s > 0:
            await asyncio.wait(self._workers, timeout=grace_s)
        await _cancelled(self._workers)
        if self._endings:
            await asyncio.wait(self._endings, timeout=ENDING_S)
        await _cancelled(self._endings)
        left = [held for held in self._held.values() if not held.is_lost and not held.is_handled]
        self._held.clear()
        for held in left:
            try:
                await self._desk.give_back(held.taken)
            except UnavailableError:
                return
            except MeshError as exc:
                logger.warning("message %s is free again when its lease is over: %s", held.key, exc)

    async def keep_holds(self) -> None:
        """Renew what handlers take long over, and stop those that lost theirs, until cancelled."""
        lease_s = self._desk.terms.lease_ms / 1000
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(lease_s / 6)
            due = [held for held in self._held.values() if held.taken.relied_until - loop.time() < lease_s / 2]
            for held in due:
                if not held.is_handled and not await self._kept(held) and held.is_running:
                    held.worker.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work, name="meshd message")
        tasks.add(task)
        task.add_done_callback(lambda done: _ended(done, tasks))

    async def _work(self, place: tuple[str, str]) -> None:
        """Handle what one sender sent to one addressee, in order, until nothing of it is left."""
        lane = self._lanes[place]
        try:
            while lane and not self._is_stopping:
                async with self._slots:
                    for held in await self._take(lane):
                        await self._deliver(held)
        finally:
            for letter in lane:
                self._forget(letter.key, place[0])
            del self._lanes[place]

    async def _take(self, lane: deque[Letter]) -> list[_Held]:
        """Take the next messages of a lane; one alone if it has been handed over before: it may be what kills."""
        batch = [lane.popleft()]
        while lane and len(batch) < self._options.ahead and batch[0].delivery.count == lane[0].delivery.count == 0:
            batch.append(lane.popleft())
        takes = [asyncio.create_task(self._taken(letter)) for letter in batch]
        try:
            await asyncio.wait(takes)
        except asyncio.CancelledError:
            await asyncio.wait(takes, timeout=ENDING_S)
            raise
        finally:
            await _cancelled(set(takes))
            found = [self._holding(letter, take) for letter, take in zip(batch, takes, strict=True)]
        return [held for held in found if held is not None]

    def _holding(self, letter: Letter, take: asyncio.Task[Taken | None]) -> _Held | None:
        """Note what a take that is over brought; also at the end, when what is noted is given back."""
        error = None if take.cancelled() else take.exception()
        if error is not None:
            logger.error("taking message %s met an error of its own", letter.message.id, exc_info=error)
        taken = None if take.cancelled() or error is not None else take.result()
        worker = asyncio.current_task()
        if taken is None or worker is None:
            self._forget(letter.key, letter.message.to)
            return None
        self._held[letter.key] = held = _Held(taken, worker)
        return held

    async def _taken(self, letter: Letter) -> Taken | None:
        """Take one message, however long the store is away: what came later waits for it."""
        pause = 0.1
        while not self._is_stopping:
            try:
                return await self._desk.take(letter)
            except UnavailableError:
                await asyncio.sleep(pause * self._rng.uniform(0.75, 1.25))
                pause = min(pause * 2, MAX_BACKOFF_S)
            except MeshError as exc:
                logger.error("message %s to %s cannot be taken: %s", letter.message.id, letter.message.to, exc)  # noqa: TRY400 -- no program error
                return None
        return None

    async def _deliver(self, held: _Held) -> None:
        """Hand a message over until it is handled, put aside or lost; what is held when all stops is given back."""
        while not held.is_lost:
            if self._is_stopping:
                return
            is_sure = held.taken.relied_until > asyncio.get_running_loop().time()
            if not is_sure and not await self._kept(held):
                break
            reason = await self._handed(held)
            if isinstance(reason, _Lost):
                break
            if reason is None:
                held.is_handled = True
                self._spawn(self._end(held), self._endings)
                return
            if not await self._again(held, reason):
                break
        self._let_go(held)

    async def _handed(self, held: _Held) -> Exception | None:
        """Return why the handler failed, `None` if it did not; `_Lost` if what it did does not count."""
        held.is_running = True
        try:
            await self._handle(held.taken.letter.message)
        except asyncio.CancelledError:
            if not held.is_lost:
                raise
            held.worker.uncancel()
        except Exception as exc:  # noqa: BLE001 -- whatever a handler raises is its answer
            return _Lost() if held.is_lost else exc
        finally:
            held.is_running = False
        return _Lost() if held.is_lost else None

    async def _again(self, held: _Held, reason: Exception) -> bool:
        """Return whether the message is to be handed over once more, after a pause."""
        async with held.lock:
            letter = held.taken.letter
            try:
                again = await self._failed(held, reason)
            except MeshError as exc:
                logger.warning("message %s is handed over again when its lease is over: %s", letter.message.id, exc)
                return False
            if again is None:
                return False
            held.taken = again
        pause = self._options.retry_pause_s * 4 ** (letter.delivery.count - 1)
        await asyncio.sleep(pause * self._rng.uniform(0.75, 1.25))
        return True

    async def _failed(self, held: _Held, reason: Exception) -> Taken | None:
        letter = held.taken.letter
        message, text = letter.message, f"{type(reason).__name__}: {reason}"
        if isinstance(reason, Refused):
            logger.warning("message %s to %s is put aside: %s", message.id, message.to, reason)
            await self._desk.put_aside(letter, str(reason))
            return None
        fields = (message.id, message.type, message.to, letter.delivery.count, text)
        logger.warning("message %s of type %s to %s failed in delivery %d: %s", *fields)
        return await self._desk.failed(held.taken, text)

    async def _end(self, held: _Held) -> None:
        """Remove a handled message, however long the store is away."""
        pause = 0.1
        while True:
            try:
                async with held.lock:
                    await self._desk.done(held.taken)
                break
            except UnavailableError:
                await asyncio.sleep(pause * self._rng.uniform(0.75, 1.25))
                pause = min(pause * 2, MAX_BACKOFF_S)
            except MeshError as exc:
                logger.error("message %s was handled and cannot be removed: %s", held.key, exc)  # noqa: TRY400 -- no program error
                break
        self._let_go(held)

    async def _dropped(self, key: str, to: str) -> None:
        try:
            await self._desk.drop(key)
        except UnavailableError as exc:
            logger.debug("%s ends with its time: %s", key, exc)
        self._forget(key, to)

    async def _kept(self, held: _Held) -> bool:
        """Renew one hold; return whether it is still held."""
        try:
            async with held.lock:
                if held.is_handled:
                    return True
                kept = await self._desk.keep(held.taken)
                held.taken = kept or held.taken
        except MeshError as exc:
            logger.debug("the hold of message %s is not renewed: %s", held.key, exc)
            held.is_lost = held.taken.relied_until <= asyncio.get_running_loop().time()
            return not held.is_lost
        held.is_lost = kept is None
        return kept is not None

    def _let_go(self, held: _Held) -> None:
        self._held.pop(held.key, None)
        self._forget(held.key, held.taken.letter.message.to)

    def _forget(self, key: str, to: str) -> None:
        self._known.discard(key)
        self._in_hand[to] -= 1
        if self._in_hand[to] <= 0:
            del self._in_hand[to]
        self._freed(to)


async def _cancelled(tasks: set[asyncio.Task[Any]]) -> None:
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending)


def _ended(task: asyncio.Task[None], tasks: set[asyncio.Task[None]]) -> None:
    tasks.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("the handing over of messages met an error of its own", exc_info=error)
