"""One history of a mesh of groups: work, faults, calm, and what must hold. The same seed gives the same history."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from meshd.errors import NotFoundError
from meshd.groups.leading import places_of
from meshd.groups.model import GroupMessage, PartialPolicy, Urgency
from meshd.nodes.model import Level
from tests.groups_model.agents import MANNERS, Kind
from tests.groups_model.machines import Process, on_loop_time
from tests.groups_model.mesh import BEGIN_MS, Mesh, persist
from tests.groups_model.weather import CALM, Weather, climate
from tests.simulator.loop import StandstillError, run

STORM_S = 30.0
QUIET_S = 20.0
"""After the last end: markers are gone in half of it, slots free in all of it."""
AFTER_DEADLINE_MS = 5_000
IDLE_MS = 13_000
"""Longest time in which a role that has nothing to lead looks without having been told."""
CROWDED = 0.15
SKILLS = ("a", "b", "c", "d", "e")
LEVELS = ("novice", "novice", "intermediate", "advanced")
MESSAGES = tuple(each.value for each in GroupMessage)
WRITES = ("announcement/", "agent/", "open/")
VICTIMS = ("node", "announcer", "hub")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """Somebody dies when something is done for the n-th time: just before, or just after."""

    type: str
    """A message's type, or how the key of a record begins that is written."""
    number: int
    victim: str
    """One of `VICTIMS`; empty: whoever does it."""
    is_done: bool
    back_after_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one history went."""

    seed: int
    breaches: tuple[str, ...]
    trace: tuple[str, ...]
    states: Mapping[str, int]
    """How often an announcement was written in each."""
    said: frozenset[str]
    """Types of messages that were sent."""
    reasons: frozenset[str]
    """Why agents were refused, or announcements failed."""
    kills: int

    def __str__(self) -> str:
        return "\n".join([*self.trace, f"seed {self.seed}:", *self.breaches])


def play(seed: int, *, kills: Sequence[Kill] | None = None, is_careless: bool = False) -> Verdict:
    """Play the history of this seed; with `kills` these instead of its own faults, in fair weather.

    With `is_careless` the store takes every write, whatever it was made after.
    """
    history = History(seed, kills=kills, is_careless=is_careless)
    try:
        run(history.live())
    except StandstillError:
        history.breaches.append("everything stands still")
    watcher = history.mesh.watcher
    return Verdict(
        seed=seed,
        breaches=(*history.breaches, *watcher.breaches),
        trace=tuple(history.lines),
        states=dict(watcher.states),
        said=frozenset(type for type, is_done in history.done if is_done and type in MESSAGES),
        reasons=frozenset(
            reason for each in watcher.announcements.values() for reason in (each.reason, *each.refused.values())
        ),
        kills=history.killed,
    )


class History:
    def __init__(self, seed: int, *, kills: Sequence[Kill] | None, is_careless: bool) -> None:
        self.lines: list[str] = []
        self.breaches: list[str] = []
        self.killed = 0
        self.mesh: Mesh
        self._rng = Random(seed)
        self._given = kills
        self._is_careless = is_careless
        self._is_crowded = self._rng.random() < CROWDED
        """Whether there is much to do for few agents."""
        self._climate = climate(self._rng) if kills is None else CALM
        self._kills: list[Kill] = []
        self.done: dict[tuple[str, bool], int] = {}
        self._names: list[str] = []
        self._detached: set[str] = set()
        self._calls: dict[asyncio.Task[Any], None] = {}
        self._told_end: dict[str, int] = {}

    async def live(self) -> None:
        rng = self._rng
        with on_loop_time(Random(rng.random())):
            weather = Weather(self._climate, Random(rng.random()))
            self.mesh = mesh = Mesh(rng=rng, weather=weather, trace=self._trace)
            mesh.store.records.is_careless = self._is_careless
            mesh.on_say = self._on_say
            mesh.on_write = self._on_write
            self._people()
            self._work()
            self._faults()
            await asyncio.sleep(STORM_S)
            self._clear_up()
            await self._until_over()
            await asyncio.sleep(QUIET_S)
            self._check()
            await mesh.close()

    def _trace(self, line: str) -> None:
        now_s = (self.mesh.now_ms() - BEGIN_MS) / 1_000 if hasattr(self, "mesh") else 0.0
        self.lines.append(f"{now_s:8.3f} {line}")

    def _people(self) -> None:
        rng, mesh = self._rng, self.mesh
        for name in range(rng.randint(0 if self._given is None else 1, 2)):
            mesh.add_hub(f"hub{name}")
        for name in range(3 if self._is_crowded else rng.randint(3, 6)):
            agents = 1 if self._is_crowded else rng.randint(1, 4)
            mesh.add_node(f"n{name}", [self._kind(f"n{name}-{each}") for each in range(agents)])
        for name in range(rng.randint(1, 3)):
            mesh.add_announcer(f"boss{name}")

    def _kind(self, name: str) -> Kind:
        rng = self._rng
        skills = rng.sample(SKILLS, rng.randint(1, 3))
        return Kind(
            name=name,
            skills={skill: rng.choice(list(Level)) for skill in skills},
            slots=1 if self._is_crowded else rng.randint(1, 3),
            manner=rng.choice(("willing", "willing", "willing", *MANNERS)),
            work_s=rng.choice([0.0, 0.05, 1.0, 4.0]),
        )

    def _work(self) -> None:
        rng = self._rng
        for number in range(rng.randint(10, 20) if self._is_crowded else rng.randint(4, 12)):
            name, boss = f"w{number}", rng.choice(list(self.mesh.announcers))
            self._names.append(name)
            wanted = {
                "skills": [f"{skill}>={rng.choice(LEVELS)}" for skill in rng.sample(SKILLS, rng.randint(1, 4))],
                "id": name,
                "max_size": rng.randint(2, 5),
                "priority": rng.choice(list(Urgency)).name.lower(),
                "partial": rng.choice(list(PartialPolicy)).value,
                "deadline": timedelta(seconds=rng.choice([2, 8, 20, 40])),
                "formation": timedelta(seconds=rng.choice([1, 6, 15])),
                "depends_on": rng.sample(self._names[:-1], 1) if number and rng.random() < 0.1 else (),
                "parent": rng.choice(self._names[:-1]) if number and rng.random() < 0.1 else "",
                "detach": bool(self.mesh.hubs) and rng.random() < 0.25,
            }
            self._detached |= {name} if wanted["detach"] else set()
            self.mesh.later(
                rng.uniform(0.5, 8 if self._is_crowded else 24),
                partial(self._call, boss, partial(self._announce, wanted)),
            )
            if rng.random() < 0.15:
                self.mesh.later(rng.uniform(1, STORM_S), partial(self._call, boss, partial(self._cancel, name)))

    def _call(self, boss: str, call: Callable[[str], Any]) -> None:
        announcer = self.mesh.announcers[boss]
        if not announcer.process.is_dead:
            task = announcer.process.run(call(boss))
            self._calls[task] = None
            task.add_done_callback(lambda done: self._calls.pop(done, None))

    async def _announce(self, wanted: Mapping[str, Any], boss: str) -> None:
        groups = self.mesh.announcers[boss].groups
        rng = self.mesh.announcers[boss].process.rng

        async def ended(_: object) -> None:
            self._told_end[wanted["id"]] = self._told_end.get(wanted["id"], 0) + 1

        told = ended if rng.random() < 0.3 else None
        await persist(lambda: groups.announce("work", **wanted, on_complete=told, on_failure=told), rng=rng)

    async def _cancel(self, name: str, boss: str) -> None:
        with suppress(NotFoundError):
            announcer = self.mesh.announcers[boss]
            await persist(lambda: announcer.groups.cancel(name, "not wanted"), rng=announcer.process.rng)

    def _faults(self) -> None:
        rng, mesh = self._rng, self.mesh
        if self._given is not None:
            self._kills = list(self._given)
            return
        for _ in range(rng.choice([0, 1, 2, 4])):
            is_message = rng.random() < 0.7
            self._kills.append(
                Kill(
                    type=rng.choice(MESSAGES if is_message else WRITES),
                    number=rng.randint(1, 6 if is_message else 40),
                    victim=rng.choice(VICTIMS) if is_message else "",
                    is_done=rng.random() < 0.5,
                    back_after_s=rng.choice([None, rng.uniform(0.1, 10)]),
                )
            )
        for _ in range(rng.choice([0, 0, 1, 3])):
            act = rng.choice([self._random_kill, self._outage, self._cut_off, self._stall, self._misjudge, self._leave])
            mesh.later(rng.uniform(1, STORM_S), act)

    def _random_kill(self) -> None:
        self._kill(self._rng.choice(VICTIMS), "", None, self._rng.choice([None, self._rng.uniform(0.1, 10)]))

    def _outage(self) -> None:
        self.mesh.cut_off("", self._rng.uniform(0.2, 6))

    def _cut_off(self) -> None:
        self.mesh.cut_off(self._rng.choice(self._living()).name, self._rng.uniform(0.2, 15))

    def _stall(self) -> None:
        self.mesh.stall(self._rng.choice(self._living()), self._rng.uniform(0.2, 15))

    def _misjudge(self) -> None:
        self.mesh.misjudge(self._rng.choice(list(self.mesh.nodes)))

    def _leave(self) -> None:
        self.mesh.leave(self._rng.choice(list(self.mesh.nodes)))

    def _living(self) -> list[Process]:
        return [process for process in self.mesh.processes if not process.is_dead]

    def _on_say(self, process: Process, body: Mapping[str, Any], is_said: bool) -> None:
        type = body.get("t")
        if type in MESSAGES:
            self._on_step(process, type, is_said, body.get("a", ""))

    def _on_write(self, process: Process, key: str, is_written: bool) -> None:
        for begin in WRITES:
            if key.startswith(begin):
                self._on_step(process, begin, is_written, key.removeprefix(begin))

    def _on_step(self, process: Process, type: str, is_done: bool, announcement: str) -> None:
        place = (type, is_done)
        self.done[place] = number = self.done.get(place, 0) + 1
        for kill in [each for each in self._kills if (each.type, each.is_done) == place and each.number <= number]:
            self._kills.remove(kill)
            self._kill(kill.victim or self._sort(process), announcement, process, kill.back_after_s, why=type)

    def _sort(self, process: Process) -> str:
        if process.name in self.mesh.nodes:
            return "node"
        return "hub" if process.name in self.mesh.hubs else "announcer"

    def _kill(
        self, victim: str, announcement: str, speaker: Process | None, back_after_s: float | None, *, why: str = "fate"
    ) -> None:
        """Kill one of a kind: who speaks if it is one, else one that has to do with the announcement, else any."""
        rng, mesh = self._rng, self.mesh
        self._trace(f"{why} kills a {victim}")
        self.killed += 1
        if victim == "node":
            known = mesh.watcher.announcements.get(announcement)
            names = list(mesh.nodes) if known is None else list(places_of(known)) or list(mesh.nodes)
            name = speaker.name if speaker is not None and speaker.name in mesh.nodes else rng.choice(names)
            mesh.kill_node(name, dead_after_s=rng.uniform(1, 12))
            revive: Callable[[], None] = partial(mesh.start_node, name)
        elif victim == "announcer" or not mesh.hubs:
            known = mesh.watcher.announcements.get(announcement)
            name = rng.choice(list(mesh.announcers)) if known is None else known.initiator
            if len(mesh.hubs) == 0:
                return
            mesh.kill_announcer(name)
            revive = partial(self._again, name)
        else:
            name = speaker.name if speaker is not None and speaker.name in mesh.hubs else rng.choice(list(mesh.hubs))
            mesh.kill_hub(name)
            revive = partial(mesh.add_hub, name)
        if back_after_s is not None:
            mesh.later(back_after_s, revive)

    def _again(self, name: str) -> None:
        if self.mesh.announcers[name].process.is_dead:
            self.mesh.add_announcer(name)

    def _clear_up(self) -> None:
        """Let nothing go wrong from now on; one hub is there, if there ever was one."""
        mesh = self.mesh
        self._trace("it clears up")
        self._kills.clear()
        mesh.weather.clear_up()
        for process in mesh.processes:
            process.wake()
        if mesh.hubs and all(process.is_dead for process in mesh.hubs.values()):
            mesh.add_hub(next(iter(mesh.hubs)))

    async def _until_over(self) -> None:
        while True:
            known = self.mesh.watcher.announcements.values()
            still = [each for each in known if not each.state.is_over]
            if not still and not self._calls:
                return
            last_ms = max((self._limit_ms(each.id) for each in known), default=0)
            if self.mesh.now_ms() > last_ms + 30_000:
                return
            await asyncio.sleep(0.5)

    def _limit_ms(self, name: str) -> int:
        """Return by when an announcement has to be over."""
        mesh, known = self.mesh, self.mesh.watcher.announcements[name]
        allowed_ms = AFTER_DEADLINE_MS
        is_orphan = name in self._detached and mesh.announcers[known.initiator].process.is_dead
        if (self._climate.lost_hints or is_orphan) and mesh.hubs:
            allowed_ms += IDLE_MS
        if self._climate.lost_calls:
            allowed_ms += 5_000
        others = [mesh.watcher.over_ms.get(each, mesh.now_ms()) for each in known.depends_on]
        is_released = not known.awaits
        due_ms = known.deadline_ms if is_released else max([known.announced_ms, *others]) + IDLE_MS
        return mesh.limit_ms(due_ms, allowed_ms)

    def _check(self) -> None:
        mesh = self.mesh
        watcher = mesh.watcher
        watcher.check_ends({name: self._limit_ms(name) for name in watcher.announcements})
        living = [node for node in mesh.nodes.values() if node.is_up]
        watcher.check_quiet((kind.name for node in living for kind in node.kinds), has_hubs=bool(mesh.hubs))
        for node in living:
            if node.unbroken:
                for kind in node.kinds:
                    watcher.check_recorded(kind.name)
        self.breaches += mesh.deeds.crowded
        told = self._told_end.items()
        self.breaches += [f"the end of {name} was told {count} times" for name, count in told if count != 1]
