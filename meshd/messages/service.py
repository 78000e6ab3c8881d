"""The message service: what one agent says to another, kept until it is handled.

A message is delivered at least once: its handler may see it again after a crash, never after it was acknowledged.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from meshd.errors import DeadlineError, StoreUnreachableError, UnavailableError, UnhandledMessageError
from meshd.events import EventBus
from meshd.ids import new_id
from meshd.messages.checking import check_addressing, check_id, check_metadata
from meshd.messages.codec import opened_unhandled
from meshd.messages.delivering import Desk, Holder, Terms
from meshd.messages.handing import Handle, InboxOptions
from meshd.messages.inbox import Inbox
from meshd.messages.listening import Offers
from meshd.messages.model import Answers, Message, MessageType, Unhandled
from meshd.messages.ordering import RisingIds
from meshd.messages.places import inbox_prefix, unhandled_key, unhandled_prefix
from meshd.messages.relaying import AT_MOST_ONCE, DELIVERY, Relay
from meshd.messages.replies import Replies
from meshd.messages.sending import Post
from meshd.records import RecordStore

WANTS = "wants"
"""Metadata of a message whose sender waits: `reply`."""
ERROR = "error"
"""Metadata of a reply that says why there is none."""
ASKED_AT_ONCE = 64
"""Most messages of one query under way at once."""

AWAY_S = 2.0
"""How long a store that could not be reached is not tried first."""
WAITED_TTL = timedelta(minutes=10)
"""How long a reply is kept whose addressee waits for it."""

OnSent = Callable[[str, str], None]
"""Called with sender and addressee of every message sent; must not block."""

HEARD_S = 10.0
"""Longest wait for hints to be heard."""

Everyone = Callable[[], Awaitable[Collection[str]]]
"""Returns every agent of every live node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageOptions:
    """Limits and times of messages."""

    ttl: timedelta = timedelta(hours=24)
    max_bytes: int = 256_000
    inbox_limit: int = 10_000
    handlers: int = 32
    terms: Terms = field(default_factory=Terms)


