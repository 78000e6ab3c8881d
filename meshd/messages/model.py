"""What one agent says to another: addressed, kept until it is handled or its time is over."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class MessageType(StrEnum):
    """The types meshd gives a meaning; any other valid name may be used as a type too."""

    TASK = "task"
    RESPONSE = "response"
    """The reply to another message, which `reply_to` names."""
    WAGGLE = "waggle"
    """A proposal announced to those who may vote on it, with how strongly it is danced for."""
    VOTE = "vote"
    """One elector's vote, addressed to whoever plays the consensus manager."""
    DECISION = "decision"
    """How a proposal ended; each elector is told once."""
    HEARTBEAT = "heartbeat"
    TOPOLOGY = "topology"
    """Asks for, or tells, who talks to whom."""
    HANDSHAKE = "handshake"
    SYNC_REQUEST = "sync_request"
    STATUS_REQUEST = "status_request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, as sender and addressee see it."""

    id: str
    sender: str
    """Agent, node or client that sent it; replies go there."""
    to: str
    """The one agent or node that handles it."""
    type: str
    payload: Any = None
    """Any JSON value."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    reply_to: str = ""
    """Id of the message this one answers."""
    sent_ms: int = 0
    """Store time at which it was kept; 0 before that."""
    deliveries: int = 0
    """How often it was handed to a handler before this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unhandled:
    """A message no handler took, kept for people to look at."""

    message: Message
    reason: str
    """`unknown type …`, or the error its handler raised last."""
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What came back from a query to many."""

    replies: Mapping[str, Any]
    """Payload of each reply, by who sent it."""
    silent: frozenset[str]
    """Those asked who did not reply in time."""
