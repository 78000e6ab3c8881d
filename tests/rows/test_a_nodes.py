"""Rows A1 to A7, A9 to A11, A13, A14, A17: a node as other processes see it."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from meshd import Mesh, Settings, TaskState
from meshd.backends import open_backend
from meshd.nodes.model import Holder, NodeStatus, Verdict
from tests.redis_backend.raw import raw_commands
from tests.rows.conftest import SOON, Begin, Start, history, until_running
from tests.rows.worker import Options
from tests.support.builders import a_profile, vitals
from tests.support.redis_server import RedisServer
from tests.support.stores import RedisMeshes
from tests.support.waiting import wait_until

SLACK_MS = 2_000
"""What two busy cores may add to a bound."""


async def test_a_node_of_another_process_is_read_whole_in_one_call(mesh: Mesh, start: Start) -> None:
    options = Options(
        type="language_expert",
        capabilities=("nlp",),
        specializations=("poetry",),
        agents=(("ada", "reasoner", ("proof",)),),
        concurrency=3,
        port=9901,
    )
    process = await start("whole", options)
    seen = (await mesh.nodes.get("whole")).profile
    assert (seen.type, seen.pid, seen.host, seen.port) == ("language_expert", process.pid, socket.gethostname(), 9901)
    assert (seen.capacity, seen.specializations) == (3, ("poetry",))
    assert {"nlp", "proof", "echo"} <= seen.all_capabilities
    assert [(agent.id, agent.role) for agent in seen.agents] == [("ada", "reasoner")]


@pytest.mark.parametrize("interval_s", [0.1, 0.5])
async def test_heartbeats_come_at_the_interval_set(mesh: Mesh, start: Start, interval_s: float) -> None:
    await start("steady", Options(settings={"heartbeat_interval_seconds": interval_s, "node_timeout_seconds": 5}))
    beats: list[int] = []

    async def has_beaten_often() -> bool:
        beat_ms = (await mesh.nodes.get("steady")).beat_ms
        if beat_ms not in beats:
            beats.append(beat_ms)
        return len(beats) == 6

    await wait_until(has_beaten_often, timeout=20)
    gaps = sorted(later - earlier for earlier, later in pairwise(beats[1:]))
    assert interval_s * 500 <= gaps[len(gaps) // 2] <= interval_s * 1_000 + SLACK_MS / 2


async def test_a_silent_node_takes_nobody_elses_record_with_it(mesh: Mesh, start: Start) -> None:
    silent, _ = await start("silent"), await start("steady")
    silent.kill()
    first = await mesh.nodes.get("steady")

    async def has_judged() -> bool:
        return (await mesh.nodes.get("silent")).verdict is Verdict.DEAD

    await wait_until(has_judged, timeout=20)
    later = await mesh.nodes.get("steady")
    assert (later.verdict, later.incarnation) == (Verdict.ALIVE, first.incarnation)
    assert later.beat_ms > first.beat_ms


async def test_a_wrong_clock_on_a_node_changes_nothing_on_redis(redis_server: RedisServer, mesh_name: str) -> None:
    stores = RedisMeshes(redis_server.url)
    settings = Settings.load(mesh=mesh_name)
    options = Options(clock_ahead_s=3600, settings={})
    command = [sys.executable, "-m", "tests.rows.worker", redis_server.url, mesh_name, "hasty", options.to_json()]
    async with Mesh(redis_server.url, settings=settings) as mesh:
        with subprocess.Popen(command) as process:

            async def has_beaten() -> bool:
                nodes = await mesh.nodes.list()
                return bool(nodes) and nodes[0].beat_ms > nodes[0].joined_ms

            await wait_until(has_beaten, timeout=20)
            seen = await mesh.nodes.get("hasty")
            process.terminate()
    stores.finish(mesh_name)
    assert seen.verdict is Verdict.ALIVE
    assert abs(seen.read_ms - seen.joined_ms) < 60_000


@pytest.mark.parametrize("timeout_s", [0.6, 1.5])
async def test_a_killed_node_is_judged_within_its_timeout_and_one_check(
    mesh: Mesh, start: Start, timeout_s: float
) -> None:
    options = Options(settings={"node_timeout_seconds": timeout_s})
    victim, _ = await start("victim", options), await start("witness", options)
    victim.kill()
    victim.wait()

    async def is_dead() -> bool:
        return [node.id for node in await mesh.nodes.list()] == ["witness"] and bool(
            await history(mesh, "nodes", node="victim", event="dead")
        )

    await wait_until(is_dead, timeout=20)
    (death,) = await history(mesh, "nodes", node="victim", event="dead")
    silence_ms = death.at_ms - (await mesh.nodes.get("victim")).beat_ms
    assert timeout_s * 1000 <= silence_ms <= timeout_s * 1000 + 100 + SLACK_MS


JOIN_MANY = """
import asyncio, json, sys, time
from meshd import Node
from meshd.backends import BackendOptions, open_backend
from meshd.nodes.model import Vitals
url, mesh, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
async def main():
    backend = await open_backend(url, BackendOptions(mesh=mesh))
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.time()
    nodes = [Node() for _ in range(count)]
    named = time.time()
    for node in nodes:
        await backend.nodes.join(node.profile, Vitals())
    print(json.dumps([began, named, [node.name for node in nodes]]), flush=True)
    await backend.aclose()
