"""Takes orders: has the goods reserved and the payment looked at, and tells support what becomes of each."""

from datetime import timedelta
from typing import Any

from meshd import Node
from meshd.messages.model import Message
from meshd.runtime.voting import Ballot
from meshd.votes.model import Proposal

node = Node("sales")


@node.on_message("order")
async def take_order(message: Message) -> dict[str, Any]:
    order = message.payload
    stock = await node.messages.request("inventory", "reserve", order, timeout=timedelta(seconds=20))
    if not stock["reserved"]:
        return await told({"id": order["id"], "state": "out of stock"})
    check = await node.messages.request("fraud", "check", order, timeout=timedelta(seconds=40))
    if check["blocked"]:
        await node.messages.send("inventory", "release", order)
    return await told({"id": order["id"], "state": "blocked" if check["blocked"] else "confirmed"})


@node.on_proposal
async def vote(proposal: Proposal, agent: str) -> Ballot:
    """Sales wants to sell: it lets an order go only at ten times what customers usually spend."""
    return Ballot(proposal.content["amount"] >= 5_000, reason="far over what our customers spend")


async def told(outcome: dict[str, Any]) -> dict[str, Any]:
    await node.messages.send("support", "outcome", outcome)
    return outcome
