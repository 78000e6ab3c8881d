"""One seeded life of a memory: writes and faults, then calm, then what must hold."""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from meshd.memory.digests import digest_of
from meshd.memory.merging import counted, merged_map, plain, set_changed
from meshd.memory.model import Dot, Item, Kind, Policy
from meshd.memory.policies import resolve
from tests.memory.mesh import EVICT_MS, Mesh, OpenStore, Site, overlooked, run
from tests.memory.oracle import GONE, Changes
from tests.memory.reference import ReferenceStore

PLAIN = ("a", "b", "c")
STEPS = range(40, 160)
ROUNDS = 12
"""Within how many exchanges a calm mesh must agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one schedule went."""

    seed: int
    breaches: tuple[str, ...]
    trace: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([*self.trace, f"seed {self.seed}:", *self.breaches])


def simulate(seed: int, *, open_store: OpenStore = ReferenceStore) -> Verdict:
    """Run the schedule of this seed; the same seed gives the same run."""
    rng = Random(seed)
    mesh = Mesh(rng, nodes=rng.randrange(2, 5), open_store=open_store)
    for _ in range(rng.choice(STEPS)):
        _step(mesh)
    _calm_down(mesh)
    return Verdict(seed=seed, breaches=tuple(_judge(mesh)), trace=tuple(mesh.lines))


def _step(mesh: Mesh) -> None:
    rng = mesh.rng
    node = rng.choice(mesh.nodes)
    mesh.now_ms += rng.choice((0, 0, 1, 50, 500))
    happening = rng.random()
    if happening < 0.30:
        _write(mesh, node)
    elif happening < 0.62:
        _talk(mesh, node)
    elif happening < 0.86:
        if mesh.wire:
            mesh.deliver()
    elif happening < 0.90:
        _come_or_go(mesh, node)
    elif happening < 0.93:
        mesh.crash(node)
    elif happening < 0.96:
        mesh.sweep(rng.choice(list(mesh.sites.values())))
    elif happening < 0.985:
        _exchange(mesh)
    elif happening < 0.99:
        mesh.flush()
    else:
        mesh.now_ms += rng.choice((5_000, EVICT_MS + 1))
        mesh.trace("all", "time passes")


def _exchange(mesh: Mesh) -> None:
    """Let all who are here exchange what they have, while older messages are still on their way, and collect."""
    mesh.trace("all", "exchange what they have")
    late, mesh.wire = mesh.wire, []
    for _ in range(2):
        for node in mesh.nodes:
            if node.name not in mesh.away:
                mesh.push(node)
                mesh.pull(node, mesh.hub)
                mesh.deliver_all()
                mesh.note_hub(node)
    mesh.sweep(mesh.hub)
    mesh.wire += [*late, *mesh.strays]
    mesh.strays = []


def _write(mesh: Mesh, node: Site) -> None:
    rng = mesh.rng
    key = rng.choice((*PLAIN, *PLAIN, "counter", "set", "map"))
    item = node.store.items.get(key, ())
    over = node.reads.get(key, item) if rng.random() < 0.3 else item
    if overlooked(item, over, actor=node.actor):
        over = item
    if rng.random() < 0.3:
        node.reads[key] = item
    element = rng.choice("xyz")
    match key:
        case "counter":
            by = rng.randrange(-5, 6)
            mesh.write(node, key, over, counted(over, by), {"by": by}, kind=Kind.COUNTER)
        case "set":
            is_added = rng.random() < 0.6
            shown: list[str] = _value(mesh, over) or []
            add, remove = ((element,), ()) if is_added else ((), (element,))
            changes: Changes = {element: element if is_added else GONE} if is_added or element in shown else {}
            mesh.write(node, key, over, set_changed(over, add=add, remove=remove), changes, kind=Kind.SET)
        case "map":
            _write_map(mesh, node, over, element)
        case _ if rng.random() < 0.3:
            mesh.write(node, key, over, None, {})
        case _:
            lasts_ms = rng.choice((0, 0, 0, 100, 2_000))
            expires_ms = mesh.now_ms + lasts_ms if lasts_ms else 0
            mesh.write(node, key, over, plain(rng.randrange(100)), {}, expires_ms=expires_ms)


