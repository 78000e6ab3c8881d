"""Speaks to customers: keeps what became of each order, and asks sales about what they complain of."""

import logging

from meshd import Node
from meshd.messages.model import Message
from meshd.runtime.voting import support_strong

node = Node("support")
node.on_proposal(support_strong())
logger = logging.getLogger("support")


@node.on_message("outcome")
async def outcome(message: Message) -> None:
    order = message.payload
    await node.memory.put(f"orders/{order['id']}", order["state"])
    logger.info("order %s: %s", order["id"], order["state"])


@node.on_message("restock")
async def restock(message: Message) -> None:
    await node.memory.put(f"restock/{message.payload['article']}", message.payload["left"])


@node.on_message("decision")
async def decision(message: Message) -> None:
    logger.info("decided: %s", message.payload)
