"""Row I11: every public call of every port and service ends in time, with a typed error, when Redis stands still."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meshd import Mesh, Settings
from meshd.errors import DeadlineError, UnavailableError
from meshd.events import EventBus
from meshd.memory.core import Making
from meshd.memory.model import Batch, Item, Member
from meshd.memory.policies import Resolved
from meshd.memory.store import MemoryStore
from meshd.memory.undo import Scope
from meshd.messages.service import WANTS
from meshd.nodes.model import Sightings
from meshd.nodes.store import NodeStore
from meshd.records import Guard, RecordStore
from meshd.tasks.model import Priority, TaskFilter
from meshd.tasks.request import TaskRequest
from meshd.tasks.store import TaskStore
from meshd.votes.leading import Lease
from tests.support.builders import a_claimer, a_profile, a_task, completed, hold_of, start_one, vitals
from tests.support.redis_server import RedisServer

LIMIT_S = 0.5
WITHIN_S = 15.0
"""Longest any one call may take on a busy machine, those with a timeout of their own (2 s) too."""

Calls = dict[str, Callable[[], Any]]
WITHOUT_A_STORE = {"aclose", "open", "session", "now_ms"}
"""They ask nothing of it."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path / "own")
    server.start()
    yield server
    server.thaw()
    server.stop()


@pytest.fixture
async def mesh(server: RedisServer) -> AsyncIterator[Mesh]:
    async with Mesh(server.url, settings=Settings.load(mesh="still", store_timeout_seconds=LIMIT_S)) as mesh:
        yield mesh


def public_calls(surface: type) -> set[str]:
    """Return the names of everything public that is awaited, iterated or entered."""
    found: set[str] = set()
    for name, member in inspect.getmembers(surface, inspect.isfunction):
        plain = inspect.unwrap(member)
        if not name.startswith("_") and (inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain)):
            found.add(name)
    return found - WITHOUT_A_STORE


def nothing(item: Item, resolved: Resolved) -> Making:
    """Ask for an item of the memory to be deleted."""
    del resolved
    return Making(body=None, over=item)


async def ended(call: Callable[[], Any]) -> object:
    """Return what a call ends with, an error too."""
    try:
        made = call()
        if isinstance(made, AbstractAsyncContextManager):
            async with asyncio.timeout(WITHIN_S), made:
                return None
        async with asyncio.timeout(WITHIN_S):
            return await (anext(made) if hasattr(made, "__anext__") else made)
    except Exception as exc:  # noqa: BLE001 -- it is what is looked at
        return exc


async def ends_of(server: RedisServer, calls: Calls) -> dict[str, object]:
    """Return what each call ends with while the server stands still."""
    server.freeze()
    try:
        ends = await asyncio.gather(*(ended(call) for call in calls.values()))
    finally:
        server.thaw()
    return dict(zip(calls, ends, strict=True))


def wrong(ends: Mapping[str, object]) -> dict[str, object]:
    return {name: end for name, end in ends.items() if not isinstance(end, UnavailableError | DeadlineError)}


def check_covered(surface: type, calls: Calls) -> None:
    assert public_calls(surface) <= calls.keys(), "a call that this test does not know: add it"


async def test_the_ports_of_tasks(server: RedisServer, mesh: Mesh) -> None:
    tasks, claimer = mesh.backend.tasks, a_claimer()
    await mesh.backend.tasks.submit([a_task()])
    held = await start_one(mesh.backend)
    hold = hold_of(held)
    calls: Calls = {
        "submit": lambda: tasks.submit([a_task()]),
        "claim": lambda: tasks.claim(claimer, limit=1, lease_ms=1_000),
        "wait_for_work": lambda: tasks.wait_for_work(claimer, timeout_ms=200),
        "reconcile": lambda: tasks.reconcile(claimer, known=[hold]),
        "start": lambda: tasks.start([hold]),
        "renew": lambda: tasks.renew([hold], lease_ms=1_000),
        "progress": lambda: tasks.progress(hold, fraction=0.5, note=""),
        "finish": lambda: tasks.finish([completed(held)]),
        "cancel": lambda: tasks.cancel(held.id, reason=""),
        "redrive": lambda: tasks.redrive(held.id),
        "reprioritize": lambda: tasks.reprioritize(held.id, Priority.HIGH),
        "purge": lambda: tasks.purge([held.id]),
        "pause": lambda: tasks.pause("work"),
        "resume": lambda: tasks.resume("work"),
        "paused": tasks.paused,
        "get": lambda: tasks.get([held.id]),
        "list": lambda: tasks.list(TaskFilter(), limit=10),
        "counts": tasks.counts,
        "open_counts": lambda: tasks.open_counts(["n1"]),
        "reclaim": lambda: tasks.reclaim("n1", up_to_incarnation=1),
        "sweep": tasks.sweep,
        "audit": lambda: tasks.audit(repair=False),
        "watch": lambda: tasks.watch([held.id], topic="t"),
    }
    check_covered(TaskStore, calls)
    assert wrong(await ends_of(server, calls)) == {}


