"""Probers of a whole mesh on virtual time, with in-memory links and a hub that only hears beats."""

import heapq
import itertools
from collections.abc import Callable, Collection, Iterable
from functools import partial
from random import Random

from meshd.nodes.model import Sightings
from meshd.nodes.partitions import Partition, partitions
from meshd.nodes.probe_model import (
    Event,
    Joined,
    Members,
    Peer,
    ProbeOptions,
    Received,
    Send,
    Suspects,
    Tick,
    View,
    Vouch,
)
from meshd.nodes.probing import Probing
from meshd.peers.in_memory import InMemoryLinks, Network, Weather

BEAT_S, TIMEOUT_S, SWEEP_S = 1.0, 4.0, 0.5


class Time:
    """Jumps from one thing that is to happen to the next."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []

    def later(self, delay: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now + delay, next(self._order), callback))

    def run(self, until: float) -> None:
        while self._agenda and self._agenda[0][0] <= until:
            self.now, _, callback = heapq.heappop(self._agenda)
            callback()
        self.now = until


class SimulatedNode:
    """One prober and its links."""

    def __init__(self, mesh: "SimulatedMesh", name: str, rng: Random) -> None:
        self.name = name
        self.mesh = mesh
        self.probing = Probing(name, mesh.options, rng)
        self.links: InMemoryLinks = mesh.network.links(address_of(name))
        self.links.listen(lambda address, payload: self.feed(Received(address, payload)))
        self.is_up = True
        self._timer = float("inf")

    def feed(self, event: Event) -> None:
        if not self.is_up:
            return
        for action in self.probing.step(event, self.mesh.time.now * 1000):
            match action:
                case Send(address=address, payload=payload):
                    self.links.send(address, payload)
                case Vouch(node=node):
                    self.mesh.hub.vouch(self.name, node)
                case _:
                    pass
        due = self.probing.due
        if due is not None and due / 1000 < self._timer:
            self._timer = due / 1000
            self.mesh.time.later(max(0.0, self._timer - self.mesh.time.now), self._tick)

    def _tick(self) -> None:
        if self.mesh.time.now >= self._timer:
            self._timer = float("inf")
            self.feed(Tick())

    def view(self) -> View:
        return self.probing.view()


class Hub:
    """The store's part, as simple as it can be: silent and vouched for is partitioned, silent alone is dead."""

    def __init__(self, mesh: "SimulatedMesh") -> None:
        self._mesh = mesh
        self.cut: set[str] = set()
        self.heard: dict[str, float] = {}
        self.vouched: dict[str, float] = {}
        self.dead: dict[str, float] = {}
        """Since when."""

    def beat(self, node: SimulatedNode) -> None:
        now = self._mesh.time.now
        self._mesh.time.later(BEAT_S, lambda: self.beat(node))
        if node.is_up and node.name not in self.cut:
            self.heard[node.name] = now
            self.dead.pop(node.name, None)
            node.feed(Suspects([name for name, at in self.heard.items() if now - at > 2 * BEAT_S]))

    def vouch(self, voucher: str, node: str) -> None:
        if voucher not in self.cut:
            self.vouched[node] = self._mesh.time.now

    def sweep(self) -> None:
        now = self._mesh.time.now
        self._mesh.time.later(SWEEP_S, self.sweep)
        for name in self.heard:
            if self.verdict(name) == "dead":
                self.dead.setdefault(name, now)

    def verdict(self, name: str) -> str:
        now = self._mesh.time.now
        if now - self.heard[name] <= TIMEOUT_S:
            return "alive"
        return "partitioned" if now - self.vouched.get(name, -TIMEOUT_S) < TIMEOUT_S else "dead"


class SimulatedMesh:
    """Nodes that all know each other; every chance comes from one seed."""

    def __init__(
        self, count: int, *, seed: int, weather: Weather | None = None, options: ProbeOptions | None = None
    ) -> None:
        self.rng = Random(seed)
        self.time = Time()
        self.options = options or ProbeOptions()
        self.network = Network(self.time.later, Random(seed + 1), weather or Weather())
        self.hub = Hub(self)
        names = [f"n{number}" for number in range(1, count + 1)]
        self.nodes = {name: SimulatedNode(self, name, Random(f"{seed} {name}")) for name in names}
        self.know(names)
        for node in self.nodes.values():
            node.feed(Joined(1))
            self.time.later(self.rng.uniform(0, BEAT_S), partial(self.hub.beat, node))
        self.hub.sweep()

    def know(self, names: Iterable[str]) -> None:
        """Tell every prober who is a member."""
        peers = {name: Peer(address_of(name), 1) for name in names}
        for node in self.nodes.values():
            node.feed(Members(peers))

    def run(self, seconds: float) -> None:
        self.time.run(self.time.now + seconds)

    def kill(self, name: str) -> None:
        self.nodes[name].is_up = False

    def split(self, part: Collection[str]) -> None:
        """Let nothing through between `part` and the rest, in either direction."""
        for one in part:
            for other in self.nodes.keys() - set(part):
                self.network.cut_both(address_of(one), address_of(other))

    def cut(self, source: str, target: str) -> None:
        self.network.cut(address_of(source), address_of(target))

    def heal(self, source: str, target: str) -> None:
        self.network.heal(address_of(source), address_of(target))

    def sightings(self) -> dict[str, Sightings]:
        """Return what each prober would report, its times being the hub's."""
        return {name: sightings_of(node.view()) for name, node in self.nodes.items() if node.is_up}

    def partitions(self) -> list[Partition]:
        """Return the parts as they are told, the hub's side first."""
        on_hub = {name for name in self.nodes if self.hub.verdict(name) == "alive"}
        return partitions(list(self.nodes), self.sightings(), on_hub=on_hub)


def sightings_of(view: View) -> Sightings:
    return Sightings(
        reached=frozenset(view.reached),
        unreached={node: round(since) for node, since in view.unreached.items()},
        round_trip_ms=view.reached,
    )


def address_of(name: str) -> str:
    return f"{name}:1"
