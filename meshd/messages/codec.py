"""How a message is kept: one line that says how its delivery stands, then the message, which no delivery changes.

A delivery rewrites the line alone, so taking a message costs the same whatever is in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from meshd import codec
from meshd.errors import CorruptDataError, PayloadTooLargeError
from meshd.messages.model import Message, Unhandled
from meshd.records import Record

MAX_ERROR_CHARACTERS = 300

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[int, int, str, int, str]).decode
_decode_unhandled = msgspec.json.Decoder(tuple[int, int, str]).decode


class _Fields(msgspec.Struct, kw_only=True):
    id: str
    sender: str = msgspec.field(name="from")
    to: str
    type: str
    payload: Any = None
    metadata: dict[str, str] = {}
    reply_to: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How far a message is from being handled."""

    ttl_ms: int
    """How long after its creation it may be delivered."""
    count: int = 0
    """How often a handler got it, the one that has it now included."""
    holder: str = ""
    """Whose handler has it."""
    until_ms: int = 0
    """Store time at which the holder has lost it."""
    error: str = ""
    """What the last handler that failed said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message as one read found it."""

    key: str
    revision: int
    born: int
    expires_ms: int
    read_ms: int
    """Store time of the read."""
    read_at: float
    """Time on the reader's own steady clock, in seconds, before it asked."""
    delivery: Delivery
    body: bytes
    message: Message

    def store_ms(self, now: float) -> int:
        """Return the store's time when the reader's steady clock says `now`, never less than it is."""
        return self.read_ms + round((now - self.read_at) * 1000)


def pack_message(message: Message, *, limit: int) -> bytes:
    """Return the message as bytes.

    Raises:
        InvalidPayloadError: its payload has no JSON form.
        PayloadTooLargeError: the whole of it is over `limit` bytes.
    """
    fields: dict[str, Any] = {"id": message.id, "from": message.sender, "to": message.to, "type": message.type}
    if message.payload is not None:
        fields["payload"] = message.payload
    if message.metadata:
        fields["metadata"] = dict(message.metadata)
    if message.reply_to:
        fields["reply_to"] = message.reply_to
    what = f"message {message.type!r} to {message.to!r}"
    try:
        return codec.encode(fields, what=what, limit=limit)
    except PayloadTooLargeError as exc:
        raise PayloadTooLargeError(what, size=exc.size, limit=limit, setting="messages.max_bytes") from exc


def sealed(delivery: Delivery, body: bytes) -> bytes:
    """Return the value of a message's record."""
    line = [delivery.ttl_ms, delivery.count, delivery.holder, delivery.until_ms, delivery.error]
    return _encode(line) + b"\n" + body


def opened(record: Record, *, read_at: float) -> Letter:
    """Return the message of a record read after `read_at` on the reader's steady clock.

    Raises:
        CorruptDataError: the record is not what `sealed` writes.
    """
    line, _, body = record.value.partition(b"\n")
    try:
        ttl_ms, count, holder, until_ms, error = _decode(line)
        message = message_of(body, sent_ms=record.born_ms, deliveries=count)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise CorruptDataError(f"record {record.key!r} is no message: {exc}") from exc
    return Letter(
        key=record.key,
        revision=record.revision,
        born=record.born,
        expires_ms=record.born_ms + ttl_ms,
        read_ms=record.read_ms,
        read_at=read_at,
        delivery=Delivery(ttl_ms=ttl_ms, count=count, holder=holder, until_ms=until_ms, error=error),
        body=body,
        message=message,
    )


def reply_news(key: str, body: bytes) -> Mapping[str, Any] | None:
    """Return what a hint says of a reply: all of it, so that whoever waits need not read it; `None` if it is long."""
    return {"key": key, "message": body.decode()} if len(body) < codec.COMPRESS_FROM else None


def told_reply(news: Mapping[str, Any]) -> tuple[str, Message] | None:
    """Return the key and the message a hint tells, if it tells one."""
    try:
        return news["key"], message_of(news["message"].encode(), sent_ms=0, deliveries=0)
    except (ValueError, TypeError, KeyError, AttributeError, CorruptDataError):
        return None


def sealed_unhandled(letter: Letter, reason: str) -> bytes:
    """Return the value of the record of a message nobody took."""
    line = [letter.message.sent_ms, letter.delivery.count, reason[:MAX_ERROR_CHARACTERS]]
    return _encode(line) + b"\n" + letter.body


def opened_unhandled(record: Record) -> Unhandled:
    """Return what `sealed_unhandled` was given.

    Raises:
        CorruptDataError: the record is something else.
    """
    line, _, body = record.value.partition(b"\n")
    try:
        sent_ms, count, reason = _decode_unhandled(line)
        message = message_of(body, sent_ms=sent_ms, deliveries=count)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise CorruptDataError(f"record {record.key!r} is no message: {exc}") from exc
    return Unhandled(message=message, reason=reason, at_ms=record.born_ms)


def message_of(body: bytes, *, sent_ms: int, deliveries: int) -> Message:
    """Return the message `pack_message` was given.

    Raises:
        CorruptDataError: it is something else.
    """
    try:
        fields = msgspec.convert(codec.decode(body), _Fields)
    except msgspec.ValidationError as exc:
        raise CorruptDataError(f"{len(body)} bytes are no message: {exc}") from exc
    return Message(
        id=fields.id,
        sender=fields.sender,
        to=fields.to,
        type=fields.type,
        payload=fields.payload,
        metadata=fields.metadata,
        reply_to=fields.reply_to,
        sent_ms=sent_ms,
        deliveries=deliveries,
    )
