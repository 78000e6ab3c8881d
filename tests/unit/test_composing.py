"""What a task that needs a decision is made of."""

from datetime import timedelta

import pytest

from meshd.errors import InvalidArgumentError
from meshd.ids import TAIL, tail_of
from meshd.tasks.agreement import TALLY_TASK
from meshd.tasks.composing import Part, is_composed, named, parts_of
from meshd.tasks.model import NewTask
from meshd.tasks.parents import with_parents
from meshd.tasks.request import TaskDefaults, TaskRequest, new_task
from meshd.tasks.voting import PATIENCE, VOTE_TASK, Vote
from meshd.votes.model import Quorum


def made(*requests: TaskRequest) -> tuple[list[Part], list[NewTask]]:
    parts = parts_of(requests)
    plain = [part.request for part in parts]
    return parts, named(parts, with_parents(plain, [new_task(request, TaskDefaults()) for request in plain]))


def test_a_plain_request_stays_one_task() -> None:
    request = TaskRequest(type="pay", requires=("python",))
    assert not is_composed(request)
    assert [part.request for part in parts_of([request])] == [request]


@pytest.mark.parametrize(
    ("requires", "route"), [(Vote(), "pay"), ([Vote()], "pay"), (["python", Vote()], "pay+python")]
)
def test_a_required_vote_is_a_task_before_it(requires: Vote | list[str | Vote], route: str) -> None:
    request = TaskRequest(type="pay", payload={"amount": 5}, requires=requires)
    assert is_composed(request)
    (vote, task) = made(request)[1]
    assert (vote.type, task.type, task.depends_on) == (VOTE_TASK, "pay", (vote.id,))
    assert task.route == route


def test_the_vote_is_on_the_task_itself_or_on_what_the_caller_says() -> None:
    plain, own = (parts_of([TaskRequest(type="pay", payload={"amount": 5}, requires=vote)])[0].request for vote in (
        Vote(), Vote(content="may we?", electorate=["a", "b"], quorum=Quorum(2), timeout=timedelta(seconds=5))
    ))  # fmt: skip
    assert plain.payload["content"] == {"task": "pay", "payload": {"amount": 5}}
    assert own.payload == {
        "content": "may we?",
        "electorate": ["a", "b"],
        "quorum": {"count": 2, "permil": 600, "weighted": False},
        "timeout_ms": 5_000,
    }
    assert own.timeout == timedelta(seconds=5) + PATIENCE


def test_what_keeps_the_task_waiting_keeps_the_vote_waiting() -> None:
    parent = TaskRequest(type="prepare")
    request = TaskRequest(type="pay", depends_on=[parent], on_parent_failure="run_anyway", requires=Vote())
    first, vote, task = made(parent, request)[1]
    assert (vote.depends_on, vote.runs_anyway) == ((first.id,), True)
    assert (task.depends_on, task.runs_anyway) == ((vote.id,), False)


def test_a_verified_task_is_its_copies_and_a_tally_the_caller_holds() -> None:
    parts, tasks = made(TaskRequest(type="count", payload={"n": 1}, verify=Quorum(3)))
    *copies, tally = tasks
    assert [task.type for task in copies] == ["count"] * 5
    assert len({task.id for task in tasks}) == 6
    assert (tally.type, tally.depends_on, tally.runs_anyway) == (TALLY_TASK, tuple(task.id for task in copies), True)
    assert [part.name for part in parts] == [f"copy {number}" for number in range(5)] + [""]


def test_vote_copies_and_tally_follow_each_other() -> None:
    vote, *copies, tally = made(TaskRequest(type="count", requires=Vote(), verify=Quorum(2)))[1]
    assert {task.depends_on for task in copies} == {(vote.id,)}
    assert tally.depends_on == tuple(task.id for task in copies)


def test_who_waits_for_a_verified_task_waits_for_its_tally() -> None:
    verified = TaskRequest(type="count", verify=Quorum(2))
    *_, tally, after = made(verified, TaskRequest(type="tell", depends_on=[verified]))[1]
    assert after.depends_on == (tally.id,)


def test_a_repeat_with_the_same_key_names_the_same_tasks() -> None:
    first, second = (
        made(TaskRequest(type="count", requires=Vote(), verify=Quorum(2), idempotency_key="night"))[1] for _ in range(2)
    )
    assert [task.id for task in first[:-1]] == [task.id for task in second[:-1]]
    assert first[-1].id != second[-1].id
    assert {task.idempotency_key for task in first[:-1]} == {None}
    assert first[-1].idempotency_key == "night"
    assert {task.id[-TAIL:] for task in first} == {tail_of("night")}
    assert len({task.id for task in first}) == 5


@pytest.mark.parametrize(
    "request_",
    [
        TaskRequest(type="t", requires=[Vote(), Vote()]),
        TaskRequest(type="t", requires=Vote(electorate=[])),
        TaskRequest(type="t", requires=Vote(timeout=timedelta(0))),
        TaskRequest(type="t", verify=Quorum(2), copies=4),
    ],
)
def test_what_cannot_be_decided_is_refused(request_: TaskRequest) -> None:
    with pytest.raises(InvalidArgumentError):
        parts_of([request_])
