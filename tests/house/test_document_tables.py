"""Tables of the documents say what the code says."""

import re
from importlib import import_module
from pathlib import Path
from typing import cast

import redis

from meshd.backends import Backend, open_backend
from meshd.backends.port import BackendOptions
from meshd.backends.redis.keys import KINDS, PERMANENT
from meshd.backends.sqlite.schema import CREATE
from meshd.clock import ManualClock
from meshd.groups import announcements, enrolment_codec
from meshd.memory.model import Flag, Header, Member, Policy, Strategy
from meshd.memory.names import POLICY_ALIASES, STRATEGY_ALIASES
from meshd.memory.sealing import Seal
from meshd.messages.places import handled_key, message_key, unhandled_key
from meshd.nodes.observing import WATCH_KEY
from meshd.peers.key import KEY_RECORD
from meshd.settings_aliases import ENVIRONMENT_ALIASES, FILE_ALIASES
from meshd.settings_memory import MemorySyncSettings
from meshd.tasks.model import TaskState
from meshd.tasks.routing import OFFSETS_MS
from meshd.topology.recorded import CURSOR_KEY, out_key
from meshd.votes.agenda import PREFIX as AGENDA
from meshd.votes.codec import PREFIX as PROPOSALS
from meshd.votes.leading import PREFIX as LEADERS
from tests.support.builders import a_profile, a_task, claim_one, failed, start_one, submit_one, vitals
from tests.support.leaks import MeshKeys
from tests.support.redis_server import RedisServer

DOCS = Path(__file__).resolve().parents[2] / "docs"


