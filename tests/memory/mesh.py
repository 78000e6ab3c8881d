"""A hub and some nodes on one thread: stores, and a wire that loses, repeats, delays and reorders what is sent.

Nodes sync by the port alone: they push what they wrote, read changes from where they stand, and compare everything with
a store that does not know them (any more).
"""

from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar, cast

from meshd.memory.hybrid_clock import Time, after, next_time
from meshd.memory.joining import last_of, observed_in
from meshd.memory.merging import Body
from meshd.memory.model import (
    MAX_BATCH,
    Batch,
    Dot,
    Flag,
    Header,
    Item,
    Kind,
    Member,
    MemoryLimits,
    NodeClock,
    Policy,
    Pushed,
    StoreClock,
    Version,
)
from meshd.memory.sealing import Seal
from tests.memory.oracle import Changes, Oracle
from tests.memory.reference import ReferenceStore

T = TypeVar("T")
EVICT_MS = 60_000
SEAL = Seal("a mesh of tests")
OpenStore = Callable[..., ReferenceStore]


def run(call: Coroutine[Any, Any, T]) -> T:
    """Return what a call returns that waits for nothing."""
    try:
        call.send(None)
    except StopIteration as stop:
        return cast("T", stop.value)
    raise AssertionError("a pure store waited")


@dataclass(frozen=True, slots=True)
class Message:
    """Something on the wire."""

    ends: tuple[str, str]
    text: str
    arrive: Callable[[], None]


@dataclass(slots=True, kw_only=True)
class Site:
    """A store, and who it belongs to."""

    name: str
    store: ReferenceStore
    skew_ms: int = 0
    time: Time = field(default_factory=lambda: Time(0))
    seq: int = 0
    sent: int = 0
    """Up to where the hub has this node's own versions, as far as it knows."""
    generation: str = ""
    hub: NodeClock = field(default_factory=dict[str, int])
    """What the hub of that generation has, as far as it knows."""
    shared: int = 0
    """Revision of its store up to which the hub has everything."""
    places: dict[str, tuple[str, int]] = field(default_factory=dict[str, "tuple[str, int]"])
    """Per site: generation and revision up to which this one has every change."""
    reads: dict[str, Item] = field(default_factory=dict[str, Item])
    """What somebody on this node read some time ago, and may write over yet."""

    @property
    def actor(self) -> str:
        return f"{self.name}~1"


