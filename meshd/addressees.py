"""Who can be written to when a message is for all."""

from meshd.backends.port import Backend


async def everyone(backend: Backend) -> frozenset[str]:
    """Return every agent of every live node."""
    return frozenset(agent.id for node in await backend.nodes.list() for agent in node.profile.agents)
