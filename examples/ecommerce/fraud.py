"""Looks at payments: small ones pass, large ones are put to the vote of all four agents."""

from datetime import timedelta
from typing import Any

from meshd import Node
from meshd.messages.model import Message
from meshd.runtime.voting import support_strong
from meshd.votes.model import ProposalState
from meshd.votes.waggle import dance, intensity_of

node = Node("fraud")
node.on_proposal(support_strong())

AGENTS = ("fraud", "inventory", "sales", "support")
LARGE = 1_000


@node.on_message("check")
async def check(message: Message) -> dict[str, Any]:
    order = message.payload
    if order["amount"] < LARGE:
        return {"blocked": False}
    proposal = await node.votes.propose(
        {"block": order["id"], "amount": order["amount"]},
        id=f"block-{order['id']}",
        electorate=AGENTS,
        waggle=dance(intensity_of(priority="high", amount=order["amount"])),
    )
    decision = await node.votes.decision(proposal.id, timeout=timedelta(seconds=30))
    return {"blocked": decision.state is ProposalState.ACCEPTED, "vote": decision.id}
