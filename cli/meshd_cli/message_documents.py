"""Messages as plain JSON types."""

from typing import Any

from meshd.messages.model import Message, Unhandled
from meshd_cli.documents import moment


def message_document(message: Message) -> dict[str, Any]:
    """Return a message as sender and addressee see it."""
    return {
        "id": message.id,
        "from": message.sender,
        "to": message.to,
        "type": message.type,
        "payload": message.payload,
        "metadata": dict(message.metadata),
        "reply_to": message.reply_to,
        "sent_at": moment(message.sent_ms or None),
        "deliveries": message.deliveries,
    }


def unhandled_document(left: Unhandled) -> dict[str, Any]:
    """Return a message no handler took, and why."""
    return {**message_document(left.message), "reason": left.reason, "put_aside_at": moment(left.at_ms)}
