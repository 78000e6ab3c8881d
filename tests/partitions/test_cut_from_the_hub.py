"""A node that nothing reaches from the hub: its work is done elsewhere, once, and it comes back by itself."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from meshd import TaskState
from meshd.nodes.model import Verdict
from meshd.tasks.model import Task
from meshd.tasks.request import TaskRequest
from meshd.tasks.service import TaskHandle
from tests.chaos.client import audit
from tests.chaos.history import Phase
from tests.faults.scene import steps, task_log
from tests.partitions.bed import Bed
from tests.support.namespaces import HUB
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LEASE_S = 15.0
CUT_S = 30.0
WAVE = 30
HELD = 3
VICTIM = 2


async def held_by(bed: Bed, victim: str, *, handles: Sequence[TaskHandle]) -> set[str]:
    """Return which tasks linger on the victim, once all others have ended."""

    rest: dict[str, Task] = {}

    def begun() -> set[str]:
        return {effect.task_id for effect in bed.effects() if effect.life == victim}

    async def is_settled() -> bool:
        tasks = [await handle.status() for handle in handles]
        rest.clear()
        rest.update({task.id: task for task in tasks if not task.state.is_terminal})
        return rest.keys() == begun()

    await wait_until(is_settled, timeout=20, seen=lambda: f"begun on {victim}: {begun()}; not ended: {rest}")
    return begun()


async def test_tasks_of_a_node_cut_for_30_s_run_elsewhere_within_a_lease_and_end_once(bed: Bed, tmp_path: Path) -> None:
    go_on, victim = tmp_path / "go", bed.name(VICTIM)
    wave = [TaskRequest(type="linger", payload={"at": victim, "until": str(go_on)})] * WAVE
    handles, held = list[TaskHandle](), set[str]()
    while len(held) < HELD:
        handles += await bed.mesh.tasks.submit_many(wave)
        held = await held_by(bed, victim, handles=handles)
    bed.net.cut(VICTIM, HUB)
    cut = time.monotonic()

    def taken_over() -> set[str]:
        return {e.task_id for e in bed.effects() if e.life != victim and e.phase is Phase.START}

    await wait_until(lambda: held <= taken_over(), timeout=LEASE_S + 2)
    go_on.touch()
    results = {handle.id: await handle.result(timeout=timedelta(seconds=20)) for handle in handles}
    assert victim not in results.values()
    await wait_until(lambda: time.monotonic() - cut > CUT_S, timeout=CUT_S)
    bed.net.heal()
    await bed.until(VICTIM, Verdict.ALIVE, timeout=3)

    again = [await bed.mesh.tasks.submit("work", number=number, node=victim) for number in range(20)]
    assert [await handle.result(timeout=timedelta(seconds=20)) for handle in again] == list(range(20))
    completed = Counter(await steps(bed.mesh, "completed"))
    assert completed == Counter([handle.id for handle in (*handles, *again)])
    stale = {(effect.task_id, effect.token) for effect in bed.effects() if effect.life == victim}
    told = {(entry["task"], entry["token"]) for entry in await task_log(bed.mesh) if entry["event"] == "completed"}
    assert {task for task, _ in stale & told} == {handle.id for handle in again}
    for handle in handles:
        assert (await handle.status()).state is TaskState.COMPLETED
    assert (await audit(bed.mesh))[1] == []
