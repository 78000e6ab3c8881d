"""Random histories: each backend against the pure state machine, step by step."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar
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
from meshd.errors import BackpressureError, InvalidTransitionError, NotFoundError, UnknownParentError
from meshd.events import START
from meshd.ids import new_id
from meshd.tasks import states
from meshd.tasks.leases import standstill_ms
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
    TaskState,
    TaskTimings,
)
from meshd.tasks.store import TASKS_LOG
from tests.model.paths import Entry, without_detours
from tests.model.reference import Reference, receipt_facts
from tests.model.wishes import CLAIMING, LEASES_MS, NODES, PICKS, QUEUE_SIZE, STEPS_MS, TYPES, WISHES, Wish, wished
from tests.support.builders import LONG_MS, a_task, hold_of
from tests.support.stores import StoreSource

TIMINGS = TaskTimings(sweep_ms=60_000)
STEP_TIMEOUT_S = 30
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""No shrinking: it takes minutes against a real store, and a failing history is short enough to read."""

T = TypeVar("T")


class TaskHistory(RuleBasedStateMachine):
    """One mesh and its reference, living through the same history."""

    tasks: Bundle[NewTask] = Bundle("tasks")

    def __init__(self, stores: StoreSource, runner: asyncio.Runner) -> None:
        super().__init__()
        self._stores = stores
        self._runner = runner
        self._mesh = f"m{uuid4().hex[:12]}"
        self._clock = ManualClock()
        self._reference = Reference(self._clock, grace_after_ms=standstill_ms(TIMINGS), queue_size=QUEUE_SIZE)
        self._ids: list[str] = []
        self._holds: list[Hold] = [Hold(task_id=new_id(self._clock), token=1)]
        options = BackendOptions(mesh=self._mesh, tasks=TIMINGS, queue_size=QUEUE_SIZE, clock=self._clock)
        self._backend = self._run(open_backend(stores.url(self._mesh), options))
        self._run(self._backend.tasks.sweep())

    def teardown(self) -> None:
        try:
            self._compare_listing()
            self._compare_log()
            self._audit()
        finally:
            self._run(self._backend.aclose())
            self._stores.finish(self._mesh)

    @initialize(target=tasks, wishes=st.lists(WISHES, min_size=3, max_size=7))
    def begin(self, wishes: list[Wish]) -> MultipleResults[NewTask]:
        return multiple(*self._submit_new(wishes))

    @initialize(claimer=CLAIMING)
    def begin_work(self, claimer: Claimer) -> None:
        self._claim(claimer, 4, LEASES_MS[-1])

    @rule(target=tasks, wishes=st.lists(WISHES, min_size=1, max_size=3))
    def submit(self, wishes: list[Wish]) -> MultipleResults[NewTask]:
        return multiple(*self._submit_new(wishes))

    @rule(new=tasks)
    def submit_again(self, new: NewTask) -> None:
        self._submit([new])

    @rule(target=tasks, claimer=CLAIMING, wish=WISHES, answered=st.booleans())
    def submit_to_who_waits(self, claimer: Claimer, wish: Wish, answered: bool) -> NewTask:
        self._claim(claimer, 9, LEASES_MS[-1])
        new = a_task(wish["task_type"], requires=wish["requires"], task_id=new_id(self._clock))
        self._submit([new])
        if answered and self._reference.is_rung(claimer):
            wake = self._run(self._backend.tasks.wait_for_work(claimer, timeout_ms=LONG_MS))
            self._reference.wake(claimer, wake)
        return new

    @rule(
        claimer=CLAIMING,
        limit=st.integers(1, 4),
        lease_ms=st.sampled_from(LEASES_MS),
    )
    def claim(self, claimer: Claimer, limit: int, lease_ms: int) -> None:
        self._claim(claimer, limit, lease_ms)

    @rule(claimer=CLAIMING, started=st.booleans())
    def claim_alone(self, claimer: Claimer, started: bool) -> None:
        holds = self._claim(claimer, 4, LEASES_MS[-1], alone=True)
        for hold in holds if started else []:
            self._start(hold)

    @rule(victim=CLAIMING, heir=CLAIMING, alone=st.sampled_from([True, True, False]))
    def crash(self, victim: Claimer, heir: Claimer, alone: bool) -> None:
        for hold in self._claim(victim, 2, LEASES_MS[-1]):
            self._start(hold)
        self._reclaim(victim.node_id, victim.incarnation)
        self._claim(heir, 2, LEASES_MS[-1], alone=alone)

    @rule(claimer=CLAIMING)
    def claim_and_start(self, claimer: Claimer) -> None:
        holds = self._claim(claimer, 4, LEASES_MS[-1])
        for hold in holds:
            self._start(hold)

    @rule(pick=PICKS)
    def start(self, pick: int) -> None:
        hold = self._pick(pick)
        self._start(hold)

    @rule(pick=PICKS, lease_ms=st.sampled_from(LEASES_MS))
    def renew(self, pick: int, lease_ms: int) -> None:
        hold = self._pick(pick)
        (outcome,) = self._run(self._backend.tasks.renew([hold], lease_ms=lease_ms))
        event = states.Renew(token=hold.token, lease_until_ms=self._clock() + lease_ms)
        self._compare_step(hold, event, outcome)

    @rule(pick=PICKS, fraction=st.sampled_from([None, 0.0, 0.25, 1.0]), note=st.sampled_from(["", "half"]))
    def progress(self, pick: int, fraction: float | None, note: str) -> None:
        hold = self._pick(pick)
        outcome = self._run(self._backend.tasks.progress(hold, fraction=fraction, note=note))
        self._compare_step(hold, states.Progress(token=hold.token, fraction=fraction, note=note), outcome)

    @rule(pick=PICKS, result=st.sampled_from([b"1", b"[]"]))
    def complete(self, pick: int, result: bytes) -> None:
        hold = self._pick(pick)
        event = states.Complete(token=hold.token, result=result, now_ms=self._clock())
        self._finish(Completed(hold=hold, result=result), event)

    @rule(
        pick=PICKS,
        kind=st.sampled_from([FailureKind.ERROR, FailureKind.TIMEOUT, FailureKind.REJECTED]),
        retry_in_ms=st.sampled_from([None, 0, 0, 407, 30_007]),
    )
    def fail(self, pick: int, kind: FailureKind, retry_in_ms: int | None) -> None:
        hold = self._pick(pick)
        event = states.Fail(
            token=hold.token, kind=kind, message="m", detail="d", retry_in_ms=retry_in_ms, now_ms=self._clock()
        )
        self._finish(Failed(hold=hold, kind=kind, message="m", detail="d", retry_in_ms=retry_in_ms), event)

    @rule(pick=PICKS)
    def release(self, pick: int) -> None:
        hold = self._pick(pick)
        self._finish(Released(hold=hold), states.Release(token=hold.token, now_ms=self._clock()))

    @rule(pick=PICKS)
    def stop(self, pick: int) -> None:
        hold = self._pick(pick)
        self._finish(Stopped(hold=hold), states.Stop(token=hold.token, now_ms=self._clock()))

    @rule(new=tasks, pick=PICKS, reason=st.sampled_from(["no", "stop"]))
    def cancel(self, new: NewTask, pick: int, reason: str) -> None:
        task_id = self._pick(pick).task_id if pick % 2 else new.id
        event = states.Cancel(reason=reason, now_ms=self._clock())
        self._change(task_id, event, self._backend.tasks.cancel(task_id, reason=reason))

    @rule(new=tasks)
    def redrive(self, new: NewTask) -> None:
        self._change(new.id, states.Redrive(now_ms=self._clock()), self._backend.tasks.redrive(new.id))

    @rule(new=tasks, priority=st.sampled_from(Priority))
    def reprioritize(self, new: NewTask, priority: Priority) -> None:
        event = states.Reprioritize(priority=priority)
        self._change(new.id, event, self._backend.tasks.reprioritize(new.id, priority))

    @rule(news=st.lists(tasks, min_size=1, max_size=4))
    def purge(self, news: list[NewTask]) -> None:
        task_ids = [new.id for new in news]
        assert list(self._run(self._backend.tasks.purge(task_ids))) == self._reference.purge(task_ids)
        self._compare_records()

    @rule(node_id=st.sampled_from(NODES), up_to_incarnation=st.integers(0, 2))
    def reclaim(self, node_id: str, up_to_incarnation: int) -> None:
        self._reclaim(node_id, up_to_incarnation)

    @rule(claimer=CLAIMING, picks=st.lists(PICKS, max_size=2), knows_even=st.booleans())
    def reconcile(self, claimer: Claimer, picks: list[int], knows_even: bool) -> None:
        held = [hold_of(task) for task in self._reference.tasks.values() if task.state.is_held]
        known = [*map(self._pick, picks), *(held[::2] if knows_even else [])]
        given_back = self._run(self._backend.tasks.reconcile(claimer, known=known))
        assert given_back == self._reference.reconcile(claimer, known)
        self._compare_records()

    @rule(
        task_type=st.sampled_from([None, *TYPES]), claimer=CLAIMING, stays=st.sampled_from([True, False, False, False])
    )
    def pause(self, task_type: str | None, claimer: Claimer, stays: bool) -> None:
        self._run(self._backend.tasks.pause(task_type))
        self._reference.pause(task_type, paused=True)
        self._claim(claimer, 2, LEASES_MS[-1])
        if not stays:
            self._resume(task_type)

    @rule(task_type=st.sampled_from([None, *TYPES]))
    def resume(self, task_type: str | None) -> None:
        self._resume(task_type)

    @rule(ms=st.sampled_from(STEPS_MS), swept=st.booleans())
    def advance(self, ms: int, swept: bool) -> None:
        self._clock.advance(ms=ms)
        if swept or self._reference.is_retention_over():
            self._sweep()

    @rule()
    def sweep(self) -> None:
        self._sweep()

    def _submit_new(self, wishes: list[Wish]) -> list[NewTask]:
        news: list[NewTask] = []
        for wish in wishes:
            lately = [*self._ids, *(new.id for new in news)][-6:]
            after = {lately[pick % len(lately)]: None for pick in wish["parents"]} if lately else {}
            news.append(wished(wish, task_id=new_id(self._clock), after=after))
        self._submit(news)
        return news

    def _submit(self, news: list[NewTask]) -> None:
        try:
            expected = self._reference.submit(news)
        except (BackpressureError, UnknownParentError) as refusal:
            with pytest.raises(type(refusal)):
                self._run(self._backend.tasks.submit(news))
            self._compare_records()
            return
        receipts = self._run(self._backend.tasks.submit(news))
        self._ids.extend(new.id for new in news if new.id not in self._ids)
        self._compare_records()
        for receipt, (task_id, created, state) in zip(receipts, expected, strict=True):
            states_now = {state, self._reference.tasks[task_id].state}
            assert receipt_facts(receipt)[:2] == (task_id, created)
            assert receipt.state in states_now

    def _claim(self, claimer: Claimer, limit: int, lease_ms: int, *, alone: bool = False) -> list[Hold]:
        claimed = self._run(self._backend.tasks.claim(claimer, limit=limit, lease_ms=lease_ms, alone=alone))
        self._reference.claim(claimer, claimed, limit=limit, lease_ms=lease_ms, alone=alone)
        self._compare_records()
        holds = [hold_of(task) for task in claimed.tasks]
        self._holds.extend(holds)
        return holds

    def _resume(self, task_type: str | None) -> None:
        self._run(self._backend.tasks.resume(task_type))
        self._reference.pause(task_type, paused=False)
        self._compare_records()

    def _reclaim(self, node_id: str, up_to_incarnation: int) -> None:
        moved = self._run(self._backend.tasks.reclaim(node_id, up_to_incarnation=up_to_incarnation))
        assert moved == self._reference.reclaim(node_id, up_to_incarnation=up_to_incarnation)
        self._compare_records()

    def _pick(self, pick: int) -> Hold:
        """Return a hold of now, or one time in five any there ever was, most of them stale."""
        held = [hold_of(task) for task in self._reference.tasks.values() if task.state.is_held]
        holds = held if held and pick % 5 else self._holds
        return holds[pick % len(holds)]

    def _start(self, hold: Hold) -> None:
        (outcome,) = self._run(self._backend.tasks.start([hold]))
        self._compare_step(hold, states.Start(token=hold.token, now_ms=self._clock()), outcome)

    def _finish(self, ending: Ending, event: states.HolderEvent) -> None:
        (outcome,) = self._run(self._backend.tasks.finish([ending]))
        self._compare_step(ending.hold, event, outcome)

    def _change(
        self, task_id: str, event: states.Cancel | states.Redrive | states.Reprioritize, call: Awaitable[Task]
    ) -> None:
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
        self._compare_records(is_settled=True)
        self._reference.judge_report(report, before)

    def _compare_step(self, hold: Hold, event: states.HolderEvent, outcome: Outcome) -> None:
        assert outcome in self._reference.hold_step(hold.task_id, event)
        self._compare_records()

    def _compare_records(self, *, is_settled: bool = False) -> None:
        tasks = self._backend.tasks
        records = self._run(tasks.get(self._ids))
        self._reference.observe(dict(zip(self._ids, records, strict=True)), is_settled=is_settled)
        assert self._run(tasks.counts()) == {state: self._reference.counts()[state] for state in TaskState}
        assert self._run(tasks.open_counts(NODES)) == self._reference.open_counts(NODES)
        assert self._run(tasks.paused()) == self._reference.pauses

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

    def _audit(self) -> None:
        page = self._run(self._backend.tasks.audit(repair=False))
        checked, findings = page.checked, page.findings
        while page.cursor is not None:
            page = self._run(self._backend.tasks.audit(repair=False, cursor=page.cursor))
            checked, findings = checked + page.checked, findings + page.findings
        assert (checked, findings) == (len(self._reference.tasks), ())

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