async def test_the_ports_of_nodes_records_and_events(server: RedisServer, mesh: Mesh) -> None:
    nodes, records, events = mesh.backend.nodes, mesh.records, mesh.events
    mine = await nodes.join(a_profile("n1"), vitals())
    born = await records.create("k", b"v")
    guard = Guard(key="k", born=born)
    of_nodes: Calls = {
        "join": lambda: nodes.join(a_profile("n2"), vitals()),
        "announce": lambda: nodes.announce(mine, a_profile("n1")),
        "heartbeat": lambda: nodes.heartbeat(mine, vitals()),
        "sight": lambda: nodes.sight(mine, Sightings()),
        "vouch": lambda: nodes.vouch(mine, ["n2"]),
        "leave": lambda: nodes.leave(mine),
        "request_drain": lambda: nodes.request_drain("n1"),
        "get": lambda: nodes.get("n1"),
        "list": nodes.list,
        "holders": lambda: nodes.holders(frozenset({"x"})),
        "sweep": nodes.sweep,
    }
    of_records: Calls = {
        "get": lambda: records.get("k"),
        "put": lambda: records.put("k", b"v", guard=guard),
        "create": lambda: records.create("l", b"v"),
        "update": lambda: records.update("k", b"v", revision=born),
        "delete": lambda: records.delete("k", guard=guard),
        "list": lambda: records.list(""),
        "count": lambda: records.count(""),
    }
    of_events: Calls = {
        "append": lambda: events.append("log", {}),
        "read": lambda: events.read("log"),
        "latest": lambda: events.latest("log"),
        "publish": lambda: events.publish("t", {}),
        "subscribe": lambda: events.subscribe("t"),
    }
    for surface, calls in ((NodeStore, of_nodes), (RecordStore, of_records), (EventBus, of_events)):
        check_covered(surface, calls)
        assert wrong(await ends_of(server, calls)) == {}


async def test_the_port_of_the_memory(server: RedisServer, mesh: Mesh) -> None:
    memory = mesh.backend.memory
    lease = await memory.lease_actor(owner="o", ttl_ms=60_000)
    mastery = await memory.take_mastery("p/", holder="o", ttl_ms=60_000)
    calls: Calls = {
        "push": lambda: memory.push(Batch(actor=lease.actor, first=1, last=1, versions=[], token=lease.token)),
        "absorb": lambda: memory.absorb([], clock={}),
        "get": lambda: memory.get(["k"]),
        "list": lambda: memory.list(""),
        "clock": memory.clock,
        "follow": memory.follow,
        "changes": lambda: memory.changes(after=0),
        "newer": lambda: memory.newer({}),
        "digest": memory.digest,
        "mark": memory.mark,
        "history": lambda: memory.history(["k"]),
        "contested": memory.contested,
        "sweep": memory.sweep,
        "report": lambda: memory.report(Member(node="n", actor="a", revision=0, seen_ms=0)),
        "check_in": lambda: memory.check_in(Member(node="n", actor="a", revision=0, seen_ms=0)),
        "members": memory.members,
        "drop": lambda: memory.drop({"k": ()}),
        "lease_actor": lambda: memory.lease_actor(owner="o2", ttl_ms=1_000),
        "renew_actor": lambda: memory.renew_actor(lease, ttl_ms=1_000),
        "return_actor": lambda: memory.return_actor(lease),
        "take_mastery": lambda: memory.take_mastery("q/", holder="o", ttl_ms=1_000),
        "resign": lambda: memory.resign(mastery),
        "quarantine": lambda: memory.quarantine("n", reason="r"),
        "readmit": lambda: memory.readmit("n"),
        "quarantined": memory.quarantined,
    }
    check_covered(MemoryStore, calls)
    assert wrong(await ends_of(server, calls)) == {}


