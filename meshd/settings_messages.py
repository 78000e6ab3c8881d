"""Settings of messages: how long they wait, how large they and their inboxes may get."""

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from meshd.messages.delivering import Terms
from meshd.messages.service import MessageOptions

Seconds = Annotated[float, Field(gt=0, le=31_536_000)]


class MessagesSettings(BaseModel):
    """What agents say to each other. The same on every node."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    ttl_seconds: Seconds = 86_400.0
    """How long a message waits for its addressee, unless its sender says otherwise."""
    max_bytes: Annotated[int, Field(ge=256, le=260_000)] = 256_000
    """Largest message, all of it as JSON; a larger one is refused whole."""
    inbox_limit: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    """Most messages waiting for one addressee."""
    handlers: Annotated[int, Field(ge=1, le=10_000)] = 32
    """Most messages a node handles at once."""
    deliveries: Annotated[int, Field(ge=1, le=100)] = 3
    """How often a message is handed to a handler before it is put aside as unhandled."""
    lease_seconds: Annotated[float, Field(ge=1, le=3_600)] = 30.0
    """How long a message stays with a process that died while handling it, unless its node starts again before."""

    def options(self) -> MessageOptions:
        """Return how messages are sent and delivered."""
        return MessageOptions(
            ttl=timedelta(seconds=self.ttl_seconds),
            max_bytes=self.max_bytes,
            inbox_limit=self.inbox_limit,
            handlers=self.handlers,
            terms=Terms(lease_ms=round(self.lease_seconds * 1000), deliveries=self.deliveries),
        )
