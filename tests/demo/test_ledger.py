"""The demo's numbers are counted from the mesh's own records, so a lost or doubled task would show."""

from meshd.events import Event
from meshd.tasks.model import Priority, Task, TaskPolicy, TaskState
from meshd_cli.demo.ledger import Ledger, percentile


def event(verb: str, task_id: str, at_ms: int) -> Event:
    return Event(log="tasks", cursor=str(at_ms), at_ms=at_ms, body={"event": verb, "task": task_id})


def ended(task_id: str, *, node_id: str = "a", state: TaskState = TaskState.COMPLETED) -> Task:
    return Task(
        id=task_id,
        type="text.analyze",
        route="text.analyze",
        priority=Priority.NORMAL,
        state=state,
        payload=b"{}",
        policy=TaskPolicy(),
        created_ms=0,
        vt=0,
        due_ms=0,
        node_id=node_id,
    )


def test_a_task_started_twice_is_a_rerun_and_waits_until_its_first_start() -> None:
    ledger = Ledger()
    ledger.read([event("submitted", "1", 100), event("started", "1", 130), event("reclaimed", "1", 150)])
    ledger.read([event("started", "1", 190), event("completed", "1", 200)])
    ledger.end(ended("1", node_id="b"))

    facts = ledger.facts(["1"], killed=["a"], seconds=1.0, backend="sqlite_local")

    assert (facts.rerun, facts.queue_p50_ms, facts.per_node, facts.is_clean) == (1, 30.0, {"b": 1}, True)


def test_a_task_that_never_ended_is_lost() -> None:
    ledger = Ledger()
    ledger.end(ended("1"))

    facts = ledger.facts(["1", "2"], killed=[], seconds=1.0, backend="sqlite_local")

    assert (facts.submitted, facts.completed, facts.lost, facts.is_clean) == (2, 1, 1, False)


def test_a_second_completion_is_counted() -> None:
    ledger = Ledger()
    ledger.read([event("completed", "1", 1), event("completed", "1", 2)])
    ledger.end(ended("1"))

    facts = ledger.facts(["1"], killed=[], seconds=1.0, backend="sqlite_local")

    assert (facts.double_completions, facts.is_clean) == (1, False)


def test_a_task_that_died_is_neither_lost_nor_completed() -> None:
    ledger = Ledger()
    ledger.end(ended("1", state=TaskState.DEAD))

    facts = ledger.facts(["1"], killed=[], seconds=1.0, backend="sqlite_local")

    assert (facts.lost, facts.completed, facts.per_node, facts.is_clean) == (0, 0, {}, False)


def test_tasks_of_others_on_the_same_mesh_are_not_counted() -> None:
    ledger = Ledger()
    ledger.read([event("started", "x", 1), event("started", "x", 2), event("completed", "x", 3)])

    facts = ledger.facts([], killed=[], seconds=1.0, backend="sqlite_local")

    assert (facts.rerun, facts.double_completions, facts.queue_p50_ms) == (0, 0, 0.0)


def test_percentiles_are_nearest_rank() -> None:
    values = list(range(1, 101))

    assert (percentile(values, 50), percentile(values, 99), percentile([7], 99), percentile([], 50)) == (50, 99, 7, 0)
