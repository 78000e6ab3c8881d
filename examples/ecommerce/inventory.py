"""Knows what is in stock, in the mesh's memory, so it survives any of these processes."""

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
    left = await in_stock(order["article"])
    if left < order["quantity"]:
        await node.messages.send("support", "restock", {"article": order["article"], "left": left})
        return {"reserved": False, "left": left}
    return {"reserved": True, "left": await moved(order, -order["quantity"])}


@node.on_message("release")
async def release(message: Message) -> None:
    await moved(message.payload, message.payload["quantity"])


async def in_stock(article: str) -> int:
    item = await node.memory.get(f"stock/{article}")
    return STOCK if item is None else int(item.value)


async def moved(order: dict[str, Any], by: int) -> int:
    left = await in_stock(order["article"]) + by
    await node.memory.put(f"stock/{order['article']}", left)
    return left
