"""Who waits for work: claimers that found too little, and which of them a new task wakes."""

import sqlite3
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from meshd.backends.sqlite.bulk import array
from meshd.tasks.model import Claimer
from meshd.tasks.routing import serves


def register_waiting(connection: sqlite3.Connection, *, mesh: int, claimer: Claimer, bell: str) -> None:
    """Have the next task this claimer serves ring `bell`."""
    profile = write_profile(claimer.task_types, claimer.capabilities)
    known = connection.execute(
        "SELECT bell, profile FROM waiting WHERE mesh = ? AND node_id = ?", (mesh, claimer.node_id)
    ).fetchone()
    if known != (bell, profile):
        connection.execute(
            "INSERT OR REPLACE INTO waiting (mesh, node_id, bell, profile) VALUES (?, ?, ?, ?)",
            (mesh, claimer.node_id, bell, profile),
        )


def forget_waiting(connection: sqlite3.Connection, *, mesh: int, node_id: str) -> None:
    """Stop ringing for a claimer: it is busy, or gone."""
    connection.execute("DELETE FROM waiting WHERE mesh = ? AND node_id = ?", (mesh, node_id))


def forget_bells(connection: sqlite3.Connection, bells: Iterable[str]) -> None:
    """Remove everything that would ring these bells: nobody hears them any more."""
    names = array(bells)
    connection.execute("DELETE FROM waiting WHERE bell IN (SELECT value FROM json_each(?))", (names,))
    connection.execute("DELETE FROM subscribers WHERE bell IN (SELECT value FROM json_each(?))", (names,))


def choose_waiting(connection: sqlite3.Connection, mesh: int, ready: Mapping[str, int]) -> list[tuple[str, str, str]]:
    """Return bell, node and route for as many waiting claimers as there are ready tasks, the longest waiting first.

    They are no longer waiting afterwards: each is woken once, and registers again when it finds too little.
    """
    chosen: list[tuple[str, str, str]] = []
    seqs: list[int] = []
    wanted = {route: tasks for route, tasks in ready.items() if tasks > 0}
    for seq, node_id, bell, profile in connection.execute(
        "SELECT seq, node_id, bell, profile FROM waiting WHERE mesh = ? ORDER BY seq", (mesh,)
    ):
        route = next((route for route in wanted if profile_serves(profile, route)), None)
        if route is None:
            continue
        chosen.append((bell, node_id, route))
        seqs.append(seq)
        wanted[route] -= 1
        if not wanted[route]:
            del wanted[route]
        if not wanted:
            break
    if seqs:
        connection.execute("DELETE FROM waiting WHERE seq IN (SELECT value FROM json_each(?))", (array(seqs),))
    return chosen


@lru_cache(maxsize=1024)
def write_profile(task_types: frozenset[str], capabilities: frozenset[str]) -> bytes:
    """Return what decides which routes a claimer serves, equal for equal sets."""
    return msgspec.json.encode((sorted(task_types), sorted(capabilities)))


@lru_cache(maxsize=8192)
def profile_serves(profile: bytes, route: str) -> bool:
    """Return whether claimers with this profile serve the route. Remembered: few profiles and routes exist."""
    return serves(_read_profile(profile), route)


@lru_cache(maxsize=1024)
def _read_profile(profile: bytes) -> Claimer:
    task_types, capabilities = msgspec.json.decode(profile, type=tuple[frozenset[str], frozenset[str]])
    return Claimer(node_id="", incarnation=0, task_types=task_types, capabilities=capabilities)
