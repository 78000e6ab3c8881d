"""One simulated life of a mesh: work, faults, calm, and what must hold at the end."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from meshd.errors import UnavailableError
from meshd.tasks.model import NewTask, Priority, TaskPolicy, TaskState
from meshd.tasks.routing import route_of
from tests.simulator.faults import Weather
from tests.simulator.loop import StandstillError, run
from tests.simulator.node import Effects, SimNode
from tests.simulator.store import PureStore

NODES = ("n1", "n2", "n3")
STORM_S = 30.0
CALM_S = 600.0
"""How long the mesh gets to end every task once nothing goes wrong any more."""
NODE_TIMEOUT_S = 2.0
KINDS = ("short", "short", "short", "flaky", "long")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one schedule went."""

    seed: int
    breaches: tuple[str, ...]
    trace: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([*self.trace, f"seed {self.seed}:", *self.breaches])


def simulate(seed: int, *, is_fenced: bool = True) -> Verdict:
    """Run the schedule of this seed; the same seed gives the same run."""
    world = _World(seed, is_fenced=is_fenced)
    try:
        run(world.live())
    except StandstillError:
        world.breaches.append("P5: everything stands still")
    return Verdict(seed=seed, breaches=tuple(world.breaches), trace=tuple(world.lines))


class _World:
    def __init__(self, seed: int, *, is_fenced: bool) -> None:
        self.lines: list[str] = []
        self.breaches: list[str] = []
        self._rng = Random(seed)
        self._weather = Weather(self._rng)
        self._store = PureStore(now_ms=self._now_ms, trace=self._trace, is_fenced=is_fenced)
        self._store.changed = self._ring
        self._effects = Effects()
        self._nodes: dict[str, SimNode] = {}
        self._incarnation = 0
        self._accepted: dict[str, NewTask] = {}
        self._is_calm = False

    def _now_ms(self) -> int:
        return 1_000_000 + int(asyncio.get_running_loop().time() * 1000)

    def _trace(self, line: str) -> None:
        self.lines.append(f"{asyncio.get_running_loop().time():9.3f} {line}")

    def _ring(self) -> None:
        for node in self._nodes.values():
            if self._rng.random() < 0.5:
                node.bell.set()

    async def live(self) -> None:
        for name in NODES:
            self._start(name)
        async with asyncio.TaskGroup() as group:
            for number in range(self._rng.randrange(5, 25)):
                group.create_task(self._submit(number))
            for _ in range(self._rng.randrange(6)):
                group.create_task(self._fault())
            group.create_task(self._keep_up())
            await asyncio.sleep(STORM_S)
            self._trace("world    all faults are over")
            self._weather.clear_up()
            self._is_calm = True
            await self._until_ended()
        for node in list(self._nodes.values()):
            if node.is_up:
                await node.stop()
        self._judge()

    def _start(self, name: str) -> None:
        self._incarnation += 1
        self._store.reclaim(name, up_to_incarnation=self._incarnation - 1)
        self._trace(f"{name:8} starts as {self._incarnation}")
        self._nodes[name] = SimNode(
            name,
            incarnation=self._incarnation,
            store=self._store,
            weather=self._weather,
            rng=self._rng,
            effects=self._effects,
            trace=self._trace,
        )

    async def _submit(self, number: int) -> None:
        await asyncio.sleep(self._rng.uniform(0, STORM_S * 0.8))
        kind = "killer" if self._rng.random() < 0.05 else self._rng.choice(KINDS)
        new = NewTask(
            id=f"{kind}-{number}",
            type=kind,
            payload=b"{}",
            route=route_of(kind),
            priority=self._rng.choice(list(Priority)),
            policy=TaskPolicy(max_attempts=50, max_crashes=3 if kind == "killer" else 50, backoff_ms=100),
            expires_in_ms=self._rng.choice([None, None, None, 4_000]),
            depends_on=self._parents(),
            runs_anyway=self._rng.random() < 0.3,
            idempotency_key=f"key-{number}",
        )
        while new.id not in self._accepted:
            with suppress(UnavailableError):
                await self._weather.carry(lambda: self._store.submit(new), stalled=_never)
                self._accepted[new.id] = new

    def _parents(self) -> tuple[str, ...]:
        """Draw what a new task waits for, among what was accepted before."""
        known = sorted(self._accepted)
        return tuple(self._rng.sample(known, min(len(known), self._rng.choice([0, 0, 1, 2, 3]))))

    async def _fault(self) -> None:
        await asyncio.sleep(self._rng.uniform(0, STORM_S * 0.7))
        node = self._nodes[self._rng.choice(NODES)]
        match self._rng.choice(["kill", "stall", "outage"]):
            case "kill" if node.is_up:
                node.kill()
            case "stall" if node.is_up:
                await node.stall(self._rng.uniform(0.1, 8))
            case _:
                await self._weather.store_outage(self._rng.uniform(0.1, 4))

    async def _keep_up(self) -> None:
        """Notice the dead, by their silence or by their leases, and start them again, as a supervisor does."""
        while not (self._is_calm and self._is_over()):
            await asyncio.sleep(0.5)
            for name, node in list(self._nodes.items()):
                if node.is_up:
                    continue
                if self._rng.random() < 0.5:
                    await asyncio.sleep(NODE_TIMEOUT_S)
                    self._store.reclaim(name, up_to_incarnation=node.incarnation)
                await asyncio.sleep(self._rng.uniform(0, 3))
                self._start(name)

    def _is_over(self) -> bool:
        return all(task.state.is_terminal for task in self._store.tasks.values())

    async def _until_ended(self) -> None:
        end = asyncio.get_running_loop().time() + CALM_S
        while not self._is_over():
            if asyncio.get_running_loop().time() > end:
                self.breaches += [
                    f"P5: {t.id} is still {t.state}" for t in self._store.tasks.values() if not t.state.is_terminal
                ]
                for task_id, task in list(self._store.tasks.items()):
                    if not task.state.is_terminal:
                        del self._store.tasks[task_id]
                return
            await asyncio.sleep(0.5)

    def _judge(self) -> None:
        effects, breaches = self._effects, self.breaches
        for task_id in self._accepted:
            task = self._store.tasks.get(task_id)
            if task is None:
                if not any(task_id in breach for breach in breaches):
                    breaches.append(f"P1: {task_id} was accepted and is gone")
                continue
            completions = self._store.completions.get(task_id, 0)
            if completions != (task.state is TaskState.COMPLETED):
                breaches.append(f"P3: {task_id} is {task.state} with {completions} completions")
            if task.state is TaskState.COMPLETED and task.token not in effects.finished.get(task_id, set()):
                breaches.append(f"P4: {task_id} was completed by a holder that had not finished it")
        breaches += [f"{task_id} killed {kills} nodes" for task_id, kills in effects.kills.items() if kills > 3]
        breaches += [f"{task_id} was hurt by {times} killers" for task_id, times in effects.hurt.items() if times > 1]
        breaches += [f"suspect not alone: {line}" for line in effects.together]
        breaches += [f"I6: {line}" for line in effects.early]
        breaches += [f"over capacity: {name}" for name in effects.crowds]
        breaches += [
            f"{name} ended with {node.worker.open_tasks} open tasks"
            for name, node in self._nodes.items()
            if node.worker.open_tasks
        ]


async def _never() -> None:
    return
