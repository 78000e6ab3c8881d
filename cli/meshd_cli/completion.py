"""What the shell offers after TAB: names that are really there, if the mesh answers at once."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshd.mesh import Mesh

PATIENCE_SECONDS = 0.8


def node_ids(incomplete: str) -> list[str]:
    """Return ids of live nodes."""

    async def ids(mesh: "Mesh") -> list[str]:
        return [node.id for node in await mesh.nodes.list()]

    return _ask(ids, incomplete)


def agent_ids(incomplete: str) -> list[str]:
    """Return ids of the agents of live nodes."""

    async def ids(mesh: "Mesh") -> list[str]:
        return sorted({agent.id for node in await mesh.nodes.list() for agent in node.profile.agents})

    return _ask(ids, incomplete)


def task_ids(incomplete: str) -> list[str]:
    """Return ids of the newest tasks."""

    async def ids(mesh: "Mesh") -> list[str]:
        return [task.id for task in (await mesh.tasks.list(limit=30)).tasks]

    return _ask(ids, incomplete)


def memory_keys(incomplete: str) -> list[str]:
    """Return keys that start so."""

    async def keys(mesh: "Mesh") -> list[str]:
        return [entry.key for entry in await mesh.memory.list(incomplete, limit=30)]

    return _ask(keys, incomplete)


def announcement_ids(incomplete: str) -> list[str]:
    """Return ids of announcements that are open."""

    async def ids(mesh: "Mesh") -> list[str]:
        return [each.id for each in await mesh.groups.list(state="open", limit=30)]

    return _ask(ids, incomplete)


def skill_levels(incomplete: str) -> list[str]:
    """Return the levels a skill can have."""
    from meshd.nodes.model import Level

    return [level.name.lower() for level in Level if level.name.lower().startswith(incomplete)]


def task_types(incomplete: str) -> list[str]:
    """Return the types some live node has a handler for."""

    async def types(mesh: "Mesh") -> list[str]:
        return sorted({kind for node in await mesh.nodes.list() for kind in node.profile.task_types})

    return _ask(types, incomplete)


def node_types(incomplete: str) -> list[str]:
    """Return the node types meshd ships."""
    from meshd.nodes.model import NodeType

    return [kind.value for kind in NodeType if kind.value.startswith(incomplete)]


def task_states(incomplete: str) -> list[str]:
    """Return the states a task can be in."""
    from meshd.tasks.model import TaskState

    return [state.value for state in TaskState if state.value.startswith(incomplete)]


def priorities(incomplete: str) -> list[str]:
    """Return the priorities."""
    from meshd.tasks.model import Priority

    return [priority.value for priority in Priority if priority.value.startswith(incomplete)]


def policies(incomplete: str) -> list[str]:
    """Return the ways a task can find its node."""
    from meshd.tasks.scoring import RoutingPolicy

    return [policy.value for policy in RoutingPolicy if policy.value.startswith(incomplete)]


def _ask(question: "Callable[[Mesh], Awaitable[list[str]]]", incomplete: str) -> list[str]:
    import asyncio

    from meshd.errors import MeshError
    from meshd.mesh import Mesh

    async def answer() -> list[str]:
        async with asyncio.timeout(PATIENCE_SECONDS), Mesh() as mesh:
            return await question(mesh)

    try:
        return [name for name in asyncio.run(answer()) if name.startswith(incomplete)]
    except (MeshError, TimeoutError):
        return []
