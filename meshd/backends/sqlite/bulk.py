"""Many rows in one statement: one pass through SQLite, and one release of the interpreter lock, for a whole batch."""

import re
import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec

_MOST_ROWS = 256
_FEW_ROWS = 3
_COLUMN = re.compile(r"v\.column(\d+)")


def execute_rows(connection: sqlite3.Connection, statement: str, rows: Sequence[Sequence[object]]) -> None:
    """Run `statement` for all `rows`, where `{rows}` in it stands for their values.

    The rows are sent in powers of two, so that few different statements exist and all stay prepared.
    """
    if len(rows) == 1:
        connection.execute(_spell(statement, 1, len(rows[0])), rows[0])
        return
    start = 0
    while start < len(rows):
        size = 1 << (min(len(rows) - start, _MOST_ROWS).bit_length() - 1)
        chunk = rows[start : start + size]
        connection.execute(_spell(statement, size, len(chunk[0])), tuple(chain.from_iterable(chunk)))
        start += size


def update_rows(connection: sqlite3.Connection, statement: str, rows: Sequence[Sequence[object]]) -> None:
    """Run an `UPDATE … FROM (VALUES {rows}) AS v WHERE …` whose first column is `seq`.

    A few rows go one by one: joining them costs SQLite more than it saves.
    """
    if len(rows) > _FEW_ROWS:
        execute_rows(connection, statement, rows)
        return
    for row in rows:
        connection.execute(_for_one(statement), row)


def select_in(connection: sqlite3.Connection, select: str, first: object, values: Iterable[object]) -> list[Any]:
    """Return the rows of a `SELECT … {values}` whose first parameter is `first`, and `{values}` any of `values`.

    For text that may hold any character: JSON, so `array`, cannot carry a zero byte. Repeats a value to fill up to a
    power of two, so that few different statements exist.
    """
    wanted = list(values)
    if len(wanted) == 1:
        return connection.execute(_spell_in(select, 1), (first, wanted[0])).fetchall()
    rows: list[Any] = []
    for start in range(0, len(wanted), _MOST_ROWS):
        chunk = wanted[start : start + _MOST_ROWS]
        size = 1 << (len(chunk) - 1).bit_length()
        chunk += [chunk[-1]] * (size - len(chunk))
        rows += connection.execute(_spell_in(select, size), (first, *chunk)).fetchall()
    return rows


def array(values: Iterable[object]) -> str:
    """Return `values` as the one parameter of `IN (SELECT value FROM json_each(?))`."""
    return msgspec.json.encode(list(values)).decode()


@lru_cache(maxsize=64)
def _spell_in(select: str, values: int) -> str:
    return select.replace("{values}", "= ?" if values == 1 else f"IN ({', '.join('?' * values)})")


@lru_cache(maxsize=16)
def _for_one(statement: str) -> str:
    change = statement.partition(" FROM (VALUES")[0]
    return _COLUMN.sub(r"?\1", change) + " WHERE seq = ?1"


@lru_cache(maxsize=256)
def _spell(statement: str, rows: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return statement.replace("{rows}", ", ".join([row] * rows))
