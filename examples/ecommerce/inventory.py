"""Knows what is in stock: the orders of each article, in the mesh's memory, so an order that comes twice takes once."""

from typing import Any

from meshd import Node
from meshd.messages.model import Message
from meshd.runtime.voting import support_strong

node = Node("inventory")
node.on_proposal(support_strong())

STOCK = 100
"""Of each article, before the first order."""


@node.on_message("reserve")
async def reserve(message: Message) -> dict[str, Any]:
    order = message.payload
    taken = await orders_of(order["article"])
    left = STOCK - sum(quantity for id, quantity in taken.items() if id != order["id"])
    if left < order["quantity"]:
        await node.messages.send("support", "restock", {"article": order["article"], "left": left})
        return {"reserved": False, "left": left}
    await node.memory.put(key_of(order), {**taken, order["id"]: order["quantity"]})
    return {"reserved": True, "left": left - order["quantity"]}


@node.on_message("release")
async def release(message: Message) -> None:
    taken = await orders_of(message.payload["article"])
    taken.pop(message.payload["id"], None)
    await node.memory.put(key_of(message.payload), taken)


def key_of(order: dict[str, Any]) -> str:
    return f"stock/{order['article']}"


async def orders_of(article: str) -> dict[str, int]:
    """Return what each order that is not released takes of an article."""
    item = await node.memory.get(key_of({"article": article}))
    return {} if item is None else dict(item.value)
