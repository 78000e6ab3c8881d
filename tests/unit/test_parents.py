"""Parents as callers name them, and the ids that keep tasks together."""

import pytest

from meshd.errors import InvalidArgumentError
from meshd.ids import TAIL, new_id, tail_of
from meshd.tasks.model import NewTask
from meshd.tasks.parents import batches, renamed, with_parents
from meshd.tasks.request import TaskDefaults, TaskRequest, new_task
from meshd.tasks.store import MAX_BATCH, MAX_WAITS


def made(*requests: TaskRequest) -> list[NewTask]:
    return with_parents(requests, [new_task(request, TaskDefaults()) for request in requests])


def tails(tasks: list[NewTask]) -> list[str]:
    return [task.id[-TAIL:] for task in tasks]


def test_a_request_may_name_ids_handles_and_requests_before_it() -> None:
    first = TaskRequest(type="a")
    known = new_task(TaskRequest(type="k"), TaskDefaults())
    parent = new_id()
    second = TaskRequest(type="b", depends_on=[first, known, parent], on_parent_failure="run_anyway")
    one, two = made(first, second)
    assert two.depends_on == (one.id, known.id, parent)
    assert (one.runs_anyway, two.runs_anyway) == (False, True)


def test_all_that_hangs_together_is_kept_together_and_nothing_else() -> None:
    left, right, alone = TaskRequest(type="l"), TaskRequest(type="r"), TaskRequest(type="x")
    joint = TaskRequest(type="j", depends_on=[left, right])
    tasks = made(left, right, alone, joint)
    assert len({task.id for task in tasks}) == 4
    assert tails(tasks)[0] == tails(tasks)[1] == tails(tasks)[3] != tails(tasks)[2]


def test_a_task_is_kept_where_a_parent_from_before_is() -> None:
    parent = new_id()
    root = TaskRequest(type="r")
    assert set(tails(made(root, TaskRequest(type="c", depends_on=[root, parent])))) == {parent[-TAIL:]}


def test_what_hangs_together_follows_the_key_of_one_of_them_and_keys_stay_where_they_are() -> None:
    root, keyed = TaskRequest(type="r"), TaskRequest(type="k", idempotency_key="night")
    tasks = made(root, keyed, TaskRequest(type="c", depends_on=[root, keyed]))
    assert set(tails(tasks)) == {tail_of("night")}
    other = TaskRequest(type="o", idempotency_key="day", depends_on=[new_id()])
    assert tails(made(other)) == [tail_of("day")]


@pytest.mark.parametrize(
    "bad",
    [
        {"depends_on": "01JD0000000000000000000000"},
        {"depends_on": [""]},
        {"depends_on": ["two words"]},
        {"depends_on": [7]},
        {"depends_on": [TaskRequest(type="elsewhere")]},
        {"depends_on": [new_id()], "on_parent_failure": "explode"},
    ],
)
def test_what_is_no_task_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidArgumentError):
        made(TaskRequest(type="a", **bad))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_request_cannot_wait_for_one_that_comes_after_it() -> None:
    later = TaskRequest(type="later")
    with pytest.raises(InvalidArgumentError, match="before"):
        made(TaskRequest(type="a", depends_on=[later]), later)


def test_batches_keep_the_order_and_both_limits() -> None:
    roots = [TaskRequest(type="r") for _ in range(300)]
    requests = [*roots, *(TaskRequest(type="c", depends_on=roots[:100]) for _ in range(100))]
    tasks = made(*requests)
    parts = list(batches(tasks))
    assert [task for part in parts for task in part] == tasks
    assert max(map(len, parts)) <= MAX_BATCH
    assert max(sum(len(task.depends_on) for task in part) for part in parts) <= MAX_WAITS


def test_parents_known_under_another_id_are_named_by_it_once() -> None:
    first, second = TaskRequest(type="a"), TaskRequest(type="b")
    one, two, child = made(first, second, TaskRequest(type="c", depends_on=[first, second]))
    (same,) = renamed([child], {one.id: "K", two.id: "K"})
    assert same.depends_on == ("K",)
