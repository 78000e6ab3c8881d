"""Messages past the store, while it is away: what a way between nodes must offer."""

from typing import Protocol

from meshd.messages.model import Message

DELIVERY = "delivery"
"""Metadata of a message that went past the store: `AT_MOST_ONCE`, since nothing keeps it."""
AT_MOST_ONCE = "at-most-once"


class Relay(Protocol):
    """A way to other nodes that needs no store."""

    async def carry(self, message: Message) -> bool:
        """Bring a message to the node its addressee lives on; return whether that node took it. Never twice."""
        ...
