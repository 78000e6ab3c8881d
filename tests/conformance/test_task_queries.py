"""Reading tasks: by id, in lists, and as numbers."""

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.ids import new_id
from meshd.tasks.model import Task, TaskFilter, TaskState
from tests.conftest import OpenAgain
from tests.support.builders import (
    a_claimer,
    a_task,
    claim_all,
    claim_one,
    completed,
    failed,
    hold_of,
    start_one,
    submit_one,
)

ALL = TaskFilter()


async def read_all(backend: Backend, where: TaskFilter, *, limit: int = 100) -> list[Task]:
    """Read every page of a listing."""
    page = await backend.tasks.list(where, limit=limit)
    found = list(page.tasks)
    while page.cursor is not None:
        page = await backend.tasks.list(where, limit=limit, cursor=page.cursor)
        found.extend(page.tasks)
    return found


async def submit_over_time(backend: Backend, clock: ManualClock, count: int) -> list[str]:
    """Submit tasks one millisecond apart; return their ids, oldest first."""
    ids: list[str] = []
    for _ in range(count):
        ids.append((await submit_one(backend, a_task(task_id=new_id(clock)))).task_id)
        clock.advance(ms=1)
    return ids


async def test_get_answers_in_the_order_asked_and_none_for_unknown_ids(backend: Backend) -> None:
    first, second = a_task(), a_task()
    await backend.tasks.submit([first, second])
    found = await backend.tasks.get([second.id, "01HZZZZZZZZZZZZZZZZZZZZZZZ", first.id, second.id])
    assert [task and task.id for task in found] == [second.id, None, first.id, second.id]


async def test_get_of_nothing_is_nothing(backend: Backend) -> None:
    assert list(await backend.tasks.get([])) == []


async def test_a_list_is_newest_first(backend: Backend, clock: ManualClock) -> None:
    ids = await submit_over_time(backend, clock, 5)
    assert [task.id for task in await read_all(backend, ALL)] == ids[::-1]


async def test_an_empty_mesh_lists_nothing(backend: Backend) -> None:
    page = await backend.tasks.list(ALL, limit=10)
    assert (page.tasks, page.cursor) == ((), None)


async def test_pages_together_hold_every_task_once(backend: Backend, clock: ManualClock) -> None:
    ids = await submit_over_time(backend, clock, 23)
    assert [task.id for task in await read_all(backend, ALL, limit=5)] == ids[::-1]


async def test_a_page_is_never_longer_than_its_limit(backend: Backend) -> None:
    await backend.tasks.submit([a_task() for _ in range(9)])
    assert len((await backend.tasks.list(ALL, limit=4)).tasks) <= 4


async def test_tasks_submitted_while_reading_do_not_disturb_the_pages(backend: Backend, clock: ManualClock) -> None:
    ids = await submit_over_time(backend, clock, 6)
    page = await backend.tasks.list(ALL, limit=3)
    found = [task.id for task in page.tasks]
    await submit_over_time(backend, clock, 3)
    while page.cursor is not None:
        page = await backend.tasks.list(ALL, limit=3, cursor=page.cursor)
        found.extend(task.id for task in page.tasks)
    assert found == ids[::-1]


async def test_a_list_filters_by_state(backend: Backend) -> None:
    await backend.tasks.submit([a_task() for _ in range(4)])
    running = await start_one(backend)
    dead = await start_one(backend)
    await backend.tasks.finish([failed(dead, retry_in_ms=None)])
    where = TaskFilter(states=frozenset({TaskState.RUNNING, TaskState.DEAD}))
    assert {task.id for task in await read_all(backend, where)} == {running.id, dead.id}


async def test_a_list_filters_by_type(backend: Backend) -> None:
    await backend.tasks.submit([a_task("parse"), a_task("rank"), a_task("parse")])
    assert [task.type for task in await read_all(backend, TaskFilter(type="parse"))] == ["parse", "parse"]
    assert await read_all(backend, TaskFilter(type="pars")) == []


async def test_a_list_filters_by_node(backend: Backend) -> None:
    await backend.tasks.submit([a_task(), a_task(), a_task()])
    mine = await claim_one(backend, a_claimer("n1"))
    await claim_one(backend, a_claimer("n2"))
    assert [task.id for task in await read_all(backend, TaskFilter(node_id="n1"))] == [mine.id]


async def test_filters_combine(backend: Backend) -> None:
    await backend.tasks.submit([a_task("parse"), a_task("parse"), a_task("rank")])
    claimer = a_claimer("n1", types=["parse", "rank"])
    tasks = await claim_all(backend, claimer)
    await backend.tasks.start([hold_of(task) for task in tasks])
    done = next(task for task in tasks if task.type == "parse")
    await backend.tasks.finish([completed(done)])
    where = TaskFilter(states=frozenset({TaskState.COMPLETED}), type="parse", node_id="n1")
    assert [task.id for task in await read_all(backend, where)] == [done.id]
    assert await read_all(backend, TaskFilter(states=where.states, type="rank")) == []


async def test_filtered_pages_end_although_few_tasks_match(backend: Backend) -> None:
    await backend.tasks.submit([a_task("common") for _ in range(60)])
    rare = await submit_one(backend, a_task("rare"))
    await backend.tasks.submit([a_task("common") for _ in range(60)])
    found = await read_all(backend, TaskFilter(type="rare"), limit=5)
    assert [task.id for task in found] == [rare.task_id]


async def test_counts_follow_every_transition(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    await backend.tasks.submit([*[a_task() for _ in range(6)], a_task(delay_ms=1_000)])
    await claim_one(backend)
    await start_one(backend)
    done, dead = await start_one(backend), await start_one(backend)
    await backend.tasks.finish([completed(done), failed(dead, retry_in_ms=None)])
    (waiting,) = [task for task in await read_all(backend, ALL) if task.state is TaskState.SCHEDULED]
    await backend.tasks.cancel(waiting.id, reason="no")
    counts = await other.tasks.counts()
    assert {state: count for state, count in counts.items() if count} == {
        TaskState.READY: 2,
        TaskState.CLAIMED: 1,
        TaskState.RUNNING: 1,
        TaskState.COMPLETED: 1,
        TaskState.DEAD: 1,
        TaskState.CANCELLED: 1,
    }


async def test_counts_name_every_state_even_in_an_empty_mesh(backend: Backend) -> None:
    assert dict(await backend.tasks.counts()) == dict.fromkeys(TaskState, 0)


async def test_open_counts_tell_what_each_node_holds_now(backend: Backend) -> None:
    await backend.tasks.submit([a_task() for _ in range(5)])
    await claim_all(backend, a_claimer("n1"), limit=2)
    running = await start_one(backend, a_claimer("n2"))
    assert dict(await backend.tasks.open_counts(["n1", "n2", "n3"])) == {"n1": 2, "n2": 1, "n3": 0}
    await backend.tasks.finish([completed(running)])
    assert dict(await backend.tasks.open_counts(["n2"])) == {"n2": 0}


async def test_open_counts_of_no_nodes_is_empty(backend: Backend) -> None:
    assert dict(await backend.tasks.open_counts([])) == {}
