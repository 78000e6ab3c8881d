"""Messages as uses of edges: what one process sends between agents is told to the topology, once a second."""

import asyncio
from contextlib import suppress

from meshd.events import EventBus
from meshd.topology.usage import Usage

UNCOUNTED = ("client:", "role:")
"""What the names of those begin with who are no agents: they have no edges."""


class MessageUses:
    """Counts messages. It begins to tell with the first one, so who sends none costs nothing."""

    def __init__(self, events: EventBus, *, by: str) -> None:
        self._usage = Usage(events, by=by)
        self._telling: asyncio.Task[None] | None = None

    def sent(self, sender: str, to: str) -> None:
        """Count a message from one agent to another. Never blocks."""
        if sender == to or sender.startswith(UNCOUNTED) or to.startswith(UNCOUNTED):
            return
        self._usage.used(sender, to)
        if self._telling is None:
            self._telling = asyncio.create_task(self._usage.run(), name="meshd message uses")

    async def aclose(self) -> None:
        """Tell what is left. Idempotent."""
        telling, self._telling = self._telling, None
        if telling is not None:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling
            await self._usage.aclose()