async def test_the_services_of_tasks_and_nodes(server: RedisServer, mesh: Mesh) -> None:
    tasks, nodes = mesh.tasks, mesh.nodes
    handle = await tasks.submit("echo", value=1)
    task = await handle.status()
    soon = timedelta(seconds=2)
    of_tasks: Calls = {
        "submit": lambda: tasks.submit("echo", value=2),
        "submit_many": lambda: tasks.submit_many([TaskRequest(type="echo")]),
        "fan_out": lambda: tasks.fan_out("echo", parts=[{"value": 3}, {"value": 4}], unserved="wait"),
        "parts": lambda: tasks.parts(handle.id),
        "get": lambda: tasks.get(handle.id),
        "list": tasks.list,
        "ended": lambda: tasks.ended(handle.id, timeout=soon),
        "result": lambda: tasks.result(handle.id, timeout=soon),
        "as_ended": lambda: tasks.as_ended([handle], timeout=soon),
        "explain": lambda: tasks.explain(handle.id),
        "parents": lambda: tasks.parents(replace(task, depends_on=(handle.id,))),
        "why_not": lambda: tasks.why_not(handle.id, "n1"),
        "cancel": lambda: tasks.cancel(handle.id),
        "redrive": lambda: tasks.redrive(handle.id),
        "counts": tasks.counts,
        "sweep": tasks.sweep,
        "reprioritize": lambda: tasks.reprioritize(handle.id, "high"),
        "pause": tasks.pause,
        "resume": tasks.resume,
        "paused": tasks.paused,
        "audit": tasks.audit,
    }
    of_handle: Calls = {
        "status": handle.status,
        "wait": lambda: handle.wait(timeout=soon),
        "result": lambda: handle.result(timeout=soon),
        "cancel": handle.cancel,
        "explain": handle.explain,
        "parts": handle.parts,
    }
    of_dead: Calls = {
        "list": tasks.dead.list,
        "redrive": tasks.dead.redrive,
        "purge": tasks.dead.purge,
    }
    of_nodes: Calls = {
        "list": nodes.list,
        "get": lambda: nodes.get("n1"),
        "holders": lambda: nodes.holders({"x"}),
        "evidence": lambda: nodes.evidence("n1"),
        "connectivity": nodes.connectivity,
        "partitions": nodes.partitions,
        "history": nodes.history,
        "splits": nodes.splits,
        "uptimes": nodes.uptimes,
        "drain": lambda: nodes.drain("n1"),
        "resume": lambda: nodes.resume("n1"),
    }
    of_mesh: Calls = {
        "sweep": mesh.sweep,
        "sync": lambda: mesh.sync(timeout=soon),
        "completion_rate": mesh.completion_rate,
    }
    for surface, calls in (
        (tasks, of_tasks), (handle, of_handle), (tasks.dead, of_dead), (nodes, of_nodes), (mesh, of_mesh),
    ):  # fmt: skip
        check_covered(type(surface), calls)
        assert wrong(await ends_of(server, calls)) == {}


async def test_the_services_of_memory_messages_votes_and_topology(server: RedisServer, mesh: Mesh) -> None:
    memory, messages, votes, topology = mesh.memory, mesh.messages, mesh.votes, mesh.topology
    soon = timedelta(seconds=2)
    await memory.put("k", 1)
    snapshot = await topology.snapshot()
    sent = replace(await messages.send("ada", "note"), metadata={WANTS: "reply"})
    proposal = await votes.propose("x", id="p", electorate=["ada", "bob"])
    of_memory: Calls = {
        "get": lambda: memory.get("k"),
        "list": memory.list,
        "put": lambda: memory.put("k", 2),
        "put_many": lambda: memory.put_many({"k": 2}),
        "create": lambda: memory.create("l", 1),
        "update": lambda: memory.update("k", lambda value: value),
        "delete": lambda: memory.delete("k"),
        "watch": memory.watch,
        "look": lambda: memory.look("k"),
        "change": lambda: memory.change("k", nothing),
        "rollback": lambda: memory.rollback("k"),
        "rollback_by": lambda: memory.rollback_by(Scope(agent="ada")),
        "members": memory.members,
        "quarantine": lambda: memory.quarantine("n", reason="r"),
        "readmit": lambda: memory.readmit("n"),
        "conflicts": memory.conflicts,
        "resolve": lambda: memory.resolve("k", value=1),
        "log": lambda: memory.log("k"),
        "diff": lambda: memory.diff("k"),
        "blame": lambda: memory.blame("k"),
    }
    of_messages: Calls = {
        "send": lambda: messages.send("ada", "note"),
        "request": lambda: messages.request("ada", "note", timeout=soon),
        "query": lambda: messages.query("note", timeout=soon),
        "reply": lambda: messages.reply(sent),
        "refuse": lambda: messages.refuse(sent, "r"),
        "listen": lambda: messages.listen("ada"),
        "waiting": lambda: messages.waiting("ada"),
        "unhandled": messages.unhandled,
        "forget": lambda: messages.forget("ada", sent.id),
    }
    of_votes: Calls = {
        "propose": lambda: votes.propose("y", electorate=["ada"]),
        "vote": lambda: votes.vote("p", "ada", "yes"),
        "reach": lambda: votes.reach("p", count=1),
        "get": lambda: votes.get("p"),
        "list": votes.list,
        "decision": lambda: votes.decision("p", timeout=soon),
        "statistics": votes.statistics,
        "confirm": lambda: votes.confirm(proposal.id),
        "announced": lambda: votes.announced(proposal.id),
        "leader": lambda: votes.leader("s", lease=Lease(length=soon), wait=soon),
    }
    of_topology: Calls = {
        "graph": topology.graph,
        "statistics": topology.statistics,
        "path": lambda: topology.path("a", "b"),
        "neighbours": lambda: topology.neighbours("a"),
        "nearness": lambda: topology.nearness("n1"),
        "snapshot": topology.snapshot,
        "restore": lambda: topology.restore(snapshot),
    }
    for surface, calls in ((memory, of_memory), (messages, of_messages), (votes, of_votes), (topology, of_topology)):
        check_covered(type(surface), calls)
        assert wrong(await ends_of(server, calls)) == {}
