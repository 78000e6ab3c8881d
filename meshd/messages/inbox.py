"""The inbox of some addressees: what comes for them is handled here, while this lives.

- What one sender sent to one addressee is handled in the order it was sent, one at a time; all else side by side.
- A message is removed once its handler has returned. One that fails is handed over again, after a pause that holds up
  only what the same sender sent later; one that failed too often is put aside.
- Hints say that something came. As a hint may be lost, inboxes are also looked at now and then, and all of them when
  the store was away.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from meshd.errors import CorruptDataError, UnavailableError
from meshd.events import EventBus
from meshd.messages.codec import Letter, opened, told_reply
from meshd.messages.delivering import Desk
from meshd.messages.handing import Handle, Hands, InboxOptions
from meshd.messages.hearing import MAX_BACKOFF_S, Ear
from meshd.messages.model import Message
from meshd.messages.places import inbox_prefix
from meshd.records import Record, RecordStore

logger = logging.getLogger(__name__)

PAGE = 100
WINDOW = 400
"""Messages of one addressee in hand at once; what else waits stays in the store."""
MAX_DAMAGED = 1_000
"""Most keys of damaged messages that are remembered, so as to be told of once."""


@dataclass(slots=True)
class _Box:
    """One addressee's messages, as far as they were looked at."""

    to: str
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    is_behind: bool = False
    """Whether the store has more than the window holds."""
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    """Wakes when the first of the messages that others hold may be taken."""

    def wake_in(self, seconds: float) -> None:
        """Be looked at again then, or earlier."""
        loop = asyncio.get_running_loop()
        if self.timer is not None and loop.time() < self.timer.when() <= loop.time() + seconds:
            return
        if self.timer is not None:
            self.timer.cancel()
        self.timer = loop.call_later(seconds, self.wake.set)

    def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
        if self.timer is not None:
            self.timer.cancel()


class Inbox:
    """Start once, close once. `stop` ends the taking of new messages; closing gives back what is still held."""

    def __init__(
        self,
        records: RecordStore,
        events: EventBus,
        *,
        desk: Desk,
        handle: Handle,
        answers: Callable[[Message], bool] = lambda message: False,
        options: InboxOptions | None = None,
    ) -> None:
        """`answers` takes the reply somebody here waits for, and says whether it did."""
        self._records = records
        self._desk = desk
        self._answers = answers
        self._rng = Random()
        self._boxes: dict[str, _Box] = {}
        self._damaged: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._hands = Hands(desk, handle, options=options or InboxOptions(), freed=self._freed, rng=self._rng)
        self._ear = Ear(events, wake=self._wake, told=self._told, rng=self._rng)

    def start(self) -> None:
        """Begin to listen."""
        self._spawn(self._ear.run())
        self._spawn(self._hands.keep_holds())

    def hear(self, addressees: Iterable[str]) -> None:
        """Listen for exactly these from now on. What is being handled for others ends as it would have."""
        wanted = frozenset(addressees)
        for to in self._boxes.keys() - wanted:
            self._boxes.pop(to).close()
        for to in wanted - self._boxes.keys():
            box = self._boxes[to] = _Box(to)
            box.task = self._spawn(self._look_after(box))
        self._ear.hear(wanted)

    async def heard(self) -> None:
        """Return once every hint about the addressees is heard."""
        await self._ear.heard()

    def stop(self) -> None:
        """Take nothing more; replies are still heard. Idempotent."""
        self._hands.stop()

    async def finished(self) -> None:
        """Return when nothing is being handled, after a stop."""
        await self._hands.finished()

    async def aclose(self, *, grace_s: float = 0.0) -> None:
        """Wait up to `grace_s` for what is being handled, then cut it short and give it back. Idempotent."""
        await self._hands.aclose(grace_s=grace_s)
        for box in self._boxes.values():
            box.close()
        pending = [task for task in self._tasks if not task.done()]
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="meshd inbox")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("listening for messages met an error of its own", exc_info=error)

    def _wake(self, to: str) -> None:
        box = self._boxes.get(to)
        if box is not None:
            box.wake.set()

    def _told(self, to: str, news: Mapping[str, Any]) -> bool:
        """Take a reply that came with its hint; return whether somebody waited for it."""
        reply = told_reply(news)
        if reply is None or not reply[1].reply_to or not self._answers(reply[1]):
            return False
        self._hands.drop(reply[0], to)
        return True

    def _freed(self, to: str) -> None:
        box = self._boxes.get(to)
        if box is not None and box.is_behind and self._hands.in_hand(to) <= WINDOW // 2:
            box.wake.set()

    async def _look_after(self, box: _Box) -> None:
        pause = 0.1
        while True:
            await box.wake.wait()
            box.wake.clear()
            try:
                await self._look(box)
                pause = 0.1
            except UnavailableError:
                box.wake.set()
                await asyncio.sleep(pause * self._rng.uniform(0.5, 1.0))
                pause = min(pause * 2, MAX_BACKOFF_S)

    async def _look(self, box: _Box) -> None:
        """Meet what waits for one addressee, as far as the window reaches.

        A key tells when a message was made, not when it was kept: while several pages are read, one may come into a
        page read before, and the next of its sender into a page read after. So what was read is read once more, and of
        what is new then only what is older than the newest of the first reading is met.
        """
        found, end = await self._read(box)
        if end:
            newest = max((letter.born for letter in found.values()), default=0)
            again, _ = await self._read(box, until=end)
            for key in again.keys() - found.keys():
                if again[key].born < newest:
                    found[key] = again[key]
                else:
                    box.wake.set()
        for letter in sorted(found.values(), key=lambda each: each.born):
            self._meet(box, letter)

    async def _read(self, box: _Box, *, until: str = "") -> tuple[dict[str, Letter], str]:
        """Return what is not in hand yet, by key, and where the reading ended if it took several pages."""
        found: dict[str, Letter] = {}
        after, prefix = "", inbox_prefix(box.to)
        while True:
            box.is_behind = self._hands.in_hand(box.to) + len(found) >= WINDOW
            if box.is_behind and not until:
                return found, after
            read_at = asyncio.get_running_loop().time()
            page = await self._records.list(prefix, limit=PAGE, after=after)
            found |= {letter.key: letter for letter in self._opened(page, read_at)}
            if len(page) < PAGE or (until and page[-1].key >= until):
                return found, after and (page[-1].key if page else after)
            after = page[-1].key

    def _opened(self, page: Sequence[Record], read_at: float) -> list[Letter]:
        letters: list[Letter] = []
        for record in page:
            if self._hands.knows(record.key):
                continue
            try:
                letters.append(opened(record, read_at=read_at))
            except CorruptDataError as exc:
                if record.key not in self._damaged and len(self._damaged) < MAX_DAMAGED:
                    self._damaged.add(record.key)
                    logger.error("%s; it stays until its time is over", exc)  # noqa: TRY400 -- no program error
        return letters

    def _meet(self, box: _Box, letter: Letter) -> None:
        message = letter.message
        if message.reply_to and self._answers(message):
            self._hands.drop(letter.key, box.to)
        elif not self._hands.is_stopping:
            wait_ms = self._desk.wait_ms(letter)
            if wait_ms > 0:
                box.wake_in(wait_ms / 1000)
            else:
                self._hands.add(letter)
