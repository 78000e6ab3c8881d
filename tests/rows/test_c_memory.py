"""Rows C1, C3–C16, C18–C24, K4, L7, L13: what nodes know together, between processes."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from meshd import Mesh, TaskState, codec
from meshd.errors import UnconfirmedError
from meshd.memory.access import Acks
from meshd.memory.policies import Side
from meshd.memory.store import Feed
from meshd.memory.syncing import SyncState
from meshd.memory.undo import Scope
from tests.rows.conftest import SOON, Start
from tests.rows.mesh_command import Command
from tests.rows.worker import Options, settings_for
from tests.support.waiting import wait_until

APART = {"batch_delay_seconds": 60, "sync_interval_seconds": 60}
"""Nodes keep what they write to themselves until they are asked to sync."""
UNION = "custom:tests.rows.test_c_memory:union"

Begin = Callable[..., Awaitable[None]]


def with_more(seen: list[list[int]], *, more: list[int]) -> list[list[int]]:
    return [*seen, more]


def union(sides: Sequence[Side]) -> object:
    """A conflict policy of the user's own."""
    return sorted({word for side in sides for word in side.value})


@pytest.fixture
def here(mesh: Mesh, start: Start, tmp_path: Path) -> Begin:
    """Starts nodes `a` and `b` whose memory is set up like this, and lets them compare themselves once."""

    async def have_compared() -> bool:
        states = [SyncState.of(member.state) for member in await mesh.memory.members()]
        return sum(state.synced_ms > 0 for state in states) == 2

    async def begin(*, types: Sequence[str] = ("general", "general"), **memory_sync: Any) -> None:
        settings = {"state_dir": str(tmp_path / "state"), "memory_sync": memory_sync}
        async with asyncio.TaskGroup() as group:
            for name, kind in zip("ab", types, strict=True):
                group.create_task(start(name, Options(type=kind, settings=settings)))
        if memory_sync.get("enabled", True):
            await wait_until(have_compared, timeout=20)

    return begin


async def remember(mesh: Mesh, node: str, key: str, value: Any, **how: Any) -> str:
    task = await mesh.tasks.submit("remember", key=key, value=value, how=how, node=node)
    name: str = await task.result(timeout=SOON)
    return name


async def recall(mesh: Mesh, node: str, key: str) -> dict[str, Any]:
    task = await mesh.tasks.submit("recall", key=key, node=node)
    found: dict[str, Any] = await task.result(timeout=SOON)
    return found


async def value(mesh: Mesh, node: str, key: str) -> Any:
    return (await recall(mesh, node, key)).get("value")


async def until_known(mesh: Mesh, node: str, key: str, wanted: Any) -> None:
    async def is_known() -> bool:
        return bool(await value(mesh, node, key) == wanted)

    await wait_until(is_known, timeout=20)


async def write_apart(mesh: Mesh, key: str, values: Sequence[Any]) -> None:
    """Have `a` and `b` write a key without knowing of each other, and meet."""
    for node, each in zip("ab", values, strict=True):
        await remember(mesh, node, key, each)
    report = await mesh.sync()
    assert report.missing == ()
    assert len(report.nodes) == 2


async def test_an_item_written_here_is_read_there_byte_for_byte(mesh: Mesh, here: Begin) -> None:
    await here()
    await remember(mesh, "a", "k", {"text": "what a knows", "list": [1, None]})
    await until_known(mesh, "b", "k", {"text": "what a knows", "list": [1, None]})
    assert await recall(mesh, "a", "k") == await recall(mesh, "b", "k")


async def test_an_urgent_item_overtakes_and_an_unimportant_one_stays(mesh: Mesh, here: Begin) -> None:
    await here(**APART, sync_priority_threshold=5)
    await remember(mesh, "a", "unimportant", 1, priority=4)
    await remember(mesh, "a", "usual", 1, priority=5)
    await remember(mesh, "b", "urgent", 1, priority=9)
    await until_known(mesh, "a", "urgent", 1)
    assert await value(mesh, "b", "usual") is None
    await mesh.sync()
    await until_known(mesh, "b", "usual", 1)
    assert (await value(mesh, "a", "unimportant"), await value(mesh, "b", "unimportant")) == (1, None)


async def test_an_item_is_gone_everywhere_after_its_lifetime(mesh: Mesh, here: Begin) -> None:
    await here(prefixes={"brief/": {"ttl_seconds": 2}})
    await remember(mesh, "a", "brief/k", 1)
    await until_known(mesh, "b", "brief/k", 1)
    for node in "ab":
        await until_known(mesh, node, "brief/k", None)
    await mesh.sync()
    assert [(await recall(mesh, node, "brief/k"))["exists"] for node in "ab"] == [False, False]


@pytest.mark.parametrize("enabled", [True, False])
async def test_a_large_value_shrinks_only_where_compression_is_enabled(mesh: Mesh, here: Begin, enabled: bool) -> None:
    await here(compression_enabled=enabled)
    text = "the same words again and again " * 200
    await remember(mesh, "a", "k", text)
    await until_known(mesh, "b", "k", text)
    size = len((await recall(mesh, "b", "k"))["blobs"][0]) // 2
    assert size < 1_000 if enabled else size > len(text)


