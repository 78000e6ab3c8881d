"""A whole mesh of groups in one process: nodes with agents, announcers and hubs, that can die and come back."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from meshd.errors import ConflictError, UnavailableError
from meshd.events import Hint
from meshd.groups.announcements import Announcements, StoreClock
from meshd.groups.hub import Hub
from meshd.groups.leading import HubOptions
from meshd.groups.lives import Census
from meshd.groups.participant import Participant, ParticipantOptions
from meshd.groups.reading import GroupOptions
from meshd.groups.registry import Registry
from meshd.groups.service import Groups
from meshd.groups.steps import Rules
from meshd.groups.wire import HUBS
from meshd.nodes.store import NODES_LOG
from meshd.runtime.duties import GroupsRole
from meshd.runtime.roles import Rounds
from meshd.settings_roles import RolesSettings
from tests.groups_model.agents import Actor, Deeds, Kind
from tests.groups_model.machines import Process
from tests.groups_model.watcher import Watcher
from tests.groups_model.weather import Weather
from tests.support.memory_store import MemoryStore, MemorySubscription

RULES = Rules()
SETTINGS = RolesSettings()
BEGIN_MS = 1_700_000_000_000


@dataclass(slots=True, kw_only=True)
class Node:
    """A node through all its lives."""

    name: str
    kinds: Sequence[Kind]
    incarnation: int = 0
    process: Process | None = None
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    unbroken: bool = True
    """Whether its process and membership are the first and only ones."""

    @property
    def is_up(self) -> bool:
        return self.process is not None and not self.process.is_dead


@dataclass(slots=True, kw_only=True)
class Announcer:
    name: str
    process: Process
    groups: Groups


class Mesh:
    """All of it."""

    def __init__(self, *, rng: Random, weather: Weather, trace: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.rng = rng
        self.weather = weather
        self.trace = trace
        self.store = MemoryStore(self.now_ms)
        self.store.events.deliver = self._deliver
        self.watcher = Watcher(self.store.records, trace)
        self.deeds = Deeds(say=trace)
        self.nodes: dict[str, Node] = {}
        self.announcers: dict[str, Announcer] = {}
        self.hubs: dict[str, Process] = {}
        self.members: dict[str, int] = {}
        """Who is here, as the mesh sees it: node → incarnation."""
        self.unled: list[tuple[int, int]] = []
        """When nobody was there to lead, from and to."""
        self.on_say: Callable[[Process, Mapping[str, Any], bool], None] = lambda process, body, is_said: None
        self.on_write: Callable[[Process, str, bool], None] = lambda process, key, is_written: None
        self.processes: list[Process] = []
        self._unable: dict[str, None] = {}
        self._unled_since_ms: int | None = None
        self._lives = 0
        self._aside: dict[asyncio.Task[None], None] = {}

    def now_ms(self) -> int:
        return BEGIN_MS + round(self._loop.time() * 1_000)

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        self._loop.call_later(seconds, act)

    def add_node(self, name: str, kinds: Sequence[Kind]) -> None:
        self.nodes[name] = Node(name=name, kinds=kinds)
        self.start_node(name)

    def start_node(self, name: str) -> None:
        """Begin a life of the node, as a later incarnation."""
        node = self.nodes[name]
        if node.is_up:
            return
        node.unbroken = node.incarnation == 0
        node.process = self._process(name)
        node.leaving = asyncio.Event()
        self._join(node)
        self.trace(f"{name} begins life {node.incarnation}")
        node.process.run(self._live(node, node.process, node.leaving))

    def leave(self, name: str) -> None:
        """Let a node leave as it should."""
        node = self.nodes[name]
        if node.is_up:
            self.trace(f"{name} leaves")
            node.leaving.set()

    def kill_node(self, name: str, *, dead_after_s: float) -> None:
        """Kill it; the mesh notices later."""
        node = self.nodes[name]
        if node.process is None or node.process.is_dead:
            return
        self.trace(f"{name} is killed")
        node.process.kill()
        incarnation = node.incarnation
        self.later(dead_after_s, lambda: self._verdict(name, incarnation, "dead"))

    def misjudge(self, name: str) -> None:
        """Take a living node for dead; it joins anew once it hears of that."""
        node = self.nodes[name]
        if not node.is_up or self.members.get(name) != node.incarnation:
            return
        self._verdict(name, node.incarnation, "dead")
        process = node.process

        def rejoin() -> None:
            if node.process is process and node.is_up:
                node.unbroken = False
                self._join(node)

        self.later(self.rng.uniform(0.5, 8), rejoin)

    def add_announcer(self, name: str) -> None:
        process = self._process(name)
        announcements, registry = self._kept(process)

        async def live() -> frozenset[str]:
            return frozenset(self.members)

        groups = Groups(
            announcements,
            registry,
            process.events,
            options=GroupOptions(initiator=name, rules=RULES, max_size=6),
            make_hub=lambda: self._hub(process, announcements, registry),
            live=live,
        )
        self.announcers[name] = Announcer(name=name, process=process, groups=groups)

    def kill_announcer(self, name: str) -> None:
        self.trace(f"{name} is killed")
        self.announcers[name].process.kill()

    def add_hub(self, name: str) -> None:
        if name in self.hubs and not self.hubs[name].is_dead:
            return
        self.trace(f"{name} plays the role")
        process = self.hubs[name] = self._process(name)
        self._able_again(name)
        announcements, registry = self._kept(process)
        role = GroupsRole(lambda: self._hub(process, announcements, registry), topics=(HUBS,))
        process.run(self._play(role, process))

    def kill_hub(self, name: str) -> None:
        self.trace(f"{name} is killed")
        self.hubs[name].kill()
        self.unable(name)

    def cut_off(self, name: str, seconds: float) -> None:
        """Let one process, or with an empty name all, not reach the store for a while."""
        self.trace(f"{name or 'everybody'} is cut off for {seconds:.1f} s")
        self.weather.cut_off(name)
        for process in self.processes:
            if name in ("", process.name):
                for subscription in process.subscriptions:
                    subscription.break_off()
        self._unable_for(name, seconds)
        self.later(seconds, lambda: self.weather.join(name))

    def stall(self, process: Process, seconds: float) -> None:
        """Let a process stand still for a while."""
        if not process.is_dead:
            self.trace(f"{process.name} stands still for {seconds:.1f} s")
            process.stall(seconds)
            self._unable_for(process.name, seconds)

    def unable(self, name: str) -> None:
        """From now on this hub, or with an empty name any, cannot lead."""
        if name in self._leaders or not name:
            self._unable[name] = None
        self._see_who_leads()

    async def close(self) -> None:
        """End everything at once."""
        for process in self.processes:
            process.kill()
        for _ in range(20):
            await asyncio.sleep(0)
        for process in self.processes:
            for task in process.tasks:
                self.watcher.breach(f"{process.name} was killed and goes on with {task}")

    def limit_ms(self, from_ms: int, allowed_ms: int) -> int:
        """Return by when something due then has happened, allowing so long with a hub that can lead."""
        since = self._unled_since_ms
        spans = [*self.unled, *([] if since is None else [(since, self.now_ms())])]
        for begun_ms, ended_ms in sorted(spans):
            if begun_ms <= from_ms + allowed_ms and ended_ms > from_ms:
                from_ms = ended_ms
        return from_ms + allowed_ms

    def _unable_for(self, name: str, seconds: float) -> None:
        if name in self._leaders or not name:
            process = self.hubs.get(name)
            self.unable(name)

            def again() -> None:
                if process is None or not process.is_dead:
                    self._able_again(name)

            self.later(seconds, again)

    @property
    def _leaders(self) -> Sequence[str]:
        """Who can lead: the hubs, or where there never was one each announcer what it announced."""
        return list(self.hubs or self.announcers)

    def _able_again(self, name: str) -> None:
        self._unable.pop(name, None)
        self._see_who_leads()

    def _see_who_leads(self) -> None:
        able = [name not in self._unable for name in self._leaders]
        is_led = "" not in self._unable and (any(able) if self.hubs else all(able))
        if is_led and self._unled_since_ms is not None:
            self.unled.append((self._unled_since_ms, self.now_ms()))
            self._unled_since_ms = None
        elif not is_led and self._unled_since_ms is None:
            self._unled_since_ms = self.now_ms()

    def _process(self, name: str) -> Process:
        self._lives += 1
        process = Process(name, store=self.store, weather=self.weather, rng=Random(f"{self.rng.random()}"))
        process.on_say = lambda body, is_said: self.on_say(process, body, is_said)
        process.on_write = lambda key, is_written: self.on_write(process, key, is_written)
        self.processes.append(process)
        return process

    def _kept(self, process: Process) -> tuple[Announcements, Registry]:
        announcements = Announcements(process.records, rng=process.rng)
        announcements.clock = StoreClock(self._loop.time)
        return announcements, Registry(process.records, rng=process.rng)

    def _hub(self, process: Process, announcements: Announcements, registry: Registry) -> Hub:
        async def here() -> Mapping[str, int]:
            await process.records.get("nodes")
            return dict(self.members)

        return Hub(
            announcements,
            registry,
            process.events,
            census=Census(topic=NODES_LOG, here=here),
            name=f"{process.name}.{self._lives}",
            options=HubOptions(rules=RULES),
            rng=process.rng,
        )

    async def _live(self, node: Node, process: Process, leaving: asyncio.Event) -> None:
        announcements, registry = self._kept(process)
        participant = Participant(
            announcements,
            registry,
            process.events,
            node=node.name,
            incarnation=lambda: node.incarnation,
            options=ParticipantOptions(rules=RULES),
            rng=process.rng,
        )
        actors = [Actor(kind, process, self.deeds, process.rng) for kind in node.kinds]
        async with participant.taking_part(actors, grace_s=2.0, hurry=asyncio.Event()):
            await leaving.wait()
        self._verdict(node.name, node.incarnation, "left")
        process.kill()

    async def _play(self, role: GroupsRole, process: Process) -> None:
        rounds = Rounds(role, None, SETTINGS)
        with role.playing():
            while True:
                try:
                    async with process.events.subscribe(*role.topics) as hints:
                        await rounds.run(hints)
                except UnavailableError:
                    rounds.soon()
                await asyncio.sleep(process.rng.uniform(0.1, 0.5))

    def _join(self, node: Node) -> None:
        node.incarnation += 1
        self.members[node.name] = node.incarnation
        self._tell("joined", node.name, node.incarnation)

    def _verdict(self, name: str, incarnation: int, verdict: str) -> None:
        if self.members.get(name) == incarnation:
            self.trace(f"{name} of life {incarnation} is {verdict}")
            del self.members[name]
            self._tell(verdict, name, incarnation)

    def _tell(self, event: str, name: str, incarnation: int) -> None:
        body = {"event": event, "node": name, "incarnation": incarnation}
        task = self._loop.create_task(self._append(body))
        self._aside[task] = None
        task.add_done_callback(lambda done: self._aside.pop(done, None))

    async def _append(self, body: Mapping[str, Any]) -> None:
        await self.store.events.append(NODES_LOG, body)

    def _deliver(self, subscription: MemorySubscription, hint: Hint) -> None:
        for delay_s in self.weather.hint_delays():
            if delay_s:
                self.later(delay_s, lambda: subscription.hear(hint))
            else:
                subscription.hear(hint)


async def persist(call: Callable[[], Any], *, rng: Random) -> Any:
    """Make a call until the store answers; `None` when what it asks cannot be."""
    while True:
        try:
            return await call()
        except UnavailableError:
            await asyncio.sleep(rng.uniform(0.1, 0.5))
        except ConflictError:
            return None