asyncio.run(main())
"""


async def test_five_hundred_nodes_of_one_second_and_one_host_have_names_of_their_own(
    store_url: str, mesh_name: str
) -> None:
    command = [sys.executable, "-c", JOIN_MANY, store_url, mesh_name, "125"]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    outputs = [process.stdout for process in processes]
    assert [await asyncio.to_thread(output.readline) for output in outputs if output] == ["ready\n"] * 4
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = await asyncio.gather(*(asyncio.to_thread(process.communicate) for process in processes))
    reports = [json.loads(out) for out, _ in told]
    names = [name for _, _, some in reports for name in some]
    assert max(named for _, named, _ in reports) - min(began for began, _, _ in reports) < 1.0
    async with Mesh(store_url, settings=Settings.load(mesh=mesh_name)) as mesh:
        joined = [node.id for node in await mesh.nodes.list(include_dead=True)]
    assert len(set(names)) == 500
    assert joined == sorted(names)


async def test_every_field_is_measured(mesh: Mesh, start: Start, tmp_path: Path) -> None:
    process = await start("busy", Options(concurrency=4, port=9900, capabilities=("busy",)))
    await start("idle", Options(concurrency=2, type="sensor_connected"))
    for _ in range(3):
        await (await mesh.tasks.submit("burn", seconds=0.2, requires=["busy"])).result(timeout=SOON)
    await (await mesh.tasks.submit("fail", times=1, max_attempts=1, requires=["busy"])).wait(timeout=SOON)
    held = [await mesh.tasks.submit("hold", until=str(tmp_path / "go"), requires=["busy"]) for _ in range(2)]
    for handle in held:
        await until_running(mesh, handle.id, "busy")

    async def has_told() -> bool:
        vitals = (await mesh.nodes.get("busy")).vitals
        return (vitals.tasks_completed, vitals.tasks_failed) == (3, 1)

    await wait_until(has_told)
    node = await mesh.nodes.get("busy")
    resident = psutil.Process(process.pid).memory_info().rss / 2**20
    assert node.load == 0.5
    assert node.vitals.error_rate == 0.25
    assert 140 <= node.vitals.average_response_ms <= 5_000
    assert abs(node.vitals.memory_mb - resident) < resident / 2
    assert node.beat_ms >= node.joined_ms > 0
    assert node.beat_age_ms < 5_000
    other = await mesh.nodes.get("idle")
    assert (other.load, other.vitals.tasks_completed, other.vitals.error_rate) == (0.0, 0, 0.0)
    assert (other.profile.capacity, other.profile.port, other.profile.type) == (2, 0, "sensor_connected")


async def test_the_cpu_shown_is_that_of_the_nodes_own_process(mesh: Mesh, start: Start) -> None:
    await start("worker")

    async def rests() -> bool:
        return (await mesh.nodes.get("worker")).vitals.cpu_percent < 40

    async def burns() -> bool:
        return (await mesh.nodes.get("worker")).vitals.cpu_percent > 20

    await wait_until(rests, timeout=20)
    handle = await mesh.tasks.submit("burn", seconds=2.0)
    await wait_until(burns, timeout=20)
    await handle.wait(timeout=SOON)


async def test_each_status_is_reached_and_told_to_others(mesh: Mesh, start: Start, tmp_path: Path) -> None:
    flag = tmp_path / "go"
    process = await start("worker", Options(concurrency=1))

    async def until(status: NodeStatus) -> None:
        async def shows() -> bool:
            return (await mesh.nodes.get("worker")).vitals.status is status

        await wait_until(shows, timeout=20)

    await until(NodeStatus.ACTIVE)
    await mesh.tasks.submit("hold", until=str(flag))
    await until(NodeStatus.BUSY)
    await mesh.nodes.drain("worker")
    await until(NodeStatus.DEGRADED)
    process.terminate()
    await until(NodeStatus.SHUTTING_DOWN)
    flag.touch()
    assert process.wait(20) == 0
    assert await mesh.nodes.list(include_dead=True) == []
    told = await history(mesh, "nodes", node="worker")
    statuses = [event.body["status"] for event in told if event.body["event"] in ("joined", "status")]
    assert statuses == ["initializing", "active", "busy", "degraded", "shutting_down"]
    assert told[-1].body["event"] == "left"


async def test_a_dead_node_is_shown_offline(mesh: Mesh, start: Start) -> None:
    victim, _ = await start("victim"), await start("witness")
    victim.kill()

    async def is_dead() -> bool:
        return (await mesh.nodes.get("victim")).verdict is Verdict.DEAD

    await wait_until(is_dead, timeout=20)
    command = [sys.executable, "-m", "meshd_cli.main", "nodes", "show", "victim", "--json"]
    environment = {"MESHD_URL": mesh.url, "MESHD_MESH": mesh.name}
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout)["node"]["status"] == "offline"


async def test_a_node_sees_one_that_joined_after_it_within_a_heartbeat(mesh: Mesh, start: Start) -> None:
    await start("first", Options(capabilities=("first",)))
    await start("second")
    joined = (await mesh.nodes.get("second")).joined_ms
    handle = await mesh.tasks.submit("peers", requires=["first"])
    assert set(await handle.result(timeout=SOON)) == {"first", "second"}
    asked = (await handle.status()).created_ms
    assert asked - joined < 1_000 + SLACK_MS


async def test_an_agent_of_one_node_is_in_the_list_of_another_with_its_owner(mesh: Mesh, start: Start) -> None:
    await start("home", Options(agents=(("ada", "reasoner", ("proof",)), ("bob", "memory", ("recall",)))))
    await start("other", Options(capabilities=("elsewhere",)))
    seen = await (await mesh.tasks.submit("peers", requires=["elsewhere"])).result(timeout=SOON)
    assert seen == {"home": ["ada", "bob"], "other": ["other"]}
    assert await mesh.nodes.holders({"proof"}) == [Holder(node_id="home"), Holder(node_id="home", agent_id="ada")]


async def test_a_set_of_capabilities_finds_exactly_its_live_holders(mesh: Mesh, start: Start) -> None:
    both = await start("both", Options(capabilities=("read", "write")))
    await start("too", Options(capabilities=("read", "write", "draw")))
    await start("half", Options(capabilities=("read",)))

    async def holders() -> set[str]:
        return {holder.node_id for holder in await mesh.nodes.holders({"read", "write"})}

    assert await holders() == {"both", "too"}
    both.terminate()
    assert both.wait(20) == 0
    assert await holders() == {"too"}


def calls(server: RedisServer) -> int:
    """Return how many commands the server has run so far."""
    with raw_commands(server.port) as raw:
        stats: dict[str, dict[str, int]] = raw("INFO", "commandstats")
    return sum(command["calls"] for name, command in stats.items() if name != "cmdstat_info")


async def test_a_lookup_touches_holders_only(redis_server: RedisServer, mesh_name: str) -> None:
    stores = RedisMeshes(redis_server.url)
    costs: list[int] = []
    for bystanders in (0, 300):
        name = f"{mesh_name}-{bystanders}"
        options = Settings.load(mesh=name).backend_options()
        backend = await open_backend(redis_server.url, options)
        for number in range(bystanders):
            await backend.nodes.join(a_profile(f"b{number}", capabilities=["other"]), vitals())
        for number in range(3):
            await backend.nodes.join(a_profile(f"h{number}", capabilities=["rare"]), vitals())
        before = calls(redis_server)
        assert len(await backend.nodes.holders(frozenset({"rare"}))) == 3
        costs.append(calls(redis_server) - before)
        await backend.aclose()
    stores.finish(mesh_name)
    assert costs[1] <= costs[0] + 5


@pytest.mark.parametrize("auto_join", [True, False])
async def test_a_started_node_registers_its_own_agent_only_if_asked_to(
    mesh: Mesh, start: Start, auto_join: bool
) -> None:
    await start("solo", Options(settings={"auto_join_network": auto_join}))
    agents = [agent.id for agent in (await mesh.nodes.get("solo")).profile.agents]
    assert agents == (["solo"] if auto_join else [])


async def test_a_node_told_twice_to_go_gives_back_what_it_holds_in_under_a_second(
    mesh: Mesh, start: Start, tmp_path: Path
) -> None:
    flag = tmp_path / "go"
    leaver = await start("leaver", Options(concurrency=2))
    handles = [await mesh.tasks.submit("hold", until=str(flag)) for _ in range(3)]
    for handle in handles[:2]:
        await until_running(mesh, handle.id, "leaver")
    leaver.terminate()

    async def is_going() -> bool:
        return (await mesh.nodes.get("leaver")).vitals.status is NodeStatus.SHUTTING_DOWN

    await wait_until(is_going)
    hurried = time.monotonic()
    leaver.terminate()
    assert leaver.wait(20) == 0
    told = await history(mesh, "nodes", node="leaver")
    assert [event.body.get("status") or event.body["event"] for event in told[-2:]] == ["shutting_down", "left"]
    assert time.monotonic() - hurried < 1.0 + SLACK_MS / 1000
    tasks = [await handle.status() for handle in handles]
    assert [(task.state, task.failures, task.crashes) for task in tasks] == [(TaskState.READY, 0, 0)] * 3
    assert await mesh.nodes.list(include_dead=True) == []
    flag.touch()
    await start("heir")
    assert [await handle.result(timeout=SOON) for handle in handles] == ["heir attempt 1"] * 3


async def test_nodes_come_and_go_under_load_and_no_task_is_lost(mesh: Mesh, start: Start, begin: Begin) -> None:
    await start("n0")
    handles = [await mesh.tasks.submit("echo", value=number) for number in range(300)]
    for number in range(1, 4):
        leaver = begin(f"n{number}", Options())
        arrived = [await mesh.tasks.submit("burn", seconds=0.01) for _ in range(30)]
        handles += arrived
        await arrived[-1].wait(timeout=SOON)
        leaver.terminate()
    results = Counter([task.state async for task in mesh.tasks.as_ended(handles, timeout=SOON)])
    assert results == {TaskState.COMPLETED: 390}
    assert len(await history(mesh, "tasks", event="completed")) == 390
