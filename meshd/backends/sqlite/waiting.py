"""Who waits for work: claimers that found too little, and which of them a new task wakes."""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import msgspec

from meshd.backends.sqlite.bulk import array
from meshd.backends.sqlite.lanes import node_of
from meshd.backends.sqlite.queues import Queue
from meshd.tasks.model import Claimer
from meshd.tasks.routing import serves

_WAITING = "SELECT seq, node_id, bell, profile FROM waiting WHERE mesh = ?"


class Chosen(NamedTuple):
    """A waiting claimer that is to be rung."""

    seq: int
    bell: str
    node_id: str
    queue: Queue


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


def choose_waiting(connection: sqlite3.Connection, mesh: int, ready: Mapping[Queue, int]) -> list[Chosen]:
    """Return as many waiting claimers as there are ready tasks, the longest waiting first, each with what it is for.

    What is placed on a node is for that node only. Nobody chosen is waiting afterwards: each is woken once, and
    registers again when it finds too little.
    """
    wanted = {queue: tasks for queue, tasks in ready.items() if tasks > 0}
    placed = {queue: 1 for queue in wanted if node_of(queue.lane)}
    shared = {queue: tasks for queue, tasks in wanted.items() if queue not in placed}
    chosen: list[Chosen] = []
    if placed:
        nodes = array({node_of(queue.lane) for queue in placed})
        among = f"{_WAITING} AND node_id IN (SELECT value FROM json_each(?)) ORDER BY seq"
        _choose(connection.execute(among, (mesh, nodes)), placed, chosen)
    if shared:
        _choose(connection.execute(f"{_WAITING} ORDER BY seq", (mesh,)), shared, chosen)
    if chosen:
        seqs = array(each.seq for each in chosen)
        connection.execute("DELETE FROM waiting WHERE seq IN (SELECT value FROM json_each(?))", (seqs,))
    return chosen


def _choose(rows: Iterable[tuple[int, str, str, bytes]], wanted: dict[Queue, int], chosen: list[Chosen]) -> None:
    taken = {each.seq for each in chosen}
    for seq, node_id, bell, profile in rows:
        queue = next((queue for queue in wanted if _takes_from(node_id, profile, queue)), None)
        if queue is None or seq in taken:
            continue
        chosen.append(Chosen(seq, bell, node_id, queue))
        wanted[queue] -= 1
        if not wanted[queue]:
            del wanted[queue]
        if not wanted:
            break


def _takes_from(node_id: str, profile: bytes, queue: Queue) -> bool:
    return node_of(queue.lane) in ("", node_id) and profile_serves(profile, node_id, queue.route)


@lru_cache(maxsize=1024)
def write_profile(task_types: frozenset[str], capabilities: frozenset[str]) -> bytes:
    """Return what decides which routes a claimer serves, equal for equal sets."""
    return msgspec.json.encode((sorted(task_types), sorted(capabilities)))


def profile_serves(profile: bytes, node_id: str, route: str) -> bool:
    """Return whether a claimer with this profile serves the route."""
    return _serves(profile, node_id if "!" in route else "", route)


@lru_cache(maxsize=8192)
def _serves(profile: bytes, node_id: str, route: str) -> bool:
    """Remembered, and the node left out unless a route may exclude it: few profiles and routes exist."""
    return serves(replace(_read_profile(profile), node_id=node_id), route)


@lru_cache(maxsize=1024)
def _read_profile(profile: bytes) -> Claimer:
    task_types, capabilities = msgspec.json.decode(profile, type=tuple[frozenset[str], frozenset[str]])
    return Claimer(node_id="", incarnation=0, task_types=task_types, capabilities=capabilities)
