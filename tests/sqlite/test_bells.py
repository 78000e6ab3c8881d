"""What happens to those who wait when pipes vanish or the store is closed."""

import asyncio
import shutil
from pathlib import Path

import pytest

from meshd.backends import open_backend
from meshd.errors import StoreUnreachableError
from meshd.tasks.model import Wake
from tests.support.builders import a_claimer, claim_all
from tests.support.waiting import wait_until

LONG_MS = 30_000


async def test_closing_ends_every_wait(tmp_path: Path) -> None:
    backend = await open_backend(f"sqlite:///{tmp_path / 'mesh.db'}")
    assert await claim_all(backend) == []
    async with backend.events.subscribe("news") as subscription, asyncio.timeout(5):
        calls = asyncio.gather(
            backend.tasks.wait_for_work(a_claimer(), timeout_ms=LONG_MS),
            subscription.get(timeout_ms=LONG_MS),
            return_exceptions=True,
        )
        await backend.tasks.counts()
        await backend.aclose()
        wake, heard = await calls
    assert wake == Wake()
    assert isinstance(heard, StoreUnreachableError)


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    backend = await open_backend(f"sqlite:///{tmp_path / 'mesh.db'}")
    await backend.aclose()
    with pytest.raises(StoreUnreachableError):
        await backend.tasks.counts()


async def test_a_subscription_survives_the_loss_of_its_pipe(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mesh.db'}"
    backend, other = await open_backend(url), await open_backend(url)
    async with backend.events.subscribe("news") as subscription:
        shutil.rmtree(tmp_path / "mesh.db-bells")
        await other.events.publish("news", {"number": 1})

        async def hears_again() -> bool:
            await other.events.publish("news", {"number": 2})
            hint = await subscription.get(timeout_ms=50)
            return hint is not None and hint.body == {"number": 2}

        await wait_until(hears_again)
    await other.aclose()
    await backend.aclose()


async def test_nothing_is_left_of_a_closed_backend_but_the_store(tmp_path: Path) -> None:
    backend = await open_backend(f"sqlite:///{tmp_path / 'mesh.db'}")
    async with backend.events.subscribe("news"):
        assert await claim_all(backend) == []
    await backend.aclose()
    assert {path.name for path in tmp_path.iterdir()} == {"mesh.db", "mesh.db-bells"}
    assert list((tmp_path / "mesh.db-bells").iterdir()) == []