class Mesh:
    """What happens when; every choice is drawn from `rng`."""

    def __init__(self, rng: Random, *, nodes: int, open_store: OpenStore = ReferenceStore) -> None:
        self.rng = rng
        self.now_ms = 1_000_000
        self.oracle = Oracle()
        self.wire: list[Message] = []
        self.strays: list[Message] = []
        """Copies of messages that arrive much later."""
        self.away: set[str] = set()
        self.is_calm = False
        self.lines: list[str] = []
        self.flushes = 0
        self._open_store = open_store
        self._limits = MemoryLimits(evict_after_ms=EVICT_MS, max_drift_ms=3_600_000)
        names = ("hub", *(f"n{at + 1}" for at in range(nodes)))
        self.sites = {name: Site(name=name, store=open_store(self._now, limits=self._limits)) for name in names}
        self.hub = self.sites["hub"]
        self.nodes = [self.sites[name] for name in names[1:]]
        for node in self.nodes:
            node.skew_ms = rng.randrange(-3_000, 3_000)

    def _now(self) -> int:
        return self.now_ms

    def trace(self, who: str, what: str) -> None:
        self.lines.append(f"{self.now_ms - 1_000_000:9} {who:4} {what}")

    def write(
        self,
        site: Site,
        key: str,
        over: Item,
        body: Body | None,
        changes: Changes,
        *,
        kind: Kind = Kind.VALUE,
        policy: str = Policy.LATEST_WINS,
        expires_ms: int = 0,
    ) -> Version:
        """Have a node write over what it read."""
        for version in over:
            site.time = after(site.time, Time(version.header.ms, version.header.tick))
        site.time = next_time(site.time, self.now_ms + site.skew_ms)
        site.seq += 1
        header = Header(
            actor=site.actor,
            seq=site.seq,
            observed=observed_in(over, actor=site.actor),
            ms=site.time.ms,
            tick=site.time.tick,
            key=key,
            flags=Flag.TOMBSTONE if body is None else Flag.NONE,
            expires_ms=expires_ms,
            kind=kind,
            policy=policy,
            node=site.name,
        )
        version = SEAL.make(header, b"" if body is None else body(header))
        self.oracle.note(version, over, changes)
        batch = Batch(actor=site.actor, first=site.seq, last=site.seq, versions=[version])
        pushed = run(site.store.push(batch))
        self.trace(site.name, f"writes {_name(version)} over {_names(over)}: {pushed.replies[0].applied}")
        return version

    def send(self, source: Site, target: Site, text: str, arrive: Callable[[], None]) -> None:
        """Put something on the wire, once, twice, or not at all, and perhaps a copy where it strays."""
        message = Message((source.name, target.name), text, arrive)
        self.wire += [message] * (1 if self.is_calm else self.rng.choice((0, 1, 1, 1, 2)))
        if self.rng.random() < 0.1:
            self.strays.append(message)

    def deliver(self) -> None:
        """Let one message arrive, whichever; or be lost, if one of its ends is away."""
        message = self.wire.pop(self.rng.randrange(len(self.wire)))
        if self.away.isdisjoint(message.ends):
            self.trace(message.ends[1], f"gets {message.text}")
            message.arrive()

    def deliver_all(self) -> None:
        while self.wire:
            self.deliver()

    def push(self, node: Site) -> None:
        """Send the hub what this node wrote since, after what others wrote over it and the hub may not have yet.

        Numbers left out of a batch are superseded: by something the hub must have, or it would know of a loss.
        """
        others, _ = run(node.store.newer({**node.hub, node.actor: node.seq}))
        own = [version for _, item in sorted(node.store.items.items()) for version in item]
        unsent = sorted(
            (each for each in own if each.header.actor == node.actor and each.header.seq > node.sent),
            key=lambda version: version.header.seq,
        )
        batched = unsent[:MAX_BATCH]
        last = node.seq if len(unsent) <= MAX_BATCH else batched[-1].header.seq
        batch = Batch(actor=node.actor, first=node.sent + 1, last=last, versions=batched)

        def arrive() -> None:
            run(self.hub.store.absorb(others))
            pushed = run(self.hub.store.push(batch))
            self.send(self.hub, node, f"hub has {pushed.seq}", lambda: self._learn(node, pushed))

        self.send(node, self.hub, f"batch {batch.first} to {batch.last}: {_names([*others, *batched])}", arrive)

    def _learn(self, node: Site, pushed: Pushed) -> None:
        node.sent = pushed.seq
        if pushed.generation != node.generation:
            node.generation, node.hub, node.shared = pushed.generation, {}, 0

    def pull(self, node: Site, source: Site) -> None:
        """Ask another site for what changed there, or for everything if it does not know this node."""
        generation, revision = node.places.get(source.name, ("", 0))
        member = Member(node=node.name, actor=node.actor, revision=revision, seen_ms=0)
        is_known = run(source.store.report(member))
        clock = run(source.store.clock())
        if not is_known or generation != clock.generation:
            items = dict(source.store.items)
            self.send(
                source, node, f"everything up to {clock.revision}", lambda: self._compare(node, source, items, clock)
            )
            return
        change = run(source.store.changes(after=revision, limit=self.rng.choice((1, 5, 1_000))))

        def arrive() -> None:
            at = node.places.get(source.name, ("", 0))
            is_whole = at[0] == change.generation and at[1] >= change.after
            self._absorb(node, change.versions, clock.clock if is_whole and not change.more else None)
            if source is self.hub and change.generation == node.generation:
                node.hub = clock.clock
            if is_whole and at[1] < change.revision:
                node.places[source.name] = (change.generation, change.revision)

        self.send(source, node, f"changes {change.after} to {change.revision}: {_names(change.versions)}", arrive)

    def _absorb(self, node: Site, versions: Sequence[Version], clock: NodeClock | None) -> None:
        for version in versions:
            node.time = after(node.time, Time(version.header.ms, version.header.tick))
        run(node.store.absorb(versions, clock=clock))

    def _compare(self, node: Site, source: Site, items: dict[str, Item], clock: StoreClock) -> None:
        versions = [version for item in items.values() for version in item]
        self._absorb(node, versions, None)
        theirs = {version.dot for version in versions}
        for key, item in list(node.store.items.items()):
            stale = [v for v in item if v.dot not in theirs and clock.clock.get(v.header.actor, 0) >= v.header.seq]
            if stale and len(stale) == len(item):
                run(node.store.drop({key: tuple(version.dot for version in item)}))
                self.trace(node.name, f"drops {_names(item)}")
            elif stale:
                self._rewrite(node, key, item, stale)
        self._absorb(node, (), clock.clock)
        node.places[source.name] = (clock.generation, clock.revision)
        if source is self.hub:
            self._refill(node, items, clock)

    def _refill(self, node: Site, items: dict[str, Item], clock: StoreClock) -> None:
        """Give the hub what it has lost, and take away what this node knows to be superseded."""
        if clock.generation != node.generation:
            node.generation, node.shared = clock.generation, 0
        node.hub = clock.clock
        own = run(node.store.clock()).clock
        held = {version.dot for item in node.store.items.values() for version in item}
        obsolete = {
            key: {v.dot for v in item if v.dot not in held and own.get(v.header.actor, 0) >= v.header.seq}
            for key, item in items.items()
        }
        versions, _ = run(node.store.newer(clock.clock))

        def arrive() -> None:
            if self.hub.store.generation == clock.generation:
                self._absorb(self.hub, versions, own)
                for key, dots in obsolete.items():
                    self._clear(node, key, dots)

        self.send(node, self.hub, f"all it lacks: {_names(versions)}", arrive)

    def _clear(self, node: Site, key: str, dots: Collection[Dot]) -> None:
        """Take versions that a node knows to be superseded out of the hub."""
        item = self.hub.store.items.get(key, ())
        stale = [version for version in item if version.dot in dots]
        if stale and len(stale) == len(item):
            run(self.hub.store.drop({key: tuple(version.dot for version in item)}))
            self.trace("hub", f"drops {_names(item)}")
        elif stale:
            self._rewrite(node, key, item, stale)

    def flush(self) -> None:
        """Have the hub lose everything."""
        self.flushes += 1
        self.trace("hub", "loses everything")
        self.hub.store = self._open_store(self._now, limits=self._limits, generation=f"g{self.flushes + 1}")

    def audit(self, node: Site) -> None:
        """Compare a node with the hub in full if their digests differ though each has what the other has."""
        if run(node.store.digest()).buckets != run(self.hub.store.digest()).buckets:
            node.places.pop(self.hub.name, None)
            self.pull(node, self.hub)

    def _rewrite(self, node: Site, key: str, item: Item, stale: Collection[Version]) -> None:
        """Replace what is known to be superseded together with what stands beside it, by the latest of that."""
        gone = {version.dot for version in stale}
        kept = max((version for version in item if version.dot not in gone), key=lambda each: each.header.time)
        header = kept.header

        def same(_: Header) -> bytes:
            return kept.body

        self.write(
            node,
            key,
            item,
            None if header.is_tombstone else same,
            {},
            kind=Kind(header.kind),
            policy=header.policy,
            expires_ms=header.expires_ms,
        )

    def note_hub(self, node: Site) -> None:
        """Let a node know whether the hub has everything it has."""
        hub, own = run(self.hub.store.clock()).clock, run(node.store.clock())
        if all(hub.get(actor, 0) >= seq for actor, seq in own.clock.items()):
            node.shared = own.revision

    def sweep(self, site: Site) -> None:
        """Have a site collect what is gone; a node keeps what the hub has not received, however long that takes."""
        if site is not self.hub:
            run(site.store.report(Member(node="hub", actor="", revision=site.shared, seen_ms=0)))
        self.trace(site.name, f"collects {run(site.store.sweep())}")

    def crash(self, node: Site) -> None:
        """Kill a node's process: only what its store committed is left."""
        self.trace(node.name, "crashes")
        node.reads.clear()
        node.sent, node.hub = 0, {}
        node.places = {name: place for name, place in node.places.items() if self.rng.random() < 0.5}
        node.seq = run(node.store.clock()).clock.get(node.actor, 0)
        times = [Time(v.header.ms, v.header.tick) for item in node.store.items.values() for v in item]
        node.time = max(times, default=Time(0))


def overlooked(item: Item, over: Item, *, actor: str) -> bool:
    """Return whether this actor wrote what whoever read `over` had not seen."""
    return last_of(item, actor=actor) > last_of(over, actor=actor)


def _name(version: Version) -> str:
    return f"{version.key} {version.header.actor}:{version.header.seq}{'†' if version.header.is_tombstone else ''}"


def _names(versions: Sequence[Version]) -> str:
    return ", ".join(map(_name, versions)) or "nothing"
