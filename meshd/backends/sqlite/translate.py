"""The one place where SQLite's errors become ours."""

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from meshd.errors import CorruptDataError, MeshError, StoreReadOnlyError, StoreUnreachableError

_READ_ONLY = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_PERM})
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR})


@contextmanager
def translated(path: Path) -> Generator[None]:
    """Raise what SQLite or the codec raises inside the block as an error of the tree in `meshd.errors`."""
    try:
        yield
    except sqlite3.Error as exc:
        raise _translate(path, exc) from exc
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise CorruptDataError(f"store {path} holds a value meshd did not write: {exc}") from exc


def _translate(path: Path, exc: sqlite3.Error) -> MeshError:
    code = getattr(exc, "sqlite_errorcode", None)
    if code is None and isinstance(exc, sqlite3.OperationalError):
        return CorruptDataError(f"store {path} holds a value meshd did not write: {exc}")
    if code is None:
        return StoreUnreachableError(f"store {path} cannot be used: {exc}")
    primary = code & 0xFF
    if primary in _READ_ONLY or (primary == sqlite3.SQLITE_CANTOPEN and not _writable(path)):
        return StoreReadOnlyError(f"store {path} refuses writes: {exc}; free space or allow writing, then retry")
    if primary in _CORRUPT:
        return CorruptDataError(f"store {path} is not a sound meshd store: {exc}; restore it from a copy")
    return StoreUnreachableError(f"store {path} does not answer: {exc}")


def _writable(path: Path) -> bool:
    return os.access(path.parent, os.W_OK | os.X_OK) and (not path.exists() or os.access(path, os.W_OK))
