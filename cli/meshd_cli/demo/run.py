"""One run of the demo: nodes join, tasks flow, one node is killed, the books are read.

Nothing here knows the answers: every number comes from the mesh's event log and from the tasks as they ended.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from time import monotonic

from meshd.errors import ConflictError, DeadlineError, MeshError
from meshd.events import START
from meshd.ids import new_id
from meshd.mesh import Mesh
from meshd.nodes.model import Verdict
from meshd.nodes.store import NODES_LOG
from meshd.tasks.model import Priority, TaskState
from meshd.tasks.request import TaskRequest
from meshd.tasks.service import TaskHandle, result_of
from meshd.tasks.store import TASKS_LOG
from meshd_cli.demo.corpus import Corpus
from meshd_cli.demo.crew import Crew, Member, crew, line_up
from meshd_cli.demo.findings import Findings
from meshd_cli.demo.ledger import Facts, Ledger
from meshd_cli.demo.screens import Screen, look_around
from meshd_cli.demo.view import View
from meshd_cli.session import Session

LATE_AT = 0.15
KILL_AT = 0.40
PATIENCE = timedelta(minutes=10)
"""What has not ended by then is counted as lost."""
LOOK_SECONDS = 0.5
WITHDRAW_SECONDS = 3
READ_EVERY = 500
"""Ended tasks between two looks at the event log, so that it is read before it is trimmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    session: Session
    """Leads to the store and the mesh to use."""
    corpus: Corpus
    nodes: int
    seed: int
    folder: Path
    """Where the nodes keep their logs."""
    show_screens: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    facts: Facts
    findings: Findings
    screens: tuple[Screen, ...]


async def run(plan: Plan, view: View) -> Outcome:
    """Run the demo; when this returns or raises, no process of it is left."""
    async with Mesh(settings=plan.session.settings) as mesh, crew(plan.session, folder=plan.folder) as people:
        show = _Show(plan=plan, mesh=mesh, crew=people, view=view)
        try:
            async with show.watched(), asyncio.TaskGroup() as group:
                return await show.play(group)
        except BaseException:
            await show.withdraw()
            raise


@dataclass(slots=True, kw_only=True)
class _Show:
    plan: Plan
    mesh: Mesh
    crew: Crew
    view: View
    ledger: Ledger = field(default_factory=Ledger)
    findings: Findings = field(default_factory=Findings)
    killed: list[str] = field(default_factory=list[str])
    _handles: list[TaskHandle] = field(default_factory=list[TaskHandle])
    _members: list[Member] = field(default_factory=list[Member])
    _cursor: str = START
    _unread: int = 0

    async def play(self, group: asyncio.TaskGroup) -> Outcome:
        members = line_up(self.plan.nodes)
        late = members.pop() if len(members) > 1 else None
        await self._join(members)
        if late is None:
            self.view.say("one node alone is not killed: nobody could take over its tasks")
        self._cursor = await self.mesh.events.latest(TASKS_LOG)
        began = monotonic()
        self._handles = handles = list(await self.mesh.tasks.submit_many(self._requests()))
        self.view.say(f"submitted {len(handles)} tasks, one per file of {self.plan.corpus.root}")
        await self._follow(handles, late, group)
        seconds = monotonic() - began
        await self._read_log()
        health = await self.mesh.backend.health()
        await self._await_deaths()
        return Outcome(
            facts=self.ledger.facts(
                [handle.id for handle in handles], killed=self.killed, seconds=seconds, backend=health.kind
            ),
            findings=self.findings,
            screens=await look_around(self.plan.session) if self.plan.show_screens else (),
        )

    async def withdraw(self) -> None:
        """Cancel what has not ended: an interrupted demo leaves no task waiting in a store that others may use."""
        with suppress(MeshError, TimeoutError):
            async with asyncio.timeout(WITHDRAW_SECONDS):
                for handle in self._handles:
                    with suppress(ConflictError):
                        await handle.cancel(reason="the demo was interrupted")

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[None, None]:
        """Keep the view's table of nodes current for the length of the block."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _watch(self) -> None:
        while True:
            self.view.nodes(await self.mesh.nodes.list(include_dead=True), self.ledger.completed_by)
            await asyncio.sleep(LOOK_SECONDS)

    async def _join(self, members: Sequence[Member]) -> None:
        self.view.say(f"starting {', '.join(member.name for member in members)}, each a process of its own")
        await self.crew.start(*members)
        await self.crew.wait_joined(self.mesh, *members)
        self._members.extend(members)
        self.view.say(f"joined: {', '.join(f'{member.name} ({member.type})' for member in members)}")

    def _requests(self) -> list[TaskRequest]:
        draw = random.Random(self.plan.seed)
        priorities = list(Priority)
        run_id = new_id()
        return [
            TaskRequest(
                type="text.analyze",
                payload=file.payload,
                priority=draw.choice(priorities),
                idempotency_key=f"{run_id}:{number}",
            )
            for number, file in enumerate(self.plan.corpus.files)
        ]

    async def _follow(self, handles: Sequence[TaskHandle], late: Member | None, group: asyncio.TaskGroup) -> None:
        total = len(handles)
        self.view.progress(0, total)
        try:
            async for task in self.mesh.tasks.as_ended(handles, timeout=PATIENCE):
                self.ledger.end(task)
                if task.state is TaskState.COMPLETED:
                    self.findings.add(result_of(task))
                done = len(self.ledger.ended)
                self.view.progress(done, total)
                if late is not None and done >= LATE_AT * total:
                    group.create_task(self._join([late]))
                    late = None
                if not self.killed and self.plan.nodes > 1 and done >= KILL_AT * total:
                    await self._kill_one(done, total)
                await self._read_log(at_least=READ_EVERY)
        except DeadlineError as exc:
            self.view.say(f"gave up waiting: {exc}")

    async def _kill_one(self, done: int, total: int) -> None:
        """Kill the node that holds most: whatever it has in its hands must not be lost."""
        mine = {member.name for member in self._members}
        nodes = [node for node in await self.mesh.nodes.list() if node.id in mine]
        victim = max(nodes, key=lambda node: (node.vitals.open_tasks, node.id))
        pid = self.crew.kill(victim.id)
        self.killed.append(victim.id)
        self.view.say(
            f"killed {victim.id} (pid {pid}) with SIGKILL after {done} of {total} tasks, "
            f"while it held {victim.vitals.open_tasks}; nobody told the others"
        )

    async def _await_deaths(self) -> None:
        """Return once the mesh has judged every killed node dead."""
        patience = self.plan.session.settings.backend_options().nodes.timeout_ms * 3 / 1000
        async with self.mesh.events.subscribe(NODES_LOG) as hints:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    for name in self.killed:
                        while (await self.mesh.nodes.get(name)).verdict is not Verdict.DEAD:
                            await hints.get(timeout_ms=200)
                        self.view.say(f"the mesh has noticed: {name} is dead")

    async def _read_log(self, *, at_least: int = 0) -> None:
        self._unread += 1
        if self._unread < at_least:
            return
        self._unread = 0
        while events := await self.mesh.events.read(TASKS_LOG, after=self._cursor, limit=1_000):
            self.ledger.read(events)
            self._cursor = events[-1].cursor
