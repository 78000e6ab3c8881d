"""Files that cannot be used: each is refused with the error that tells the caller what to do, and left as it was."""

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshd.backends import BackendOptions, open_backend
from meshd.backends.sqlite.database import Database
from meshd.backends.sqlite.opening import locate
from meshd.errors import ConfigurationError, CorruptDataError, StoreReadOnlyError, StoreUnreachableError
from meshd.tasks.model import Durability
from tests.support.builders import a_task, submit_one

ROOT = Path(__file__).parents[2]
NOBODY = 65534

OPEN_AS_NOBODY = f"""
import asyncio, os, sys
import meshd.backends.sqlite
from meshd.backends import open_backend
if os.geteuid() == 0:
    os.setuid({NOBODY})
try:
    asyncio.run(open_backend(sys.argv[1]))
except Exception as exc:
    print(type(exc).__name__)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mesh.db"


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder every user may enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


async def fill(path: Path) -> None:
    backend = await open_backend(f"sqlite:///{path}")
    for _ in range(10):
        await backend.tasks.submit([a_task(payload=os.urandom(400)) for _ in range(50)])
    await backend.aclose()


async def assert_refused(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(CorruptDataError):
        await open_backend(f"sqlite:///{path}")
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_kept(path: Path) -> None:
    path.write_text("these are my notes\n" * 200)
    await assert_refused(path)


async def test_another_programs_database_is_refused_and_kept(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    await assert_refused(path)


async def test_a_store_of_another_version_is_refused_and_kept(path: Path) -> None:
    await fill(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    await assert_refused(path)


@pytest.mark.parametrize("page", [1, 7, 20, 40])
async def test_a_damaged_store_is_refused_and_kept(path: Path, page: int) -> None:
    await fill(path)
    content = bytearray(path.read_bytes())
    content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(content)
    await assert_refused(path)


async def test_a_truncated_store_is_refused_and_kept(path: Path) -> None:
    await fill(path)
    os.truncate(path, path.stat().st_size // 2)
    await assert_refused(path)


async def test_a_value_meshd_did_not_write_is_corrupt_data(path: Path) -> None:
    backend = await open_backend(f"sqlite:///{path}")
    receipt = await submit_one(backend, a_task())
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE tasks SET life = x'00'")
    connection.close()
    with pytest.raises(CorruptDataError):
        await backend.tasks.get([receipt.task_id])
    await backend.aclose()


async def test_a_folder_that_cannot_be_made_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnreachableError):
        await open_backend(f"sqlite:///{tmp_path / 'file' / 'mesh.db'}")


async def test_missing_folders_are_made(tmp_path: Path) -> None:
    backend = await open_backend(f"sqlite:///{tmp_path / 'a' / 'b' / 'mesh.db'}")
    await backend.aclose()


async def test_a_lock_held_too_long_is_unreachable_and_later_it_works(path: Path) -> None:
    backend = await open_backend(f"sqlite:///{path}", BackendOptions(timeout_ms=100))
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnreachableError):
        await submit_one(backend, a_task())
    locker.execute("ROLLBACK")
    assert (await submit_one(backend, a_task())).created
    locker.close()
    await backend.aclose()


async def test_a_full_store_refuses_the_write_whole_and_keeps_what_it_has(path: Path) -> None:
    database = Database(locate(f"sqlite:///{path}"), BackendOptions())
    await database.open()
    await database.write(lambda transaction: transaction.connection.execute("PRAGMA max_page_count = 60"))
    insert = "INSERT INTO payloads (payload) VALUES (zeroblob(?))"
    await database.write(lambda transaction: transaction.connection.execute(insert, (1_000,)))
    with pytest.raises(StoreReadOnlyError):
        await database.write(lambda transaction: transaction.connection.execute(insert, (1_000_000,)))
    count = "SELECT count(*) FROM payloads"
    assert await database.read(lambda reader: reader.connection.execute(count).fetchone()) == (1,)
    await database.aclose()


@pytest.mark.parametrize("locked", ["file", "folder"])
async def test_a_read_only_store_says_so(public_folder: Path, locked: str) -> None:
    path = public_folder / "mesh.db"
    await fill(path)
    path.chmod(0o444 if locked == "file" else 0o666)
    public_folder.chmod(0o777 if locked == "file" else 0o555)
    arguments = [sys.executable, "-c", OPEN_AS_NOBODY, f"sqlite:///{path}"]
    said = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    assert said.stdout.strip() == StoreReadOnlyError.__name__, said.stderr


@pytest.mark.parametrize("url", ["sqlite://mesh.db", "sqlite://", "sqlite:///", "sqlite:///m.db?speed=high"])
def test_a_url_that_names_no_file_or_an_unknown_option_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError):
        locate(url)


def test_the_url_decides_path_and_durability() -> None:
    assert locate("sqlite:////var/a%20b.db").path == Path("/var/a b.db")
    assert locate("sqlite:///mesh.db").path == Path.cwd() / "mesh.db"
    assert locate("sqlite:///mesh.db").durability is Durability.D1
    assert locate("sqlite:///mesh.db?synchronous=full").durability is Durability.D2
