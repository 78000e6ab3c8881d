"""What time makes due, done by whoever is alive: judge silent nodes, take back their tasks, sweep the tasks."""

from dataclasses import dataclass

from meshd.backends.port import Backend
from meshd.nodes.model import Membership
from meshd.tasks.model import SweepReport


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepReport:
    """What one round of upkeep did."""

    dead: tuple[Membership, ...]
    """Nodes this round judged dead."""
    taken_back: int
    """Tasks taken back from them at once, without waiting for their leases."""
    tasks: SweepReport


async def keep_up(backend: Backend, *, judge_nodes: bool = True) -> UpkeepReport:
    """Run one round. Idempotent, safe from any number of processes; a crash in between leaves only a longer wait.

    Without `judge_nodes` it looks at the tasks alone.
    """
    dead = await backend.nodes.sweep() if judge_nodes else ()
    taken_back = 0
    for membership in dead:
        taken_back += await backend.tasks.reclaim(membership.node_id, up_to_incarnation=membership.incarnation)
    return UpkeepReport(dead=tuple(dead), taken_back=taken_back, tasks=await backend.tasks.sweep())
