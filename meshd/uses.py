"""Messages as uses of edges: what one process sends between agents is told to the topology, once a second."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from meshd.events import EventBus

if TYPE_CHECKING:
    from meshd.topology.usage import Usage

UNCOUNTED = ("client:", "role:")
"""What the names of those begin with who are no agents: they have no edges."""


class MessageUses:
    """Counts messages. It begins to tell with the first one, so who sends none costs nothing."""

    def __init__(self, events: EventBus, *, by: str) -> None:
        self._events = events
        self._by = by
        self._usage: Usage | None = None
        self._telling: asyncio.Task[None] | None = None

    def sent(self, sender: str, to: str) -> None:
        """Count a message from one agent to another. Never blocks."""
        if sender == to or sender.startswith(UNCOUNTED) or to.startswith(UNCOUNTED):
            return
        if self._usage is None:
            from meshd.topology.usage import Usage  # noqa: PLC0415 -- for those who send

            self._usage = Usage(self._events, by=self._by)
            self._telling = asyncio.create_task(self._usage.run(), name="meshd message uses")
        self._usage.used(sender, to)

    async def aclose(self) -> None:
        """Tell what is left. Idempotent."""
        telling, self._telling = self._telling, None
        usage, self._usage = self._usage, None
        if telling is not None and usage is not None:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling
            await usage.aclose()
