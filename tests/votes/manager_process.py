"""A node that plays the consensus manager and nothing else: `python -m tests.votes.manager_process URL MESH NAME`."""

import asyncio
import sys

from meshd import Node
from tests.votes.agent_process import voting_settings

if __name__ == "__main__":
    settings = voting_settings(sys.argv[2], "consensus").model_copy(update={"auto_join_network": False})
    asyncio.run(Node(sys.argv[3]).run(sys.argv[1], settings=settings))
