"""Opens a store file: finds it, checks it, creates it when there is none. A damaged file is refused, never replaced."""

import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from meshd.backends.port import BackendOptions
from meshd.backends.sqlite.patience import patiently
from meshd.backends.sqlite.schema import (
    APPLICATION_ID,
    FILL,
    UPGRADE_1,
    UPGRADE_2,
    UPGRADE_3,
    VERSION,
    make_missing,
    run_script,
)
from meshd.backends.sqlite.translate import translated
from meshd.clock import system_clock
from meshd.errors import ConfigurationError, CorruptDataError, StoreUnreachableError
from meshd.ids import new_id
from meshd.tasks.model import Durability

CHECKED_BYTES = 32 * 1024 * 1024
"""Files up to this size are read whole by `integrity_check` when opened; of larger ones the header and schema are
checked, and damage elsewhere is found when it is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """What a `sqlite://` URL says."""

    path: Path
    durability: Durability = Durability.D1


def locate(url: str) -> Location:
    """Return the file and durability `url` names.

    Raises:
        ConfigurationError: it names no file, or asks for something SQLite does not have.
    """
    parts = urlsplit(url)
    name = unquote(parts.path[1:])
    if parts.netloc or not name or name == ":memory:":
        raise ConfigurationError(
            f"store url {url!r} names no file: use sqlite:///relative.db or sqlite:////absolute/path.db"
        )
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    synchronous = query.pop("synchronous", "normal").lower()
    if query or synchronous not in ("normal", "full"):
        raise ConfigurationError(f"store url {url!r}: the only option is synchronous=normal or synchronous=full")
    durability = Durability.D2 if synchronous == "full" else Durability.D1
    return Location(path=Path(name).absolute(), durability=durability)


def raise_durability(location: Location, asked: Durability | None) -> Location:
    """Return the location at the durability asked for, or at its own if that is higher.

    Raises:
        ConfigurationError: no SQLite file gives that durability.
    """
    if asked is None or asked <= location.durability:
        return location
    if asked > Durability.D2:
        raise ConfigurationError(
            f"store {location.path} cannot give durability {asked}: a file has no replicas; use D2 or a Redis store"
        )
    return replace(location, durability=asked)


def connect(location: Location, options: BackendOptions, *, one_thread: bool = True) -> tuple[sqlite3.Connection, int]:
    """Return a checked connection to the file, and the number of the mesh in it; create what is missing.

    Without `one_thread`, whoever uses it sees to it that no two threads do so at once.

    Raises:
        StoreUnreachableError: its folder cannot be made, or it stays locked.
        StoreReadOnlyError: it cannot be written.
        CorruptDataError: it is damaged, no SQLite file, or not written by this version of meshd.
    """
    try:
        location.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StoreUnreachableError(f"store folder {location.path.parent} cannot be made: {exc.strerror}") from exc
    with translated(location.path):
        connection = sqlite3.connect(
            location.path,
            timeout=options.timeout_ms / 1000,
            isolation_level=None,
            check_same_thread=one_thread,
            cached_statements=512,
        )
        try:
            return connection, _prepare(connection, location, options)
        except BaseException:
            connection.close()
            raise


def _prepare(connection: sqlite3.Connection, location: Location, options: BackendOptions) -> int:
    _check(connection, location.path)
    # SQLite does not wait for the lock this takes, however long its busy timeout.
    patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"), timeout_ms=options.timeout_ms)
    connection.execute(f"PRAGMA synchronous = {'FULL' if location.durability is Durability.D2 else 'NORMAL'}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("BEGIN IMMEDIATE")
    try:
        _make(connection)
        mesh = _mesh(connection, options)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    connection.execute("PRAGMA busy_timeout = 0")
    return mesh


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is damaged or somebody else's, before anything is written to it."""
    header = _header(connection)
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    application_id, version = header
    is_ours = application_id == APPLICATION_ID and 0 < version <= VERSION
    if not is_ours and (header != (0, 0) or tables):
        kind = f"version {version}" if application_id == APPLICATION_ID else "not a meshd store"
        raise CorruptDataError(f"store {path} is {kind}; this meshd reads up to version {VERSION}: use another file")
    if path.stat().st_size <= CHECKED_BYTES:
        verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if verdict != "ok":
            raise CorruptDataError(f"store {path} is damaged: {verdict}; restore it from a copy")


def _header(connection: sqlite3.Connection) -> tuple[int, int]:
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    return application_id, connection.execute("PRAGMA user_version").fetchone()[0]


def _make(connection: sqlite3.Connection) -> None:
    """Bring a new or older file to this version, within the present transaction."""
    _, version = _header(connection)
    if version == VERSION:
        return
    if version == 1:
        run_script(connection, UPGRADE_1)
    if version in (1, 2):
        run_script(connection, UPGRADE_2)
    if version in (1, 2, 3):
        run_script(connection, UPGRADE_3)
    make_missing(connection)
    if version < 2:
        run_script(connection, FILL)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _mesh(connection: sqlite3.Connection, options: BackendOptions) -> int:
    now_ms = (options.clock or system_clock)()
    connection.execute(
        "INSERT INTO meshes (name, now_ms, tasks_swept_ms, nodes_swept_ms) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (options.mesh, now_ms, now_ms, now_ms),
    )
    mesh = int(connection.execute("SELECT id FROM meshes WHERE name = ?", (options.mesh,)).fetchone()[0])
    connection.execute("INSERT INTO memories (mesh, generation) VALUES (?, ?) ON CONFLICT DO NOTHING", (mesh, new_id()))
    return mesh
