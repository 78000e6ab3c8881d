"""What probers say to each other, and its bytes: msgpack arrays, well under one packet.

Invariant: `decode` returns a message or `None`, whatever it is given.
"""

from enum import IntEnum
from typing import Annotated

import msgspec

MAX_GOSSIP = 6
"""Most pieces of gossip in one datagram."""

Name = Annotated[str, msgspec.Meta(max_length=64)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Standing(IntEnum):
    """What the probers as a whole think of a node."""

    ALIVE = 0
    SUSPECT = 1
    """Neither it nor anyone asked for help answered a probe; it has a while to refute that."""
    FAILED = 2
    """It did not."""


class Gossip(msgspec.Struct, frozen=True, array_like=True):
    """One piece of news about a node, carried by whatever is sent anyway."""

    node: Name
    life: Count
    """Incarnation at the store the news is about; another one's is no news."""
    claim: Count
    """Number of the claim: a node refutes what is said of it by a claim of one more."""
    standing: Standing
    by: Name
    """Who says so."""


News = Annotated[tuple[Gossip, ...], msgspec.Meta(max_length=MAX_GOSSIP)]


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Asks a node whether it is there."""

    number: Count
    source: Name
    life: Count
    target: Name
    """Whoever has another name does not answer: an address may have changed hands."""
    news: News = ()


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Answers a ping."""

    number: Count
    source: Name
    life: Count
    claim: Count
    news: News = ()


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Asks a third node to ping the target."""

    number: Count
    source: Name
    life: Count
    target: Name
    wait_ms: Count
    """How long the asker waits for word."""
    news: News = ()


class Word(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Answers an ask, either way: so the asker learns that at least the helper is there."""

    number: Count
    source: Name
    life: Count
    is_reached: bool
    news: News = ()


Message = Ping | Ack | Ask | Word

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """Return the bytes of a message: under 1,100 with the longest names and most gossip, about 40 without any."""
    return _encoder.encode(message)


def decode(data: bytes) -> Message | None:
    """Return the message, or `None` when these bytes are none."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
