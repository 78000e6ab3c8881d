"""The level a store is opened at is the level it works at, and the one it states."""

from pathlib import Path

import pytest

from meshd.backends import BackendOptions, open_backend
from meshd.backends.sqlite.database import Database
from meshd.backends.sqlite.opening import locate, raise_durability
from meshd.errors import ConfigurationError
from meshd.tasks.model import Durability
from tests.support.builders import a_task, submit_one

D0, D1, D2, D3 = Durability
NORMAL, FULL = 1, 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mesh.db"


@pytest.mark.parametrize("asked", [None, D0, D1, D2])
@pytest.mark.parametrize(("query", "own"), [("", D1), ("?synchronous=normal", D1), ("?synchronous=full", D2)])
async def test_a_store_gives_at_least_what_is_asked_for_and_says_so(
    path: Path, query: str, own: Durability, asked: Durability | None
) -> None:
    given = max(own, asked or D0)
    backend = await open_backend(f"sqlite:///{path}{query}", BackendOptions(durability=asked))
    assert (await backend.health()).durability is given
    assert (await submit_one(backend, a_task())).durability is given
    await backend.aclose()


@pytest.mark.parametrize(("asked", "synchronous"), [(None, NORMAL), (D1, NORMAL), (D2, FULL)])
async def test_every_commit_reaches_the_disk_at_d2_only(path: Path, asked: Durability | None, synchronous: int) -> None:
    database = Database(raise_durability(locate(f"sqlite:///{path}"), asked), BackendOptions(durability=asked))
    await database.open()
    row = await database.read(lambda reader: reader.connection.execute("PRAGMA synchronous").fetchone())
    assert row == (synchronous,)
    await database.aclose()


async def test_replicas_are_refused_before_a_file_is_made(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="D3"):
        await open_backend(f"sqlite:///{path}", BackendOptions(durability=D3))
    assert not path.exists()


@pytest.mark.parametrize(("own", "asked"), [(D1, D2), (D1, D3), (D2, D3)])
async def test_a_submit_asking_for_more_is_refused_before_anything_is_written(
    path: Path, own: Durability, asked: Durability
) -> None:
    backend = await open_backend(f"sqlite:///{path}", BackendOptions(durability=own))
    with pytest.raises(ConfigurationError, match=asked):
        await backend.tasks.submit([a_task()], durability=asked)
    assert not any((await backend.tasks.counts()).values())
    await backend.aclose()
