"""Many calls on one connection: each gets its own answer, whatever becomes of the others."""

import asyncio
from pathlib import Path
from time import monotonic

import pytest

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.errors import StoreUnreachableError
from tests.redis_backend.raw import raw_commands
from tests.support.builders import a_task, submit_one
from tests.support.redis_server import RedisServer


async def test_a_call_given_up_leaves_the_answers_of_others_in_place(backend: Backend) -> None:
    tasks = [a_task() for _ in range(40)]
    await backend.tasks.submit(tasks)
    reads = [asyncio.create_task(backend.tasks.get([task.id])) for task in tasks]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for read in reads[::3]:
        read.cancel()
    answers = await asyncio.gather(*reads, return_exceptions=True)
    for number, (task, answer) in enumerate(zip(tasks, answers, strict=True)):
        if number % 3 == 0:
            assert isinstance(answer, asyncio.CancelledError)
        else:
            assert isinstance(answer, list)
            assert [found.id for found in answer if found is not None] == [task.id]
    found = (await backend.tasks.get([tasks[0].id]))[0]
    assert found is not None
    assert found.id == tasks[0].id


async def test_a_server_that_does_not_answer_in_time_costs_the_connection_only(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "own")
    server.start()
    backend = await open_backend(server.url, BackendOptions(mesh="lane", timeout_ms=300))
    new = a_task()
    await submit_one(backend, new)
    with raw_commands(server.port) as run:
        run("CLIENT PAUSE", 900, "ALL")
        with pytest.raises(StoreUnreachableError):
            await backend.tasks.get([new.id])
        run("PING")
    found = (await backend.tasks.get([new.id]))[0]
    assert found is not None
    assert found.id == new.id
    await backend.aclose()
    server.stop()


async def test_a_call_has_its_whole_time_however_short_before_it_another_was_made(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "own")
    server.start()
    backend = await open_backend(server.url, BackendOptions(mesh="lane", timeout_ms=300))
    new = a_task()
    await submit_one(backend, new)
    busy_until = monotonic() + 0.25
    while monotonic() < busy_until:
        await backend.tasks.get([new.id])
    with raw_commands(server.port) as run:
        run("CLIENT PAUSE", 2_000, "ALL")
        began = monotonic()
        with pytest.raises(StoreUnreachableError, match=r"did not answer within 0\.3 s"):
            await backend.tasks.get([new.id])
        took = monotonic() - began
    assert 0.29 < took < 1.0
    await backend.aclose()
    server.stop()


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 128, 129, 1_023, 1_024, 1_025, 5_000])
async def test_a_payload_of_any_size_comes_back_as_it_was(backend: Backend, size: int) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    new = a_task(payload=payload)
    await submit_one(backend, new)
    found = (await backend.tasks.get([new.id]))[0]
    assert found is not None
    assert found.payload == payload


async def test_a_script_the_server_had_forgotten_runs_although_that_was_heard_too_late(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "own")
    server.start()
    backend = await open_backend(server.url, BackendOptions(mesh="lane", timeout_ms=200))
    new = a_task()
    await submit_one(backend, new)
    await backend.tasks.get([new.id])
    with raw_commands(server.port) as run:
        run("SCRIPT FLUSH")
    asked = asyncio.create_task(backend.tasks.get([new.id]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    busy_until = monotonic() + 0.25
    while monotonic() < busy_until:
        pass
    (found,) = await asked
    assert found is not None
    assert found.id == new.id
    await backend.aclose()
    server.stop()
