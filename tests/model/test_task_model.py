"""Random histories: each backend against the pure state machine, step by step.

Clock steps are multiples of ten, while leases, delays, deadlines and retentions end in other digits, so nothing ever
falls due at the very millisecond of a step.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from itertools import zip_longest
from typing import TypedDict, TypeVar
from uuid import uuid4

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)

from meshd.backends import BackendOptions, open_backend
from meshd.clock import ManualClock
from meshd.errors import InvalidTransitionError, NotFoundError
from meshd.events import START
from meshd.ids import new_id
from meshd.tasks import states
from meshd.tasks.model import (
    Claimer,
    Completed,
    Ending,
    Failed,
    FailureKind,
    Hold,
    NewTask,
    Outcome,
    Priority,
    Released,
    Stopped,
    Task,
    TaskFilter,
    TaskPolicy,
    TaskState,
    TaskTimings,
)
from meshd.tasks.store import TASKS_LOG
from tests.model.reference import Entry, Reference, receipt_facts
from tests.support.builders import a_claimer, a_task
from tests.support.stores import StoreSource

TIMINGS = TaskTimings(sweep_ms=60_000)
LEASES_MS = (3_003, 20_003)
STEPS_MS = (10, 10, 500, 500, 7_000, 25_000, 130_000)
CLAIMERS = (
    a_claimer("n1", holds=["gpu"]),
    a_claimer("n1", incarnation=2, types=["work", "rank"]),
    a_claimer("n2", types=["work", "rank"], holds=["gpu", "fast"]),
    a_claimer("n2", types=["work", "rank"], holds=["gpu", "fast"], incarnation=2),
    a_claimer("n3", types=["rank"]),
)
POLICIES = (
    TaskPolicy(jitter=False),
    TaskPolicy(jitter=False, max_attempts=1, max_crashes=1, result_ttl_ms=30_001, dead_ttl_ms=50_001),
    TaskPolicy(jitter=False, max_attempts=2, max_crashes=2, result_ttl_ms=600_001),
)
NODES = ("n1", "n2", "n3")
STEP_TIMEOUT_S = 30
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""No shrinking: it takes minutes against a real store, and a failing history is short enough to read."""

T = TypeVar("T")


class Wish(TypedDict):
    """What a random submit asks for."""

    task_type: str
    requires: Sequence[str]
    priority: Priority
    delay_ms: int
    expires_in_ms: int | None
    key: str | None
    policy: TaskPolicy


WISHES = st.builds(
    Wish,
    task_type=st.sampled_from(["work", "work", "rank"]),
    requires=st.sampled_from([(), (), ("gpu",), ("gpu", "fast")]),
    priority=st.sampled_from(Priority),
    delay_ms=st.sampled_from([0, 0, 0, 0, 307, 40_007]),
    expires_in_ms=st.sampled_from([None, None, 605, 60_005]),
    key=st.sampled_from([None, None, None, "a", "b"]),
    policy=st.sampled_from(POLICIES),
)
WHICH = st.sampled_from([None, 0, 0, 1, 2])
"""Which of the tasks held now a holder's step is about; `None`: of any hold there ever was, most of them stale."""


def without_detours(log: Mapping[str, Sequence[Entry]]) -> dict[str, list[Entry]]:
    """Leave out promotions of tasks that expire in the same breath: a sweep may make that one step or two."""
    return {
        task_id: [
            entry
            for entry, following in zip_longest(entries, entries[1:])
            if entry and not (entry[0] == "promoted" and following and following[0] == "expired")
        ]
        for task_id, entries in log.items()
    }


