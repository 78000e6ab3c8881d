"""`mesh status` and `mesh agents`: the mesh at a glance, and every node with its agents."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli import render
from meshd_cli.completion import node_types
from meshd_cli.session import Session, session_of
from meshd_cli.watching import Watch, lazy_view, show

if TYPE_CHECKING:
    from meshd.mesh import Mesh
    from meshd.runtime.local import LocalNode

RECENT = 5
HINT_DISABLED = "this machine is not enabled; `mesh enable` starts its node and joins the mesh"
HINT_NO_NODES = "`mesh enable` starts this machine's node; `mesh agents` without filters shows every node"
HINT_EMPTY = "`mesh submit text.analyze --arg text='This works, and I like it.' --wait` gives the mesh its first task"


def register(app: typer.Typer) -> None:
    app.command("status")(status)
    app.command("agents")(agents)


def status(ctx: typer.Context, watch: Watch = False) -> None:
    """Show the whole mesh at a glance: this machine's node, totals, known nodes, backends, recent tasks.

    \b
    Examples:
      mesh status --watch
      mesh status --json | jq .totals
    """
    session = session_of(ctx)
    if not session.is_enabled:
        render.show(session, _disabled(session), lazy_view(session, "status.status"))
        return
    from meshd.errors import UnavailableError

    try:
        show(ctx, _reader(session), "status.status", watch=watch)
    except UnavailableError:
        if session.local_node is not None:
            render.show(session, _cut_off(session, session.local_node), lazy_view(session, "status.status"))
        raise


def agents(
    ctx: typer.Context,
    capability: Annotated[str, typer.Option(help="Only nodes that hold all of these: a,b.")] = "",
    type: Annotated[str, typer.Option(help="Only nodes of this type.", autocompletion=node_types)] = "",
    role: Annotated[str, typer.Option(help="Only nodes with an agent in this role.")] = "",
    alive: Annotated[bool, typer.Option("--alive", help="Only nodes that are alive.")] = False,
    watch: Watch = False,
) -> None:
    """Show every node, dead ones while they are remembered: load, work done, what it can do, its agents, its heartbeat.

    \b
    Examples:
      mesh agents --capability text.analyze,reasoning
      mesh agents --type language_expert --json
    """
    local = session_of(ctx).local_node_name

    async def read(mesh: "Mesh") -> dict[str, Any]:
        types = [type] if type else []
        found = await mesh.nodes.list(capabilities=listed(capability), types=types, include_dead=not alive)
        return agents_document(found, local=local, role=role)

    show(ctx, read, "nodes.agents", watch=watch)


def agents_document(found: Sequence[Any], *, local: str | None, role: str = "") -> dict[str, Any]:
    """Return the nodes with an agent in `role` (any, when empty), and their sums."""
    from meshd_cli.documents import is_active, node_document

    kept = [node for node in found if not role or any(agent.role == role for agent in node.profile.agents)]
    return {
        "kind": "agents",
        "local_node": local,
        "totals": {
            "nodes": len(kept),
            "active_nodes": sum(is_active(node) for node in kept),
            "agents": sum(len(node.profile.agents) for node in kept),
            "open_tasks": sum(node.vitals.open_tasks for node in kept),
            "capacity": sum(node.profile.capacity for node in kept),
        },
        "nodes": [node_document(node) for node in kept],
        "hint": "" if found else HINT_NO_NODES,
    }


def listed(text: str) -> list[str]:
    """Return the parts of a list written with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _reader(session: Session) -> Callable[["Mesh"], Any]:
    local = session.local_node_name

    async def read(mesh: "Mesh") -> dict[str, Any]:
        import asyncio

        from meshd.nodes.model import Verdict
        from meshd.nodes.service import connectivity_of
        from meshd.tasks.model import TaskState
        from meshd_cli.documents import is_active, node_summary, task_summary, task_totals
        from meshd_cli.memory_documents import memory_document
        from meshd_cli.node_documents import mesh_state

        nodes, counts, recent, health, known, members = await asyncio.gather(
            mesh.nodes.list(include_dead=True),
            mesh.tasks.counts(),
            mesh.tasks.list(limit=RECENT),
            mesh.backend.health(),
            mesh.backend.memory.clock(),
            mesh.memory.members(),
        )
        own = next((node_summary(node) for node in nodes if node.id == local), None)
        return {
            "kind": "status",
            "enabled": local is not None,
            "mesh": mesh.name,
            "local_node": own,
            "mesh_state": mesh_state(connectivity_of(nodes), nodes),
            "totals": {
                "nodes": len(nodes),
                "active_nodes": sum(is_active(node) for node in nodes),
                **task_totals(counts),
                "capacity": sum(node.profile.capacity for node in nodes if node.verdict is Verdict.ALIVE),
                "lost_capacity": sum(node.profile.capacity for node in nodes if node.verdict is not Verdict.ALIVE),
                "memory_sync_items": known.items,
            },
            "tasks": {state.value: counts.get(state, 0) for state in TaskState},
            "nodes": [node_summary(node) for node in nodes],
            "memory": memory_document(known, members),
            "backends": [_backend(health)],
            "recent_tasks": [task_summary(task) for task in recent.tasks],
            "hint": _next_step(session, is_here=own is not None, is_new=not any(counts.values())),
        }

    return read


def _next_step(session: Session, *, is_here: bool, is_new: bool) -> str:
    local = session.local_node
    if local is None:
        return HINT_DISABLED
    if not is_here:
        return (
            f"this machine's node {local.name} is in mesh {local.home or 'of another name or store'}, not in this one"
        )
    return HINT_EMPTY if is_new else ""


def _backend(health: Any) -> dict[str, Any]:
    return {
        "kind": health.kind,
        "url": health.url,
        "version": health.version,
        "latency_ms": round(health.latency_ms, 3),
        "durability": health.durability.value,
    }


def _cut_off(session: Session, local: "LocalNode") -> dict[str, Any]:
    """Return what is known of this machine while the store does not answer."""
    detail = f"the store does not answer; node {local.name} (process {local.process.pid}) goes on with what it holds"
    return {
        **_disabled(session),
        "enabled": True,
        "mesh_state": {"state": "local", "detail": detail},
        "hint": "`mesh partitions` shows what the node sees; `mesh submit --or-here` runs a task without a mesh",
    }


def _disabled(session: Session) -> dict[str, Any]:
    """Return what is known without touching the store."""
    return {
        "kind": "status",
        "enabled": False,
        "mesh": session.settings.mesh,
        "local_node": None,
        "mesh_state": None,
        "totals": None,
        "tasks": None,
        "nodes": [],
        "memory": None,
        "backends": [],
        "recent_tasks": [],
        "hint": f"enabled is false ({session.settings.sources()['enabled']}); `mesh enable` starts this machine's node",
    }
