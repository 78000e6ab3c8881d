"""The run's client: submits until acknowledged, follows the logs, reads what is left. It outlives the store's kills."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any, TypeVar, cast

from meshd import Mesh, codec
from meshd.errors import UnavailableError
from meshd.events import START, Event
from meshd.nodes.store import NODES_LOG
from meshd.tasks.audit import Finding
from meshd.tasks.model import Task, TaskState
from meshd.tasks.request import TaskRequest
from meshd.tasks.store import MAX_BATCH, TASKS_LOG
from tests.chaos.history import Acknowledged, Entry, Final, NodeEntry
from tests.chaos.work import request

T = TypeVar("T")

WINDOWS = (8, 100, 1_000)
"""How far the submits may be ahead of the completions: from starving the nodes to a long queue."""
LONGEST_BATCH = 64
PATIENCE_S = 0.05


async def persistently(call: Callable[[], Awaitable[T]]) -> T:
    """Return the call's answer, repeating it for as long as the store cannot be used."""
    while True:
        try:
            return await call()
        except UnavailableError as exc:
            if not exc.retryable:
                raise
            await asyncio.sleep(PATIENCE_S)


class Follower:
    """Reads the log `tasks` as it grows, so that no trimming takes an entry from us."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self.entries: list[Entry] = []
        self.completed: set[str] = set()
        self.cursor = START
        self._grown = asyncio.Condition()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            events = await persistently(lambda: self._mesh.events.read(TASKS_LOG, after=self.cursor, limit=1_000))
            if not events:
                await asyncio.sleep(PATIENCE_S)
                continue
            self.cursor = events[-1].cursor
            self.entries += [_entry(event) for event in events]
            self.completed |= {entry.task_id for entry in self.entries[-len(events) :] if entry.verb == "completed"}
            async with self._grown:
                self._grown.notify_all()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Return once the entries read make `reached` true."""
        async with self._grown:
            await self._grown.wait_for(reached)


class Submitter:
    """Submits the run's tasks in batches of all sizes, now starving the nodes, now queueing up."""

    def __init__(self, mesh: Mesh, follower: Follower, *, seed: int) -> None:
        self._mesh = mesh
        self._follower = follower
        self._seed = seed
        self._rng = Random(f"{seed}/submitter")
        self.acknowledged: list[Acknowledged] = []
        self.repeated = 0
        """Submits sent again since the store had not answered."""

    async def run(self, tasks: int) -> None:
        """Return once every task is acknowledged."""
        number, window = 0, WINDOWS[0]
        while number < tasks:
            if self._rng.random() < 0.1:
                window = self._rng.choice(WINDOWS)
            await self._until_wanted(window)
            size = min(self._rng.randint(1, LONGEST_BATCH), tasks - number)
            numbers = range(number, number + size)
            handles = await self._submit([request(one, seed=self._seed) for one in numbers])
            self.acknowledged += [
                Acknowledged(number=one, task_id=task_id) for one, task_id in zip(numbers, handles, strict=True)
            ]
            number += size

    async def _until_wanted(self, window: int) -> None:
        await self._follower.until(lambda: len(self.acknowledged) - len(self._follower.completed) < window)

    async def _submit(self, requests: Sequence[TaskRequest]) -> list[str]:
        tries = 0

        async def send() -> list[str]:
            nonlocal tries
            tries += 1
            return [handle.id for handle in await self._mesh.tasks.submit_many(requests)]

        ids = await persistently(send)
        self.repeated += tries - 1
        return ids


async def read_finals(mesh: Mesh, task_ids: Sequence[str]) -> dict[str, Final | None]:
    """Return every task's record as it is now."""
    finals: dict[str, Final | None] = {}
    for start in range(0, len(task_ids), MAX_BATCH):
        batch = task_ids[start : start + MAX_BATCH]
        tasks = await mesh.backend.tasks.get(batch)
        finals.update(zip(batch, map(_final, tasks), strict=True))
    return finals


async def audit(mesh: Mesh) -> tuple[int, list[Finding]]:
    """Have the store audit itself; return how many tasks it looked at, and what it found."""
    checked, findings, cursor = 0, list[Finding](), None
    while True:
        page = await mesh.backend.tasks.audit(repair=False, cursor=cursor)
        checked += page.checked
        findings += page.findings
        cursor = page.cursor
        if cursor is None:
            return checked, findings


async def read_node_entries(mesh: Mesh) -> list[NodeEntry]:
    """Return the whole log `nodes`."""
    entries: list[NodeEntry] = []
    cursor = START
    while events := await mesh.events.read(NODES_LOG, after=cursor, limit=1_000):
        cursor = events[-1].cursor
        entries += [_node_entry(event) for event in events]
    return entries


def _entry(event: Event) -> Entry:
    body = event.body
    return Entry(verb=body["event"], task_id=body["task"], state=body["state"], token=body["token"], at_ms=event.at_ms)


def _node_entry(event: Event) -> NodeEntry:
    body = event.body
    return NodeEntry(verb=body["event"], node_id=body["node"], incarnation=body["incarnation"], at_ms=event.at_ms)


def _final(task: Task | None) -> Final | None:
    if task is None:
        return None
    result: dict[str, Any] = {}
    if task.state is TaskState.COMPLETED and task.result is not None:
        result = cast("dict[str, Any]", codec.decode(task.result))
    return Final(
        state=task.state,
        token=task.token,
        generation=task.generation,
        result_number=result.get("number"),
        result_token=result.get("token"),
    )
