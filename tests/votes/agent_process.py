"""An agent with the default policy: `python -m tests.votes.agent_process URL MESH NAME FOLDER`.

What it is told of decisions it writes into a file of its name, one line each.
"""

import asyncio
import sys
from pathlib import Path

from meshd import Node, Settings
from meshd.messages.model import Message
from meshd.runtime.voting import support_strong
from tests.runtime.worker_process import fast_settings


def voting_settings(mesh: str, *roles: str) -> Settings:
    """Short timings, and only these roles."""
    settings = fast_settings(mesh)
    return settings.model_copy(update={"roles": settings.roles.model_copy(update={"play": roles})})


def make_agent(name: str, folder: Path) -> Node:
    node = Node(name)
    node.on_proposal(support_strong())

    @node.on_message("decision")
    async def decided(message: Message) -> None:
        with (folder / name).open("a") as told:
            told.write(f"{message.payload['proposal']} {message.payload['state']}\n")

    return node


if __name__ == "__main__":
    asyncio.run(make_agent(sys.argv[3], Path(sys.argv[4])).run(sys.argv[1], settings=voting_settings(sys.argv[2])))
