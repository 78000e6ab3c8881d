"""What is said while groups form and work, as it travels: typed hints to agents, to the nodes they live on, to hubs.

A hint may be lost. Nothing depends on one: the announcement's record and the agents' books say all there is, and who
has a part in a group looks at them when something it waits for is late. See ADR 0029.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshd.events import EventBus, Hint
from meshd.groups.model import Announcement, GroupMessage
from meshd.groups.slots import Release
from meshd.groups.steps import Outgoing, Step

HUBS = "groups"
"""Topic of everybody who can lead: there is something open, or something is to be looked at."""
CHANGES = "groups:changes"
"""Topic of everybody who waits or watches: an announcement has another state; that agents are invited is not told."""

MISSED = "slot_missed"
"""Tells a hub that an agent it invited had no room: the announcement is open again."""
FREED = "slot_freed"
"""Tells an agent's node that an announcement does not name it (any more): look at the hold of this round."""


def place_of(name: str) -> str:
    """Return the topic of an agent, or of an initiator."""
    return f"groups:to:{name}"


def node_place(node: str) -> str:
    """Return the topic of the agents on one node."""
    return f"groups:node:{node}"


def hub_place(hub: str) -> str:
    """Return the topic of one hub."""
    return f"groups:hub:{hub}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One message, as it travels."""

    type: GroupMessage | str
    announcement: str
    sender: str
    """Agent, initiator or hub."""
    id: str = ""
    """The same message has the same id, however often it is sent."""
    reply_to: str = ""
    """Topic of the hub that sent it; offers and answers go there."""
    payload: Mapping[str, Any] = field(default_factory=dict[str, Any])
    topic: str = ""
    """Where it was heard; nothing of it travels."""


Hear = Callable[[Envelope], Awaitable[None] | None]
"""Takes an envelope, at once or by what is awaited."""


class Post:
    """Sends envelopes; a store that is away loses them, which the callers' looks make good."""

    def __init__(
        self,
        events: EventBus,
        *,
        sender: str,
        reply_to: str = "",
        on_sent: Callable[[str, str], None] = lambda sender, to: None,
    ) -> None:
        """`on_sent` is called with sender and addressee of every message; it must not block."""
        self._events = events
        self._sender = sender
        self._reply_to = reply_to
        self._on_sent = on_sent

    async def carry(self, step: Step, *, sender: str = "") -> None:
        """Send all that a step, once written, has to say, and tell agents whose slots it frees.

        Raises:
            UnavailableError: the store is away.
        """
        said = sender or self._sender
        told = [(message.to, _envelope(message, sender=said, reply_to=self._reply_to)) for message in step.messages]
        told += [(change.agent, _freed(change, sender=said)) for change in step.slots if isinstance(change, Release)]
        for message in step.messages:
            self._on_sent(said, message.to)
        await asyncio.gather(*(self.send(place_of(to), envelope) for to, envelope in told))

    async def send(self, topic: str, envelope: Envelope) -> None:
        """Send one envelope.

        Raises:
            UnavailableError: the store is away.
        """
        await self._events.publish(topic, written(envelope))

    async def changed(self, announcement: Announcement) -> None:
        """Tell who waits or watches which state an announcement has now.

        Raises:
            UnavailableError: the store is away.
        """
        await self._events.publish(CHANGES, {"a": announcement.id, "s": announcement.state.value})


def written(envelope: Envelope) -> dict[str, Any]:
    """Return the body of the hint."""
    body: dict[str, Any] = {"t": envelope.type, "a": envelope.announcement, "f": envelope.sender}
    if envelope.id:
        body["i"] = envelope.id
    if envelope.reply_to:
        body["r"] = envelope.reply_to
    if envelope.payload:
        body["p"] = envelope.payload
    return body


def opened(hint: Hint) -> Envelope:
    """Return the envelope of a hint; a type this meshd does not know stays a string."""
    body = hint.body
    return Envelope(
        type=_types.get(body["t"], body["t"]),
        announcement=body["a"],
        sender=body["f"],
        id=body.get("i", ""),
        reply_to=body.get("r", ""),
        payload=body.get("p", {}),
        topic=hint.topic,
    )


_types: Mapping[str, GroupMessage] = {each.value: each for each in GroupMessage}


def _freed(change: Release, *, sender: str) -> Envelope:
    payload = {"agent": change.agent, "round": change.round}
    return Envelope(type=FREED, announcement=change.announcement, sender=sender, payload=payload)


def _envelope(message: Outgoing, *, sender: str, reply_to: str) -> Envelope:
    return Envelope(
        type=message.type,
        announcement=message.payload["announcement"],
        sender=sender,
        id=message.id,
        reply_to=reply_to,
        payload={name: value for name, value in message.payload.items() if name != "announcement"},
    )