class TaskHistory(RuleBasedStateMachine):
    """One mesh and its reference, living through the same history."""

    tasks: Bundle[NewTask] = Bundle("tasks")
    holds: Bundle[Hold] = Bundle("holds")

    def __init__(self, stores: StoreSource, runner: asyncio.Runner) -> None:
        super().__init__()
        self._stores = stores
        self._runner = runner
        self._mesh = f"m{uuid4().hex[:12]}"
        self._clock = ManualClock()
        self._reference = Reference(self._clock, grace_after_ms=2 * TIMINGS.sweep_ms)
        self._ids: list[str] = []
        options = BackendOptions(mesh=self._mesh, tasks=TIMINGS, clock=self._clock)
        self._backend = self._run(open_backend(stores.url(self._mesh), options))
        self._run(self._backend.tasks.sweep())

    def teardown(self) -> None:
        try:
            self._compare_listing()
            self._compare_log()
        finally:
            self._run(self._backend.aclose())
            self._stores.finish(self._mesh)

    @initialize(target=tasks, wishes=st.lists(WISHES, min_size=2, max_size=5))
    def begin(self, wishes: list[Wish]) -> MultipleResults[NewTask]:
        return multiple(*(self._submit_new(wish) for wish in wishes))

    @initialize(target=holds, claimer=st.sampled_from(CLAIMERS))
    def begin_work(self, claimer: Claimer) -> MultipleResults[Hold]:
        return multiple(*self._claim(claimer, 4, LEASES_MS[-1]))

    @rule(target=tasks, wish=WISHES)
    def submit(self, wish: Wish) -> NewTask:
        return self._submit_new(wish)

    @rule(new=tasks)
    def submit_again(self, new: NewTask) -> None:
        self._submit(new)

    @rule(
        target=holds,
        claimer=st.sampled_from(CLAIMERS),
        limit=st.integers(1, 4),
        lease_ms=st.sampled_from(LEASES_MS),
    )
    def claim(self, claimer: Claimer, limit: int, lease_ms: int) -> MultipleResults[Hold]:
        return multiple(*self._claim(claimer, limit, lease_ms))

    @rule(target=holds, claimer=st.sampled_from(CLAIMERS))
    def claim_and_start(self, claimer: Claimer) -> MultipleResults[Hold]:
        holds = self._claim(claimer, 4, LEASES_MS[-1])
        for hold in holds:
            self._start(hold)
        return multiple(*holds)

    @rule(hold=holds, which=WHICH)
    def start(self, hold: Hold, which: int | None) -> None:
        hold = self._pick(hold, which)
        self._start(hold)

    @rule(hold=holds, which=WHICH, lease_ms=st.sampled_from(LEASES_MS))
    def renew(self, hold: Hold, which: int | None, lease_ms: int) -> None:
        hold = self._pick(hold, which)
        (outcome,) = self._run(self._backend.tasks.renew([hold], lease_ms=lease_ms))
        event = states.Renew(token=hold.token, lease_until_ms=self._clock() + lease_ms)
        self._compare_step(hold, event, outcome)

    @rule(hold=holds, which=WHICH, fraction=st.sampled_from([None, 0.0, 0.25, 1.0]), note=st.sampled_from(["", "half"]))
    def progress(self, hold: Hold, which: int | None, fraction: float | None, note: str) -> None:
        hold = self._pick(hold, which)
        outcome = self._run(self._backend.tasks.progress(hold, fraction=fraction, note=note))
        self._compare_step(hold, states.Progress(token=hold.token, fraction=fraction, note=note), outcome)

    @rule(hold=holds, which=WHICH, result=st.sampled_from([b"1", b"[]"]))
    def complete(self, hold: Hold, which: int | None, result: bytes) -> None:
        hold = self._pick(hold, which)
        event = states.Complete(token=hold.token, result=result, now_ms=self._clock())
        self._finish(Completed(hold=hold, result=result), event)

    @rule(
        hold=holds,
        which=WHICH,
        kind=st.sampled_from([FailureKind.ERROR, FailureKind.TIMEOUT, FailureKind.REJECTED]),
        retry_in_ms=st.sampled_from([None, 0, 0, 407, 30_007]),
    )
    def fail(self, hold: Hold, which: int | None, kind: FailureKind, retry_in_ms: int | None) -> None:
        hold = self._pick(hold, which)
        event = states.Fail(
            token=hold.token, kind=kind, message="m", detail="d", retry_in_ms=retry_in_ms, now_ms=self._clock()
        )
        self._finish(Failed(hold=hold, kind=kind, message="m", detail="d", retry_in_ms=retry_in_ms), event)

    @rule(hold=holds, which=WHICH)
    def release(self, hold: Hold, which: int | None) -> None:
        hold = self._pick(hold, which)
        self._finish(Released(hold=hold), states.Release(token=hold.token, now_ms=self._clock()))

    @rule(hold=holds, which=WHICH)
    def stop(self, hold: Hold, which: int | None) -> None:
        hold = self._pick(hold, which)
        self._finish(Stopped(hold=hold), states.Stop(token=hold.token, now_ms=self._clock()))

    @rule(new=tasks, which=WHICH, reason=st.sampled_from(["no", "stop"]))
    def cancel(self, new: NewTask, which: int | None, reason: str) -> None:
        task_id = self._pick(Hold(task_id=new.id, token=0), which).task_id
        event = states.Cancel(reason=reason, now_ms=self._clock())
        self._change(task_id, event, self._backend.tasks.cancel(task_id, reason=reason))

    @rule(new=tasks)
    def redrive(self, new: NewTask) -> None:
        self._change(new.id, states.Redrive(now_ms=self._clock()), self._backend.tasks.redrive(new.id))

    @rule(node_id=st.sampled_from(NODES), up_to_incarnation=st.integers(0, 2))
    def reclaim(self, node_id: str, up_to_incarnation: int) -> None:
        moved = self._run(self._backend.tasks.reclaim(node_id, up_to_incarnation=up_to_incarnation))
        assert moved == self._reference.reclaim(node_id, up_to_incarnation=up_to_incarnation)
        self._compare_records()

    @rule(ms=st.sampled_from(STEPS_MS), swept=st.booleans())
    def advance(self, ms: int, swept: bool) -> None:
        self._clock.advance(ms=ms)
        if swept or self._reference.is_retention_over():
            self._sweep()

    @rule()
    def sweep(self) -> None:
        self._sweep()

    def _submit_new(self, wish: Wish) -> NewTask:
        new = a_task(**wish, task_id=new_id(self._clock))
        self._submit(new)
        return new

    def _submit(self, new: NewTask) -> None:
        (receipt,) = self._run(self._backend.tasks.submit([new]))
        assert receipt_facts(receipt) == self._reference.submit(new)
        if new.id not in self._ids:
            self._ids.append(new.id)
        self._compare_records()

    def _claim(self, claimer: Claimer, limit: int, lease_ms: int) -> list[Hold]:
        claimed = self._run(self._backend.tasks.claim(claimer, limit=limit, lease_ms=lease_ms))
        self._reference.claim(claimer, claimed, limit=limit, lease_ms=lease_ms)
        self._compare_records()
        return [Hold(task_id=task.id, token=task.token) for task in claimed]

    def _pick(self, hold: Hold, which: int | None) -> Hold:
        held = [task for task in self._reference.tasks.values() if task.state.is_held]
        if which is None or not held:
            return hold
        task = held[which % len(held)]
        return Hold(task_id=task.id, token=task.token)

    def _start(self, hold: Hold) -> None:
        (outcome,) = self._run(self._backend.tasks.start([hold]))
        self._compare_step(hold, states.Start(token=hold.token, now_ms=self._clock()), outcome)

    def _finish(self, ending: Ending, event: states.HolderEvent) -> None:
        (outcome,) = self._run(self._backend.tasks.finish([ending]))
        self._compare_step(ending.hold, event, outcome)

    def _change(self, task_id: str, event: states.Cancel | states.Redrive, call: Awaitable[Task]) -> None:
        try:
            expected: Task | type[Exception] = self._reference.change(task_id, event)
        except KeyError:
            expected = NotFoundError
        except InvalidTransitionError:
            expected = InvalidTransitionError
        try:
            answer: Task | type[Exception] = self._run(call)
        except (NotFoundError, InvalidTransitionError) as exc:
            answer = type(exc)
        assert answer == expected
        self._compare_records()

    def _sweep(self) -> None:
        before = dict(self._reference.tasks)
        report = self._run(self._backend.tasks.sweep())
        assert report.graced == self._reference.sweep()
        assert not report.more
        self._compare_records()
        self._reference.judge_report(report, before)

    def _compare_step(self, hold: Hold, event: states.HolderEvent, outcome: Outcome) -> None:
        assert outcome in self._reference.hold_step(hold.task_id, event)
        self._compare_records()

    def _compare_records(self) -> None:
        tasks = self._backend.tasks
        records = self._run(tasks.get(self._ids))
        self._reference.observe(dict(zip(self._ids, records, strict=True)))
        assert self._run(tasks.counts()) == {state: self._reference.counts()[state] for state in TaskState}
        assert self._run(tasks.open_counts(NODES)) == self._reference.open_counts(NODES)

    def _compare_listing(self) -> None:
        page = self._run(self._backend.tasks.list(TaskFilter(), limit=500))
        assert [task.id for task in page.tasks] == sorted(self._reference.tasks, reverse=True)
        for state in TaskState:
            page = self._run(self._backend.tasks.list(TaskFilter(states=frozenset({state})), limit=500))
            expected = {task.id for task in self._reference.tasks.values() if task.state is state}
            assert {task.id for task in page.tasks} == expected

    def _compare_log(self) -> None:
        told: dict[str, list[Entry]] = {task_id: [] for task_id in self._reference.log}
        for event in self._run(self._backend.events.read(TASKS_LOG, after=START, limit=5_000)):
            body = event.body
            told[body["task"]].append((body["event"], body["state"], body["token"]))
        assert without_detours(told) == without_detours(self._reference.log)

    def _run(self, call: Awaitable[T]) -> T:
        async def awaited() -> T:
            async with asyncio.timeout(STEP_TIMEOUT_S):
                return await call

        return self._runner.run(awaited())


@pytest.mark.timeout(0, func_only=True)
def test_random_histories_agree_with_the_pure_rules(stores: StoreSource) -> None:
    with asyncio.Runner() as runner:

        class HistoryHere(TaskHistory):
            def __init__(self) -> None:
                super().__init__(stores, runner)

        run_state_machine_as_test(HistoryHere, settings=settings(phases=PHASES))