class Messages:
    """Send, ask, listen; see docs/messages.md."""

    def __init__(  # noqa: PLR0913 -- each is one independent part, all by keyword
        self,
        records: RecordStore,
        events: EventBus,
        *,
        sender: str,
        options: MessageOptions | None = None,
        everyone: Everyone | None = None,
        on_sent: OnSent = lambda sender, to: None,
        is_heard: bool = False,
        relay: Relay | None = None,
    ) -> None:
        """`is_heard`: somebody listens for `sender` all the time and hands every reply to `take_reply`."""
        self._records = records
        self._events = events
        self._sender = sender
        self._options = options or MessageOptions()
        self._everyone = everyone
        self._on_sent = on_sent
        self._is_heard = is_heard
        self._relay = relay
        self._away_until = 0.0
        self._ids = RisingIds()
        self._replies = Replies()
        self._post = Post(records, events, max_bytes=self._options.max_bytes, inbox_limit=self._options.inbox_limit)
        self._own: Inbox | None = None
        self._opening = asyncio.Lock()

    @property
    def sender(self) -> str:
        """Who sends, unless a call says otherwise; replies come here."""
        return self._sender

    async def send(  # noqa: PLR0913 -- each is one independent choice of the caller, all by keyword
        self,
        to: str,
        type: str,
        payload: Any = None,
        *,
        metadata: Mapping[str, str] | None = None,
        reply_to: str = "",
        id: str | None = None,
        ttl: timedelta | None = None,
        sender: str | None = None,
    ) -> Message:
        """Keep a message for its addressee, who need not be there, and return it.

        While the store is away, a node that has links to others brings it to the addressee's node, if it reaches that;
        its metadata then say `delivery: at-most-once`.

        Messages that one sender sends one after another are handled in that order. With an `id` of the caller's own,
        sending it again within a day changes nothing.

        Raises:
            InvalidArgumentError: a name or the id is not valid, or the message too large; nothing was sent.
            BackpressureError: the addressee's inbox is full.
            UnavailableError: the store is away; the message may be kept or not.
        """
        message = self._message(
            to, type, payload, metadata=metadata, reply_to=reply_to, id=id, sender=sender or self._sender
        )
        return await self._send(message, ttl=ttl or self._options.ttl, is_given=id is not None)

    async def request(
        self, to: str, type: str, payload: Any = None, *, timeout: timedelta = timedelta(seconds=5)
    ) -> Any:
        """Send a message and return the payload of its reply.

        Raises:
            DeadlineError: no reply came in time; the message is not delivered any more.
            UnhandledMessageError: the addressee has no handler for it, or its handler failed each time.
        """
        answers = await self._ask([to], type, payload, timeout=timeout, enough=1)
        if to not in answers:
            raise DeadlineError(f"{to!r} did not answer {str(type)!r} within {timeout.total_seconds():g} s")
        reply = answers[to]
        if ERROR in reply.metadata:
            raise UnhandledMessageError(f"{to!r} did not handle {str(type)!r}: {reply.metadata[ERROR]}")
        return reply.payload

    async def query(
        self,
        type: str,
        payload: Any = None,
        *,
        to: Collection[str] | None = None,
        timeout: timedelta = timedelta(seconds=2),
        enough: int | None = None,
    ) -> Answers:
        """Ask many, and return what they reply in time, at once when `enough` have.

        Without `to`, every agent of every live node is asked, this one excepted.
        """
        if to is None:
            to = await self._everyone() if self._everyone is not None else ()
        asked = [each for each in dict.fromkeys(to) if each != self._sender]
        answers = await self._ask(asked, type, payload, timeout=timeout, enough=enough)
        replies = {each: reply.payload for each, reply in answers.items() if ERROR not in reply.metadata}
        return Answers(replies=replies, silent=frozenset(asked) - replies.keys())

    async def reply(self, message: Message, payload: Any = None) -> Message:
        """Answer a message, as the one it was sent to."""
        ttl = WAITED_TTL if message.metadata.get(WANTS) else None
        return await self.send(
            message.sender, MessageType.RESPONSE, payload, reply_to=message.id, sender=message.to, ttl=ttl
        )

    async def refuse(self, message: Message, reason: str) -> None:
        """Tell whoever waits for a reply that none comes; nothing if nobody waits."""
        if message.metadata.get(WANTS) == "reply":
            await self.send(
                message.sender,
                MessageType.RESPONSE,
                metadata={ERROR: reason[:200]},
                reply_to=message.id,
                sender=message.to,
                ttl=WAITED_TTL,
            )

    @asynccontextmanager
    async def listen(self, *addressees: str) -> AsyncGenerator[AsyncIterator[Message]]:
        """Yield what comes for these, one at a time, while the block runs.

        A message is acknowledged when the next one is asked for, or the block ends well. One whose handling raised out
        of the block is delivered again.

        Raises:
            UnavailableError: the store is away, so nothing can be heard.
        """
        for each in addressees:
            check_addressing(to=each, sender=self._sender, type="any")
        offers = Offers()
        inbox = self.inbox(offers.handle, options=InboxOptions(handlers=1, ahead=1))
        inbox.start()
        try:
            inbox.hear(addressees)
            await _heard(inbox)
            yield offers
            offers.accept()
            await inbox.aclose(grace_s=1.0)
        finally:
            await inbox.aclose()

    async def waiting(self, to: str) -> int:
        """Return how many messages are kept for an addressee, those being handled included."""
        return await self._records.count(inbox_prefix(to))

    async def unhandled(self, to: str = "", *, limit: int = 100) -> Sequence[Unhandled]:
        """Return messages no handler took, of one addressee or of all."""
        found = await self._records.list(unhandled_prefix(to), limit=limit)
        return [opened_unhandled(record) for record in found]

    async def forget(self, to: str, id: str) -> bool:
        """Remove one message from those no handler took; return whether it was there."""
        return await self._records.delete(unhandled_key(to, id))

    def inbox(self, handle: Handle, *, options: InboxOptions | None = None, holder: str = "") -> Inbox:
        """Return an ear that hands messages to `handle`, not listening yet.

        `holder` names the one process at a time that takes them: another of this name is over when this one begins.
        """
        desk = Desk(
            self._records,
            self._events,
            holder=Holder(name=holder or f"client:{new_id()}", life=new_id()),
            terms=self._options.terms,
        )
        options = options or InboxOptions(handlers=self._options.handlers)
        return Inbox(self._records, self._events, desk=desk, handle=handle, answers=self.take_reply, options=options)

    def take_reply(self, message: Message) -> bool:
        """Return whether somebody here waits for this reply; it is theirs then."""
        return self._replies.take(message)

    async def aclose(self) -> None:
        """Stop listening for replies, once all addressees are told of what was sent. Idempotent."""
        await self._post.aclose()
        own, self._own = self._own, None
        if own is not None:
            await own.aclose()

    def _message(
        self,
        to: str,
        type: str,
        payload: Any,
        *,
        metadata: Mapping[str, str] | None,
        reply_to: str,
        id: str | None,
        sender: str,
    ) -> Message:
        check_addressing(to=to, sender=sender, type=type)
        check_metadata(metadata or {})
        return Message(
            id=self._ids.next() if id is None else check_id(id),
            sender=sender,
            to=to,
            type=str(type),
            payload=payload,
            metadata=dict(metadata or {}),
            reply_to=check_id(reply_to) if reply_to else "",
        )

    async def _send(self, message: Message, *, ttl: timedelta, is_given: bool = False) -> Message:
        """Send by the store; past it, over links, while it is away.

        An id of the sender's own never goes past it: only the store knows that it was handled.
        """
        now, relay = asyncio.get_running_loop().time(), None if is_given else self._relay
        is_carried = relay is not None and now < self._away_until and await relay.carry(message)
        if not is_carried:
            try:
                await self._post.send(message, ttl_ms=max(1, round(ttl.total_seconds() * 1000)), is_given=is_given)
            except StoreUnreachableError:
                if relay is None or not await relay.carry(message):
                    raise
                self._away_until = asyncio.get_running_loop().time() + AWAY_S
                is_carried = True
        self._on_sent(message.sender, message.to)
        return replace(message, metadata={**message.metadata, DELIVERY: AT_MOST_ONCE}) if is_carried else message

    async def _ask(
        self, to: Collection[str], type: str, payload: Any, *, timeout: timedelta, enough: int | None
    ) -> dict[str, Message]:
        """Return the replies that came in time, by who sent them."""
        metadata = {WANTS: "reply"}
        messages = [
            self._message(each, type, payload, metadata=metadata, reply_to="", id=None, sender=self._sender)
            for each in to
        ]
        wanted = len(messages) if enough is None else min(enough, len(messages))
        found: dict[str, Message] = {}
        with self._replies.expected(message.id for message in messages) as replies:
            try:
                async with asyncio.timeout(timeout.total_seconds()):
                    await self._hear_replies()
                    await self._send_all(messages, ttl=timeout)
                    while len(found) < wanted:
                        reply = await replies.get()
                        found[reply.sender] = reply
            except TimeoutError:
                return found
        return found

    async def _send_all(self, messages: Sequence[Message], *, ttl: timedelta) -> None:
        for start in range(0, len(messages), ASKED_AT_ONCE):
            async with asyncio.TaskGroup() as group:
                for message in messages[start : start + ASKED_AT_ONCE]:
                    group.create_task(self._send(message, ttl=ttl))

    async def _hear_replies(self) -> None:
        """Listen for what comes for this sender, unless somebody does."""
        if self._is_heard or self._own is not None:
            return
        async with self._opening:
            if self._own is None:
                own = self.inbox(_nothing)
                own.start()
                own.hear([self._sender])
                await own.heard()
                self._own = own


async def _heard(inbox: Inbox) -> None:
    try:
        async with asyncio.timeout(HEARD_S):
            await inbox.heard()
    except TimeoutError as exc:
        raise UnavailableError(f"nothing was to be heard for {HEARD_S:g} s: the store does not answer") from exc


async def _nothing(message: Message) -> None:
    """Let a reply go that nobody waits for any more."""
