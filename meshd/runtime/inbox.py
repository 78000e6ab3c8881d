"""What a node hears while it lives: messages to itself, to its agents, and to the roles it plays.

It hears from its join on. Draining, it takes nothing more, and what is being handled has as long as tasks have.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from meshd.addressees import everyone
from meshd.backends.port import Backend
from meshd.messages.handing import InboxOptions, Refused
from meshd.messages.model import Message
from meshd.messages.service import MessageOptions, Messages
from meshd.nodes.model import NodeProfile
from meshd.runtime.answers import Answers
from meshd.runtime.bridge import LinkBridge
from meshd.runtime.message_handlers import MessageHandler, MessageTable, call_handler
from meshd.runtime.relay import LinkRelay
from meshd.uses import MessageUses

logger = logging.getLogger(__name__)

MAX_RELAYED = 10_000
"""Most messages that came over links remembered, so that none is handled again when the store has it too."""
GUESTS_EACH = 8
"""Most of them at once, for each handler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Who takes what comes."""

    own: MessageTable
    built_in: Answers


class NodeInbox:
    """Start once, close once."""

    def __init__(
        self,
        backend: Backend,
        *,
        profile: Callable[[], NodeProfile],
        listeners: Listeners,
        options: MessageOptions,
        bridge: LinkBridge | None = None,
    ) -> None:
        """`bridge`: this node's links, over which messages go while the store is away."""
        self._profile = profile
        self._listeners = listeners
        self._roles: dict[str, MessageHandler] = dict(listeners.own.addressees)
        self._uses = MessageUses(backend.events, by=profile().id)
        self._deliveries = options.terms.deliveries
        self._is_open = False
        self._is_stopping = False
        self._relayed: OrderedDict[str, None] = OrderedDict()
        self._lanes: dict[tuple[str, str], asyncio.Task[None]] = {}
        """The last message that came over a link from each sender to each addressee."""
        self._guests: set[asyncio.Task[None]] = set()
        self._most_guests = options.handlers * GUESTS_EACH
        self._relay = None if bridge is None else LinkRelay(bridge, self, max_bytes=options.max_bytes)
        node = profile().id
        self.messages = Messages(
            backend.records,
            backend.events,
            sender=node,
            options=options,
            everyone=lambda: everyone(backend),
            on_sent=self._uses.sent,
            is_heard=True,
            relay=self._relay,
        )
        self._inbox = self.messages.inbox(
            self._handle, options=InboxOptions(handlers=options.handlers), holder=f"node:{node}"
        )

    def start(self) -> None:
        """Be able to send."""
        self._inbox.start()

    def open(self) -> None:
        """Hear from now on: the node is a member, and whoever had its name before is none."""
        self._is_open = True
        if self._relay is not None:
            self._relay.open()
        self.look_anew()

    def look_anew(self) -> None:
        """The node declares something else now: hear for the agents it has."""
        if self._is_open:
            profile = self._profile()
            self._inbox.hear({profile.id, *(agent.id for agent in profile.agents), *self._roles})

    async def heard(self) -> None:
        """Return once everything that comes is heard."""
        await self._inbox.heard()

    def play(self, role: str, handler: MessageHandler) -> None:
        """Hand what comes for `role:…` to this handler, whatever its type."""
        self._roles[role] = handler
        self.look_anew()

    def rest(self, role: str) -> None:
        """Hear for a role no more. Idempotent."""
        if self._roles.pop(role, None) is not None:
            self.look_anew()

    def stop(self) -> None:
        """Take nothing more; replies are still heard. Idempotent."""
        self._is_stopping = True
        self._inbox.stop()

    async def finished(self) -> None:
        """Return when nothing is being handled, after a stop."""
        await self._inbox.finished()
        while self._guests:
            await asyncio.wait(self._guests)

    def lives_here(self, name: str) -> bool:
        """Return whether messages to this name are handled on this node."""
        profile = self._profile()
        return self._is_open and (
            name == profile.id or name in self._roles or any(agent.id == name for agent in profile.agents)
        )

    def accept(self, message: Message) -> bool:
        """Have a message that came over a link handled, once and in its sender's order; return whether it is."""
        if message.reply_to and self.messages.take_reply(message):
            return True
        if self._is_stopping or message.id in self._relayed or len(self._guests) >= self._most_guests:
            return False
        self._relayed[message.id] = None
        if len(self._relayed) > MAX_RELAYED:
            self._relayed.popitem(last=False)
        place = (message.to, message.sender)
        work = self._handle_guest(message, after=self._lanes.get(place))
        task = self._lanes[place] = asyncio.create_task(work, name="meshd relayed message")
        self._guests.add(task)
        task.add_done_callback(lambda done: self._guest_left(done, place))
        return True

    def _guest_left(self, task: asyncio.Task[None], place: tuple[str, str]) -> None:
        self._guests.discard(task)
        if self._lanes.get(place) is task:
            del self._lanes[place]

    async def aclose(self) -> None:
        """Cut short and give back what is still being handled, and tell what is left to tell. Idempotent."""
        self._is_stopping = True
        await self._inbox.aclose()
        for task in self._guests:
            task.cancel()
        if self._guests:
            await asyncio.wait(self._guests)
        await self.messages.aclose()
        await self._uses.aclose()

    async def _handle_guest(self, message: Message, *, after: asyncio.Task[None] | None) -> None:
        if after is not None:
            await asyncio.wait({after})
        try:
            await self._served(message)
        except Exception as exc:  # noqa: BLE001 -- whatever a handler raises: nobody hands this message over again
            logger.warning("message %s to %s, which came over a link, failed: %s", message.id, message.to, exc)

    async def _handle(self, message: Message) -> None:
        if message.id not in self._relayed:
            await self._served(message)

    async def _served(self, message: Message) -> None:
        try:
            answer = await self._answered(message)
        except Refused as exc:
            await self.messages.refuse(message, str(exc))
            raise
        except Exception as exc:
            if message.deliveries + 1 >= self._deliveries:
                await self.messages.refuse(message, f"{type(exc).__name__}: {exc}")
            raise
        if answer is not None:
            await self.messages.reply(message, answer)

    async def _answered(self, message: Message) -> object:
        """Return what is to be replied, `None` for nothing.

        Raises:
            Refused: nobody here handles this type.
        """
        own = self._listeners.own
        handler = self._roles.get(message.to) or own.get(message.type)
        if handler is not None:
            return await call_handler(handler, message)
        if message.reply_to:
            return None
        built_in = self._listeners.built_in.get(message.type)
        if built_in is not None:
            return await built_in(message)
        if own.fallback is not None:
            return await call_handler(own.fallback, message)
        raise Refused(f"unknown type {message.type!r}: node {self._profile().id} has no handler for it")