def _write_map(mesh: Mesh, node: Site, over: Item, name: str) -> None:
    fields: dict[str, Any] = dict(_value(mesh, over) or {})
    if name in fields and mesh.rng.random() < 0.4:
        del fields[name]
        changes: Changes = {name: GONE}
    else:
        before, fields[name] = fields.get(name), mesh.rng.randrange(5)
        changes = {} if before == fields[name] else {name: fields[name]}
    body = merged_map(fields, over)
    mesh.write(node, "map", over, body, changes, kind=Kind.MAP, policy=Policy.MERGE_COMPATIBLE)


def _value(mesh: Mesh, item: Item) -> Any:
    return resolve(item, now_ms=mesh.now_ms).value


def _talk(mesh: Mesh, node: Site) -> None:
    other = mesh.rng.choice([site for site in mesh.sites.values() if site is not node])
    if not mesh.away.isdisjoint((node.name, other.name)):
        return
    if other is mesh.hub and mesh.rng.random() < 0.5:
        mesh.push(node)
    else:
        mesh.pull(node, other)
    mesh.note_hub(node)


def _come_or_go(mesh: Mesh, node: Site) -> None:
    if node.name in mesh.away:
        mesh.away.discard(node.name)
        mesh.trace(node.name, "is back")
    else:
        mesh.away.add(node.name)
        mesh.trace(node.name, "is cut off")


def _calm_down(mesh: Mesh) -> None:
    mesh.trace("all", "all faults are over")
    mesh.away.clear()
    mesh.is_calm = True
    _settle(mesh)
    for site in mesh.sites.values():
        mesh.sweep(site)
    mesh.wire, mesh.strays = mesh.strays, []
    mesh.trace("all", "what strayed arrives")
    mesh.deliver_all()
    _settle(mesh)


def _settle(mesh: Mesh) -> None:
    for _ in range(ROUNDS):
        for node in mesh.nodes:
            mesh.push(node)
            mesh.deliver_all()
        for node in mesh.nodes:
            mesh.pull(node, mesh.hub)
            mesh.deliver_all()
        if _agree(mesh):
            for node in mesh.nodes:
                mesh.audit(node)
                mesh.deliver_all()
            if _agree(mesh):
                break
    for node in mesh.nodes:
        mesh.pull(node, mesh.hub)
        mesh.deliver_all()
        mesh.note_hub(node)


def _agree(mesh: Mesh) -> bool:
    """Return whether every node has every change, and everybody has received the same."""
    hub = mesh.hub.store
    clocks = [run(site.store.clock()).clock for site in mesh.sites.values()]
    places = {node.places.get(mesh.hub.name) for node in mesh.nodes}
    return places == {(hub.generation, hub.revision)} and all(clock == clocks[0] for clock in clocks)


def _judge(mesh: Mesh) -> list[str]:
    breaches: list[str] = []
    for key in sorted(mesh.oracle.keys):
        expected = mesh.oracle.live(key, now_ms=mesh.now_ms)
        kind = {"counter": Kind.COUNTER, "set": Kind.SET, "map": Kind.MAP}.get(key)
        for site in mesh.sites.values():
            item = site.store.items.get(key, ())
            held = {version.dot for version in item if version.is_live(mesh.now_ms)}
            if held != expected:
                breaches.append(f"{site.name} has {_dots(held)} of {key}, not {_dots(expected)}")
            elif kind and _value(mesh, item) != mesh.oracle.value(key, kind):
                breaches.append(f"{site.name} reads {_value(mesh, item)} of {key}, not {mesh.oracle.value(key, kind)}")
    digests = {name: run(site.store.digest()).buckets for name, site in mesh.sites.items()}
    for name, site in mesh.sites.items():
        versions = (version for item in site.store.items.values() for version in item)
        if digests[name] != digest_of(versions, now_ms=mesh.now_ms):
            breaches.append(f"{name}'s digest is not that of what it holds")
        if digests[name] != digests["hub"]:
            breaches.append(f"{name}'s digest is not the hub's")
        if run(site.store.clock()).clock != run(mesh.hub.store.clock()).clock:
            breaches.append(f"{name}'s clock is not the hub's")
    run(mesh.hub.store.sweep())
    dead = [k for k, item in mesh.hub.store.items.items() if not any(v.is_live(mesh.now_ms) for v in item)]
    if dead:
        breaches.append(f"the hub still holds what is left of {', '.join(dead)}")
    return breaches


def _dots(dots: Iterable[Dot]) -> str:
    return ", ".join(f"{dot.actor}:{dot.seq}" for dot in sorted(dots)) or "nothing"
