"""Many rows in one statement: one pass through SQLite, and one release of the interpreter lock, for a whole batch."""

import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain

import msgspec

_MOST_ROWS = 256


def execute_rows(connection: sqlite3.Connection, statement: str, rows: Sequence[Sequence[object]]) -> None:
    """Run `statement` for all `rows`, where `{rows}` in it stands for their values.

    The rows are sent in powers of two, so that few different statements exist and all stay prepared.
    """
    start = 0
    while start < len(rows):
        size = 1 << (min(len(rows) - start, _MOST_ROWS).bit_length() - 1)
        chunk = rows[start : start + size]
        connection.execute(_spell(statement, size, len(chunk[0])), tuple(chain.from_iterable(chunk)))
        start += size


def array(values: Iterable[object]) -> str:
    """Return `values` as the one parameter of `IN (SELECT value FROM json_each(?))`."""
    return msgspec.json.encode(list(values)).decode()


@lru_cache(maxsize=256)
def _spell(statement: str, rows: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return statement.replace("{rows}", ", ".join([row] * rows))
