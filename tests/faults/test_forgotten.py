"""Redis forgets its scripts, or everything: nodes are back by themselves, and what is gone stays gone."""

import asyncio
import time
from contextlib import AsyncExitStack

from meshd import Mesh, TaskState
from meshd.tasks.service import TaskHandle
from tests.faults.scene import SOON, Ledger, a_worker, settings, until_alive
from tests.redis_backend.raw import raw_commands
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

BACK_S = 3.0


async def test_forgotten_scripts_are_sent_again_under_load(server: RedisServer, mesh: Mesh, ledger: Ledger) -> None:
    async with a_worker("n1", ledger).running(server.url, settings=settings()):
        with raw_commands(server.port) as run:
            handles: list[TaskHandle] = []
            for number in range(300):
                if number % 50 == 25:
                    run("SCRIPT", "FLUSH")
                handles.append(await mesh.tasks.submit("work", number=number, ms=2))
        async for task in mesh.tasks.as_ended(handles, timeout=SOON):
            assert (task.state, task.starts) == (TaskState.COMPLETED, 1)
        with raw_commands(server.port) as run:
            errors = run("INFO", "errorstats")
    assert errors.get("errorstat_NOSCRIPT", {"count": 0})["count"] < 200, errors


async def test_nodes_come_back_after_everything_was_flushed_and_no_task_is_made_up(
    server: RedisServer, mesh: Mesh, ledger: Ledger
) -> None:
    names = ["n1", "n2", "n3"]
    async with AsyncExitStack() as stack:
        for name in names:
            await stack.enter_async_context(
                a_worker(name, ledger, concurrency=4).running(server.url, settings=settings())
            )
        running = [await mesh.tasks.submit("hold") for _ in range(6)]
        await wait_until(lambda: len(ledger.began) == 6)
        waiting = [await mesh.tasks.submit("nobody") for _ in range(50)]
        with raw_commands(server.port) as run:
            run("FLUSHALL")
            flushed = time.monotonic()
            for name in names:
                await until_alive(mesh, name)
            assert time.monotonic() - flushed < BACK_S
            ledger.go_on.set()
            fresh = [await mesh.tasks.submit("work", number=number) for number in range(50)]
            assert [await handle.result(timeout=SOON) for handle in fresh] == list(range(50))
            await wait_until(lambda: sum(ledger.ended.values()) >= 50)
            page = await mesh.tasks.list(limit=200)
            assert {task.id for task in page.tasks} == {handle.id for handle in fresh}
            assert {state: count for state, count in (await mesh.tasks.counts()).items() if count} == {
                TaskState.COMPLETED: 50
            }
            assert all(one is None for one in await mesh.backend.tasks.get([one.id for one in running + waiting]))

            async def is_known_to_all() -> bool:
                before = int(run("INFO", "commandstats")["cmdstat_evalsha"]["failed_calls"])
                await asyncio.sleep(1.0)
                return int(run("INFO", "commandstats")["cmdstat_evalsha"]["failed_calls"]) == before

            await wait_until(is_known_to_all, timeout=SOON.total_seconds())
