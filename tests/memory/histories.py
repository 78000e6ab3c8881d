"""Hypothesis strategies of writes to one key by several actors, each over what it had seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

from meshd.memory.hybrid_clock import Time, after, next_time
from meshd.memory.joining import join, observed_in
from meshd.memory.merging import Body, counted, merged_map, plain, set_changed
from meshd.memory.model import Flag, Header, Item, Kind, Policy, Version
from meshd.memory.policies import resolve
from tests.memory.mesh import SEAL, overlooked
from tests.memory.oracle import GONE, Changes, Oracle

NOW_MS = 10_000
"""When histories are over; what is to expire by then has a lifetime of one millisecond."""
KEY = "notes/paris"
POLICIES = (*(policy for policy in Policy if policy is not Policy.CUSTOM), "custom:longest", "custom:missing", "new")


@dataclass(frozen=True, slots=True)
class Step:
    """What one writer does: catch up with another, remember what it sees, or write over either."""

    writer: int
    source: int
    act: str
    part: str
    number: int


@dataclass(slots=True)
class Writer:
    """One actor, and what it has received."""

    name: str
    item: Item = ()
    read: Item = ()
    time: Time = field(default_factory=lambda: Time(0))


@dataclass(slots=True)
class History:
    """All that was written, in the order it was."""

    versions: list[Version] = field(default_factory=list[Version])
    oracle: Oracle = field(default_factory=Oracle)

    @property
    def item(self) -> Item:
        """What is left when everybody has everything."""
        return join(tuple(self.versions))


Making = Callable[[Step, Item], "tuple[Body | None, Changes]"]
"""Says what a step writes over an item."""


def play(
    steps: Sequence[Step],
    *,
    make: Making,
    kind: Kind = Kind.VALUE,
    policy: str = Policy.LATEST_WINS,
    is_mortal: bool = False,
) -> History:
    """Return what comes of these steps."""
    history = History()
    writers = [Writer(name) for name in ("ann~1", "ben~1", "eve~1")]
    for number, step in enumerate(steps, start=1):
        writer = writers[step.writer]
        if step.act == "catch up":
            writer.item = join(writer.item, writers[step.source].item)
        elif step.act == "read":
            writer.read = writer.item
        else:
            is_late = step.act == "write late" and not overlooked(writer.item, writer.read, actor=writer.name)
            over = writer.read if is_late else writer.item
            body, changes = make(step, over)
            for version in over:
                writer.time = after(writer.time, Time(version.header.ms, version.header.tick))
            writer.time = next_time(writer.time, step.number)
            header = Header(
                actor=writer.name,
                seq=number,
                observed=observed_in(over, actor=writer.name),
                ms=writer.time.ms,
                tick=writer.time.tick,
                key=KEY,
                flags=Flag.NONE if body else Flag.TOMBSTONE,
                expires_ms=writer.time.ms + 1 if is_mortal and step.number % 5 == 4 else 0,
                kind=kind,
                policy=policy,
                rank=step.number % 3,
            )
            version = SEAL.make(header, body(header) if body else b"")
            history.versions.append(version)
            history.oracle.note(version, over, changes)
            writer.item = join(writer.item, (version,))
    return history


def steps(*acts: str) -> st.SearchStrategy[list[Step]]:
    """Return lists of steps: catching up, reading and writing, also over what was read before, and these acts."""
    step = st.builds(
        Step,
        writer=st.integers(0, 2),
        source=st.integers(0, 2),
        act=st.sampled_from(("catch up", "catch up", "read", "write late", *acts)),
        part=st.sampled_from("xyz"),
        number=st.integers(0, 40),
    )
    return st.lists(step, min_size=1, max_size=24)


def value(step: Step, _: Item) -> tuple[Body | None, Changes]:
    """Write a plain value, or delete it."""
    return (None if step.act == "delete" else plain({step.part: step.number}), {})


def fields(step: Step, over: Item) -> tuple[Body, Changes]:
    """Change or remove a field."""
    shown: dict[str, int] = dict(resolve(over, now_ms=NOW_MS).value or {})
    was = shown.pop(step.part, GONE)
    if step.act == "remove":
        return merged_map(shown, over), {} if was == GONE else {step.part: GONE}
    now = step.number % 4
    return merged_map({**shown, step.part: now}, over), {} if was == now else {step.part: now}


def elements(step: Step, over: Item) -> tuple[Body, Changes]:
    """Add or remove an element."""
    if step.act != "remove":
        return set_changed(over, add=[step.part]), {step.part: True}
    shown: list[str] = resolve(over, now_ms=NOW_MS).value or []
    return set_changed(over, remove=[step.part]), {step.part: GONE} if step.part in shown else {}


def amounts(step: Step, over: Item) -> tuple[Body, Changes]:
    """Count up or down."""
    by = step.number - 20
    return counted(over, by), {"by": by}


@st.composite
def histories(draw: st.DrawFn, policy: str = Policy.LATEST_WINS) -> History:
    """Return histories of writes, deletions and lifetimes under one policy."""
    drawn = draw(steps("write", "write", "delete"))
    if policy == Policy.MERGE_COMPATIBLE:
        return play([s for s in drawn if s.act != "delete"], make=fields, kind=Kind.MAP, policy=policy, is_mortal=True)
    return play(drawn, make=value, policy=policy, is_mortal=True)
