"""One delivery at the store: taken, kept, ended.

Invariant: of all who try, one takes a message; whoever lost it changes it no more. A taken message whose holder is gone
may be taken again when its lease is over, or at once by another life of the same holder.
"""

import asyncio
from dataclasses import dataclass, replace

from meshd.errors import NotFoundError, RevisionMismatchError
from meshd.events import EventBus
from meshd.messages.codec import MAX_ERROR_CHARACTERS, Delivery, Letter, opened, sealed, sealed_unhandled
from meshd.messages.places import (
    HANDLED_TTL_MS,
    MESSAGES_LOG,
    UNHANDLED_TTL_MS,
    handled_key,
    is_given,
    unhandled_key,
)
from meshd.records import RecordStore

OWN_SHARE = 0.8
"""Share of a lease that its holder relies on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms messages are delivered."""

    lease_ms: int = 30_000
    """How long a message stays with a holder that says nothing."""
    deliveries: int = 3
    """How often a message is handed to a handler before it is put aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who takes messages."""

    name: str
    """Node or client; one process at a time has it."""
    life: str
    """What tells this process from those that had the name before."""

    def __str__(self) -> str:
        return f"{self.name}#{self.life}"

    def was(self, holder: str) -> bool:
        """Return whether `holder` is an earlier process of this name."""
        return holder.startswith(f"{self.name}#") and holder != str(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A message this process holds."""

    letter: Letter
    relied_until: float
    """Loop time until which nobody else can have it."""


class Desk:
    """Where one process takes its messages."""

    def __init__(self, records: RecordStore, events: EventBus, *, holder: Holder, terms: Terms) -> None:
        self._records = records
        self._events = events
        self._holder = holder
        self._terms = terms

    @property
    def terms(self) -> Terms:
        return self._terms

    def wait_ms(self, letter: Letter) -> int:
        """Return how long somebody else still holds the message; 0 if it may be taken."""
        holder = letter.delivery.holder
        if not holder or self._holder.was(holder):
            return 0
        return max(0, letter.delivery.until_ms - letter.read_ms)

    async def take(self, letter: Letter) -> Taken | None:
        """Take a message for one delivery; `None` if it is not there to be taken.

        A message that has had all its deliveries is put aside instead, and one of an id that was handled before ends.
        """
        if letter.delivery.count >= self._terms.deliveries:
            await self.put_aside(letter, letter.delivery.error or "its holder was gone each time before it was handled")
            return None
        if is_given(letter.key) and await self._was_handled(letter):
            await self._delete(letter)
            return None
        return await self._hold(letter, count=letter.delivery.count + 1, error=letter.delivery.error)

    async def keep(self, taken: Taken) -> Taken | None:
        """Renew the hold; `None` if it is lost."""
        delivery = taken.letter.delivery
        return await self._hold(taken.letter, count=delivery.count, error=delivery.error)

    async def failed(self, taken: Taken, error: str) -> Taken | None:
        """Note that a handler failed, and hold it for another delivery; `None` if that was the last, or it is lost."""
        letter = taken.letter
        if letter.delivery.count >= self._terms.deliveries:
            await self.put_aside(letter, error)
            return None
        return await self._hold(letter, count=letter.delivery.count + 1, error=error[:MAX_ERROR_CHARACTERS])

    async def give_back(self, taken: Taken) -> None:
        """Let anybody take it at once; the delivery that was cut short does not count."""
        letter = taken.letter
        delivery = letter.delivery
        await self._write(letter, replace(delivery, count=max(0, delivery.count - 1), holder="", until_ms=0))

    async def done(self, taken: Taken) -> None:
        """The message is handled: remove it. An id of the sender's own is remembered first."""
        letter = taken.letter
        if is_given(letter.key):
            message = letter.message
            await self._records.put(handled_key(message.to, message.id), b"", ttl_ms=HANDLED_TTL_MS)
        await self._delete(letter)

    async def drop(self, key: str) -> None:
        """Remove a message that needs no handler, whoever holds it."""
        await self._records.delete(key)

    async def put_aside(self, letter: Letter, reason: str) -> None:
        """Keep a message that no handler takes where people look, and tell of it."""
        message = letter.message
        value = sealed_unhandled(letter, reason)
        await self._records.put(unhandled_key(message.to, message.id), value, ttl_ms=UNHANDLED_TTL_MS)
        fields = {"to": message.to, "from": message.sender, "type": message.type, "id": message.id}
        await self._events.append(
            MESSAGES_LOG, {"event": "unhandled", **fields, "reason": reason[:MAX_ERROR_CHARACTERS]}
        )
        await self._delete(letter)

    async def _was_handled(self, letter: Letter) -> bool:
        return await self._records.get(handled_key(letter.message.to, letter.message.id)) is not None

    async def _hold(self, letter: Letter, *, count: int, error: str) -> Taken | None:
        asked = asyncio.get_running_loop().time()
        delivery = Delivery(
            ttl_ms=letter.delivery.ttl_ms,
            count=count,
            holder=str(self._holder),
            until_ms=letter.store_ms(asked) + self._terms.lease_ms,
            error=error,
        )
        held = await self._write(letter, delivery)
        if held is None:
            return None
        return Taken(letter=held, relied_until=asked + self._terms.lease_ms * OWN_SHARE / 1000)

    async def _write(self, letter: Letter, delivery: Delivery) -> Letter | None:
        left_ms = letter.expires_ms - letter.store_ms(asyncio.get_running_loop().time())
        if left_ms <= 0:
            return None
        value = sealed(delivery, letter.body)
        try:
            revision = await self._records.update(letter.key, value, revision=letter.revision, ttl_ms=left_ms)
        except NotFoundError:
            return None
        except RevisionMismatchError as exc:
            return (
                await self._write(replace(letter, revision=exc.current), delivery) if await self._is_own(exc) else None
            )
        message = replace(letter.message, deliveries=max(0, delivery.count - 1))
        return replace(letter, revision=revision, delivery=delivery, message=message)

    async def _delete(self, letter: Letter) -> None:
        try:
            await self._records.delete(letter.key, revision=letter.revision)
        except RevisionMismatchError as exc:
            if await self._is_own(exc):
                await self._delete(replace(letter, revision=exc.current))

    async def _is_own(self, mismatch: RevisionMismatchError) -> bool:
        """Return whether this process wrote that revision: a write whose answer was lost."""
        record = await self._records.get(mismatch.key)
        if record is None or record.revision != mismatch.current:
            return False
        return opened(record, read_at=0.0).delivery.holder == str(self._holder)