@pytest.mark.parametrize(
    ("policy", "values", "read"),
    [
        ("latest_wins", ["first", "second"], "second"),
        ("merge", [{"a": 1, "c": 1}, {"b": 2, "c": 2}], {"a": 1, "b": 2, "c": 2}),
        ("source_priority", ["of the hub", "later, of a sensor"], "of the hub"),
        (UNION, [["x", "y"], ["y", "z"]], ["x", "y", "z"]),
    ],
)
async def test_a_policy_decides_alike_on_every_node(
    policy: str, values: list[Any], read: Any, mesh: Mesh, here: Begin
) -> None:
    await here(types=("coordination_hub", "sensor_connected"), **APART, conflict_resolution=policy)
    await write_apart(mesh, "k", values)
    for node in "ab":
        found = await recall(mesh, node, "k")
        assert (found["value"], found["is_conflict"], len(found["siblings"])) == (read, False, 2)


async def test_version_vectors_tell_concurrent_writes_from_later_ones(mesh: Mesh, here: Begin) -> None:
    await here(**APART, conflict_resolution="version_vector")
    await remember(mesh, "a", "later", 1)
    await mesh.sync()
    await remember(mesh, "b", "later", 2)
    await write_apart(mesh, "apart", [1, 2])
    later, apart = await recall(mesh, "a", "later"), await recall(mesh, "a", "apart")
    assert (later["value"], later["is_conflict"], later["siblings"]) == (2, False, [2])
    assert (apart["is_conflict"], sorted(apart["siblings"])) == (True, [1, 2])


async def test_a_person_settles_a_conflict_and_all_nodes_take_it(mesh: Mesh, here: Begin, command: Command) -> None:
    await here(**APART, prefixes={"plans/": {"conflict": "manual"}})
    await write_apart(mesh, "plans/today", ["stay", "go"])
    (conflict,) = command.json("memory", "conflicts")["conflicts"]
    assert [side["node"] for side in conflict["sides"]] == ["b", "a"]
    command.json("memory", "resolve", "plans/today", "--take", "2")
    assert command.json("memory", "conflicts")["conflicts"] == []
    for node in "ab":
        await until_known(mesh, node, "plans/today", "stay")
        assert not (await recall(mesh, node, "plans/today"))["is_conflict"]


async def test_a_named_sync_is_reverted_on_every_node(mesh: Mesh, here: Begin) -> None:
    await here()
    await remember(mesh, "a", "x", 1)
    await until_known(mesh, "b", "x", 1)
    for key in ("x", "y"):
        await remember(mesh, "b", key, 2, note="import-7")
    await until_known(mesh, "a", "y", 2)
    await mesh.sync()
    report = await mesh.memory.rollback_by(Scope(operation="import-7"))
    assert [each.key for each in report.undone] == ["x", "y"]
    for node in "ab":
        await until_known(mesh, node, "x", 1)
        await until_known(mesh, node, "y", None)


async def test_history_is_listed_up_to_its_limit(mesh: Mesh, here: Begin) -> None:
    await here(max_sync_batch_size=1)
    for number in range(14):
        await remember(mesh, "a", "k", number)
    await mesh.sync()
    log = await mesh.memory.log("k")
    assert [each.writing.value for each in log] == list(range(13, 2, -1))
    assert [each.writing.agent for each in log] == ["a"] * 11
    assert [each.writing.edition for each in log] == list(range(14, 3, -1))
    assert len(await mesh.memory.log("k", limit=3)) == 3


async def test_sync_tells_what_each_replica_did_and_names_one_that_does_not_answer(
    mesh: Mesh, start: Start, tmp_path: Path, command: Command
) -> None:
    settings = {"state_dir": str(tmp_path / "state"), "memory_sync": APART, "node_timeout_seconds": 30}
    await start("a", Options(settings=settings))
    frozen = await start("b", Options(settings=settings))
    await remember(mesh, "a", "k", 1)
    synced = command.json("sync")
    rows = {row["id"]: row["memory"] for row in synced["nodes"]}
    assert (synced["state"], synced["confirmed"], synced["memory"]["missing"]) == ("completed", True, [])
    assert all(row["is_equal"] and row["pending"] == 0 for row in rows.values())
    stages: list[str] = []
    report = await mesh.sync(progress=lambda each: stages.append(each.stage))
    assert (stages[0], set(stages[1:]), report.stage) == ("pending", {"in_progress"}, "completed")
    status = command.json("status")["memory"]
    assert status["items"] == 1
    replicas = {each["node"]: each for each in status["replicas"]}
    assert (replicas["b"]["behind"], replicas["b"]["applied"]) == (0, 1)
    assert all(each["items_per_second"] > 0 and each["success_percent"] == 100 for each in replicas.values())
    frozen.send_signal(signal.SIGSTOP)
    said = codec.parse_json(command("sync", "--json", code=8))
    assert (said["state"], said["memory"]["missing"]) == ("partial_success", ["b"])
    frozen.send_signal(signal.SIGCONT)