def rows(document: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading, without its head."""
    text = (DOCS / document).read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


STORED = {
    kind.strip("`").split(":")[0]: (partition, type, life)
    for kind, partition, type, life, _ in rows("stored.md", "Redis")
}


def test_every_kind_of_key_is_described() -> None:
    assert set(STORED) == KINDS


def test_a_key_is_called_permanent_exactly_if_it_may_stand_without_a_ttl() -> None:
    for kind, (partition, _, life) in STORED.items():
        name = {"ended": ":dead", "q": ":r:low", "front": ":r:low"}.get(kind, ":x")
        part = "c" if partition == "c" else "p0"
        keys = [f"mesh:{{m:{part}}}:{kind}", f"mesh:{{m:{part}}}:{kind}{name}"]
        may_stand = any(re.fullmatch(pattern, key) for pattern in PERMANENT for key in keys)
        assert may_stand is not life.startswith("TTL"), kind


def test_every_record_is_described() -> None:
    kept = {
        message_key("<addressee>", "<id>", is_given=False), handled_key("<addressee>", "<id>"),
        unhandled_key("<addressee>", "<id>"), f"{PROPOSALS}<id>", f"{AGENDA}<id>", f"{LEADERS}<scope>",
        out_key("<agent>"), CURSOR_KEY, WATCH_KEY, KEY_RECORD, announcements.key_of("<id>"),
        announcements.marker_of("<id>"), f"{announcements.HUB_PREFIX}<name>", enrolment_codec.key_of("<name>"),
    }  # fmt: skip
    assert kept <= {cells[0].strip("`") for cells in rows("stored.md", "Records")}


async def remember(backend: Backend, clock: ManualClock) -> None:
    """Have the memory use every kind of key it has."""
    memory, seal = backend.memory, Seal()
    facts: list[tuple[str, str, int, int]] = [
        ("n1~a", "k", 0, 0), ("n1~a", "k", 0, 0), ("n2~b", "k", 0, 0), ("n2~b", "j", Flag.TOMBSTONE, 0),
        ("n3~c", "i", 0, clock() + 3_600_000),
    ]  # fmt: skip
    for number, (actor, key, flags, ends) in enumerate(facts, start=1):
        header = Header(actor=actor, seq=number, observed={}, ms=clock(), flags=flags, expires_ms=ends, key=key)
        await memory.absorb([seal.make(header, b"")], clock={actor: number})
    await memory.report(Member(node="n1", actor="n1~a", revision=0, seen_ms=0))
    await memory.lease_actor(owner="me", ttl_ms=60_000)
    await memory.take_mastery("p/", holder="n1", ttl_ms=60_000)
    await memory.quarantine("n4", reason="test")


async def test_the_keys_of_a_mesh_at_work_are_as_described(redis_server: RedisServer, mesh_name: str) -> None:
    clock = ManualClock()
    backend = await open_backend(redis_server.url, BackendOptions(mesh=mesh_name, clock=clock))
    await backend.nodes.join(a_profile("n1", capabilities=["x"]), vitals())
    await backend.nodes.join(a_profile("n2"), vitals())
    await backend.records.put("r", b"1", ttl_ms=60_000)
    for _ in range(4):
        await submit_one(backend, a_task(key=None, expires_in_ms=3_600_000))
    await submit_one(backend, a_task(key="k", delay_ms=1_000_000))
    await backend.tasks.finish([failed(await start_one(backend))])
    await backend.tasks.finish([failed(await start_one(backend), retry_in_ms=None)])
    await claim_one(backend)
    await remember(backend, clock)
    for _ in range(5):
        clock.advance(seconds=2)
        await backend.nodes.sweep()
    keys = MeshKeys(redis_server.url, mesh_name)
    seen: dict[str, set[str]] = {}
    with redis.Redis(port=redis_server.port) as look:
        for key in keys.all():
            seen.setdefault(key.split("}:")[1].split(":")[0], set()).add(cast("bytes", look.type(key)).decode())
    await backend.aclose()
    keys.remove()
    keys.close()
    assert seen == {kind: {STORED[kind][1]} for kind in seen}
    assert {"clock", "t", "q", "ids", "lease", "held", "sched", "dl", "counts", "ended", "idem", "node", "rec"} <= set(
        seen
    )
    assert {kind for kind in STORED if kind.startswith("m")} <= set(seen)


def test_every_table_of_the_file_is_described() -> None:
    described = {name for cells in rows("stored.md", "SQLite") for name in re.findall(r"`(\w+)`", cells[0])}
    assert described == set(re.findall(r"CREATE TABLE (\w+)", CREATE))


def test_the_offsets_of_the_priorities_are_those_of_the_code() -> None:
    told = {
        level: int(offset.split()[0]) * 1_000 for level, offset in rows("tasks.md", "Order, and why nothing starves")
    }
    assert told == {level.value: offset for level, offset in OFFSETS_MS.items()}
    guarantees = (DOCS / "guarantees.md").read_text()
    assert "| Offset | " + " | ".join(f"{offset // 1000} s" for offset in OFFSETS_MS.values()) + " |" in guarantees


def test_the_diagram_knows_every_state() -> None:
    text = (DOCS / "tasks.md").read_text()
    diagram = text.split("```mermaid")[1].split("```")[0]
    drawn = set(re.findall(r"\b(\w+)\b(?= -->|$|:)", diagram, re.MULTILINE)) & set(TaskState)
    assert drawn == set(TaskState)


def test_every_older_name_is_listed() -> None:
    listed = {cells[0].strip("`"): cells[1].strip("`") for cells in rows("names.md", "Settings")}
    assert listed == {**FILE_ALIASES, **ENVIRONMENT_ALIASES}


def test_every_name_of_a_strategy_and_a_policy_is_listed() -> None:
    listed = {
        older: cells[1].strip("`")
        for cells in rows("names.md", "Memory")
        for older in re.findall(r"`(\w+)`", cells[0])
        if not cells[0].startswith("S")
    }
    assert listed == {name: str(meant) for name, meant in {**STRATEGY_ALIASES, **POLICY_ALIASES}.items()}


def test_every_setting_of_the_memory_is_described() -> None:
    described = {name for cells in rows("memory.md", "Settings") for name in re.findall(r"`(\w+)`", cells[0])}
    assert described == set(MemorySyncSettings.model_fields)


def test_every_strategy_and_policy_is_described() -> None:
    strategies = [cells[0].strip("`") for cells in rows("memory.md", "How writes become known")]
    policies = [cells[0].strip("`").partition(":")[0] for cells in rows("memory.md", "What a conflict means")]
    assert (strategies, policies) == (list(Strategy), list(Policy))


def test_every_type_named_exists() -> None:
    named = [name for cells in rows("names.md", "Types") for name in re.findall(r"`(meshd\.[\w.]+)`", cells[2])]
    assert len(named) == 20
    for name in named:
        module, _, attribute = name.rpartition(".")
        assert isinstance(getattr(import_module(module), attribute), type)


def test_every_test_named_in_the_guarantees_exists() -> None:
    named = re.findall(r"`(tests/\S+?)::(\w+)`", (DOCS / "guarantees.md").read_text())
    assert len(named) >= 5
    for path, name in named:
        assert f"def {name}(" in (DOCS.parent / path).read_text(), name
