"""Handlers of messages: one per type, and one for types nobody handles."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from meshd.errors import AlreadyExistsError
from meshd.ids import check_name
from meshd.messages.handing import Refused
from meshd.messages.model import Message
from meshd.runtime.signals import Reject

MessageHandler = Callable[[Message], Any]
"""Takes a message, sync (in a thread) or async; what it returns, if not `None`, is sent back as the reply."""


class MessageTable:
    """A node's own handlers of messages."""

    def __init__(self) -> None:
        self._handlers: dict[str, MessageHandler] = {}
        self.addressees: dict[str, MessageHandler] = {}
        """Others whose messages are handled here, whatever their type, and by whom."""

    def get(self, type: str) -> MessageHandler | None:
        """Return who handles this type, `None` if nobody does."""
        return self._handlers.get(type)

    @property
    def types(self) -> frozenset[str]:
        """Types that have a handler, `""` among them if the rest has."""
        return frozenset(self._handlers)

    @property
    def fallback(self) -> MessageHandler | None:
        """Who handles the types that have no handler."""
        return self._handlers.get("")

    def add(self, type: str, function: MessageHandler) -> None:
        """Register `function` for a type, or with `""` for all that have no handler.

        Raises:
            AlreadyExistsError: there is one.
        """
        if type:
            check_name("message type", type)
        if type in self._handlers:
            what = f"message type {type!r}" if type else "all other message types"
            raise AlreadyExistsError(f"there is a handler of {what} on this node already")
        self._handlers[type] = function

    def stand_in(self, addressee: str, function: MessageHandler) -> None:
        """Have `function` take every message to this addressee.

        Raises:
            AlreadyExistsError: somebody stands in for it.
        """
        check_name("addressee", addressee)
        if addressee in self.addressees:
            raise AlreadyExistsError(f"there is a handler of messages to {addressee!r} on this node already")
        self.addressees[addressee] = function


async def call_handler(function: MessageHandler, message: Message) -> Any:
    """Return what a handler returns.

    Raises:
        Refused: the handler rejected the message: it will never take it.
    """
    try:
        if inspect.iscoroutinefunction(function):
            return await function(message)
        answer = await asyncio.to_thread(function, message)
        return await answer if inspect.isawaitable(answer) else answer
    except Reject as exc:
        raise Refused(str(exc) or "rejected by its handler") from exc