async def test_without_replicas_nodes_share_what_they_know_at_the_store(mesh: Mesh, here: Begin) -> None:
    await here(enabled=False)
    await remember(mesh, "a", "k", 1)
    assert await value(mesh, "b", "k") == 1
    assert await mesh.memory.members() == []


async def test_a_strong_write_is_read_at_once_on_the_other_node(mesh: Mesh, here: Begin) -> None:
    await here(**APART, strategy="strong")
    for number in range(10):
        await remember(mesh, "ab"[number % 2], "k", number)
        assert await value(mesh, "ba"[number % 2], "k") == number


async def test_the_interval_bounds_how_long_a_node_stays_behind(mesh: Mesh, here: Begin) -> None:
    await here(batch_delay_seconds=60, sync_interval_seconds=0.5)
    async with asyncio.timeout(timedelta(seconds=10).total_seconds()):
        await remember(mesh, "a", "k", 1)
        await until_known(mesh, "b", "k", 1)


async def test_a_write_that_all_are_to_confirm_is_on_every_node_when_it_returns(
    mesh: Mesh, start: Start, tmp_path: Path
) -> None:
    settings = {"state_dir": str(tmp_path / "state"), "node_timeout_seconds": 30}
    await start("a", Options(settings=settings))
    frozen = await start("b", Options(settings=settings))
    for number in range(5):
        saved = await mesh.memory.put("k", number, acks="all")
        assert saved.confirmed == 2
        assert [await value(mesh, node, "k") for node in "ab"] == [number, number]
    frozen.send_signal(signal.SIGSTOP)
    with pytest.raises(UnconfirmedError):
        await mesh.memory.put("k", "late", acks=Acks(replicas=1.0, timeout=timedelta(seconds=1)))
    frozen.send_signal(signal.SIGCONT)
    await until_known(mesh, "b", "k", "late")


async def test_updates_of_many_clients_at_once_are_all_kept(mesh: Mesh, store_url: str, mesh_name: str) -> None:
    async def client(number: int) -> None:
        async with Mesh(store_url, settings=settings_for(mesh_name)) as own:
            for at in range(25):
                await own.memory.update("log", partial(with_more, more=[number, at]), default=[])

    await asyncio.gather(*(client(number) for number in range(4)))
    entry = await mesh.memory.get("log")
    assert entry is not None
    assert sorted(entry.value) == [[number, at] for number in range(4) for at in range(25)]


async def test_a_node_that_was_away_catches_up(mesh: Mesh, start: Start, tmp_path: Path) -> None:
    options = Options(settings={"state_dir": str(tmp_path / "state")})
    await start("a", options)
    away = await start("b", options)
    await remember(mesh, "b", "mine", 1)
    await until_known(mesh, "a", "mine", 1)
    away.kill()
    away.wait()
    await mesh.memory.put_many({f"k/{number}": number for number in range(120)})
    await mesh.memory.delete("mine")
    await start("b", options)
    await until_known(mesh, "b", "k/119", 119)
    await until_known(mesh, "b", "mine", None)
    report = await mesh.sync()
    assert (len(report.nodes), report.missing) == (2, ())


async def test_a_hundred_and_twenty_items_go_as_three_batches(mesh: Mesh, start: Start, tmp_path: Path) -> None:
    await start("a", Options(settings={"state_dir": str(tmp_path / "state"), "memory_sync": APART}))
    sizes: list[int] = []

    async def listen(feed: Feed) -> None:
        while sum(sizes) < 120:
            change = await feed.get(timeout_ms=10_000)
            sizes.append(0 if change is None else len(change.versions))

    await remember(mesh, "a", "first", 0)
    await mesh.sync()
    async with mesh.backend.memory.follow() as feed, asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(listen(feed))
        for number in range(120):
            await remember(mesh, "a", f"k/{number}", number)
        await mesh.sync()
    assert sizes == [50, 50, 20]


@pytest.mark.slow
async def test_only_the_master_writes_and_another_takes_over_when_it_is_dead(
    mesh: Mesh, start: Start, tmp_path: Path
) -> None:
    led = {"prefixes": {"led/": {"strategy": "master_slave"}}}
    options = Options(settings={"state_dir": str(tmp_path / "state"), "memory_sync": led})
    master = await start("a", options)
    await start("b", options)
    await remember(mesh, "a", "led/k", "of a")
    await until_known(mesh, "b", "led/k", "of a")

    async def writes(node: str) -> bool:
        task = await mesh.tasks.submit("remember", key="led/k", value=f"of {node}", how={}, node=node, max_attempts=1)
        ended = await task.wait(timeout=SOON)
        assert ended.state is TaskState.COMPLETED or "is written by a only" in ended.errors[0].message
        return ended.state is TaskState.COMPLETED

    assert not await writes("b")
    assert await writes("a")
    master.kill()
    await wait_until(lambda: writes("b"), timeout=40)
    assert await value(mesh, "b", "led/k") == "of b"
