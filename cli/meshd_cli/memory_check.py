"""The memory as `mesh doctor` sees it: who is behind, what was refused, what waits for a person."""

from meshd.memory.syncing import SyncState
from meshd.mesh import Mesh
from meshd.nodes.model import Verdict

MOST_CONFLICTS = 100


async def memory_troubles(mesh: Mesh) -> tuple[str, dict[str, str]]:
    """Return what the memory is, and what is wrong with it, each trouble with its fix."""
    known, members = await mesh.backend.memory.clock(), await mesh.memory.members()
    live = {node.id for node in await mesh.nodes.list(include_dead=True) if node.verdict is not Verdict.DEAD}
    troubles: dict[str, str] = {}
    for member in members:
        state = SyncState.of(member.state)
        if state.refused:
            troubles[f"{state.refused} writes of {member.node} are refused"] = (
                "`mesh memory readmit` ends a quarantine; its log says what else is refused"
            )
        if state.damaged:
            troubles[f"{member.node} received {state.damaged} damaged versions"] = (
                "set the same memory_sync.secret everywhere; then look for a failing disk or network"
            )
        if member.node in live and state.unrepaired:
            troubles[f"{state.unrepaired} keys of {member.node} differ from the store's"] = "write them again"
    waiting = await mesh.memory.conflicts(limit=MOST_CONFLICTS)
    if waiting:
        more = "at least " if len(waiting) == MOST_CONFLICTS else ""
        troubles[f"{more}{len(waiting)} keys are in conflict"] = "`mesh memory conflicts` shows them, `resolve` settles"
    here = sum(member.node in live for member in members)
    return f"{known.items} items, {here} live replicas", troubles
