"""How a task is written in its row, and back. Columns that are searched stand alone; the rest is two small JSON arrays.

`birth` changes with the priority only, `life` with every transition. Payload, context and decision live in their own
table, so that a transition does not write them again.
"""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import msgspec

from meshd.backends.sqlite.lanes import lane_of
from meshd.errors import CorruptDataError
from meshd.tasks.model import NewTask, Priority, Task, TaskError, TaskPolicy, TaskState, task_of

COLUMNS = (
    "t.seq, t.vt, t.id, t.state, t.route, t.due_ms, t.deadline_ms, t.lease_until_ms, t.node_id, t.incarnation, t.token,"
    " t.finished_ms, t.idempotency_key, t.placed_on, t.birth, t.life, t.result"
)
SELECT_LIGHT = f"SELECT {COLUMNS}, x'', NULL, NULL, NULL FROM tasks t"
"""A task without payload, context and decision: enough for every transition."""
SELECT_WHOLE = (
    f"SELECT {COLUMNS}, p.payload, p.context, p.decision, p.checksum FROM tasks t JOIN payloads p USING (seq)"
)

INSERT = (
    "INSERT INTO tasks (seq, mesh, id, state, route, vt, due_ms, deadline_ms, lease_until_ms, incarnation, token,"
    " idempotency_key, birth, life, placed_on, hold_back_ms, lane, open_ms) VALUES {rows}"
)
BIRTH = 12
"""Place of the birth in a row of `INSERT`."""
UPDATE = (
    "UPDATE tasks SET state = v.column2, vt = v.column3, due_ms = v.column4, deadline_ms = v.column5,"
    " lease_until_ms = v.column6, node_id = v.column7, incarnation = v.column8, token = v.column9,"
    " finished_ms = v.column10, forget_ms = v.column11, life = v.column12, result = v.column13,"
    " placed_on = v.column14, lane = v.column15,"
    " open_ms = iif(v.column14 IS NULL OR v.column15 IS NULL, NULL, v.column4 + hold_back_ms)"
    " FROM (VALUES {rows}) AS v WHERE tasks.seq = v.column1"
)
UPDATE_HELD = (
    "UPDATE tasks SET state = v.column2, life = v.column3 FROM (VALUES {rows}) AS v WHERE tasks.seq = v.column1"
)
"""For a step of the holder that leaves the lease as it is: it touches no index."""
UPDATE_CHECKSUM = "UPDATE payloads SET checksum = v.column2 FROM (VALUES {rows}) AS v WHERE payloads.seq = v.column1"
UPDATE_BIRTH = "UPDATE tasks SET birth = v.column2 FROM (VALUES {rows}) AS v WHERE tasks.seq = v.column1"

Row = Sequence[Any]


class Birth(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """What a task is from the start."""

    type: str
    priority: Priority
    created_ms: int
    created_by: str = ""
    preferred_types: tuple[str, ...] = ()
    policy: TaskPolicy | None = None
    """`None` stands for the default policy."""
    preferences: tuple[str, ...] = ()
    pinned: bool = False
    depends_on: tuple[str, ...] = ()
    runs_anyway: bool = False


class Life(msgspec.Struct, array_like=True, omit_defaults=True):
    """What happened to a task."""

    claims: int = 0
    starts: int = 0
    failures: int = 0
    crashes: int = 0
    generation: int = 0
    cancel_requested: bool = False
    reason: str = ""
    progress: float | None = None
    note: str = ""
    started_ms: int | None = None
    watchers: tuple[str, ...] = ()
    errors: tuple[TaskError, ...] = ()
    waits_for: tuple[str, ...] = ()
    is_awaited: bool = False


_DEFAULT_POLICY = TaskPolicy()
_STATES = {state.value: state for state in TaskState}
_encode = msgspec.json.Encoder().encode
_decode_birth = msgspec.json.Decoder(Birth).decode
_decode_life = msgspec.json.Decoder(Life).decode


def read_task(row: Row) -> Task:
    """Return the task in a row of `SELECT_LIGHT` or `SELECT_WHOLE`.

    Raises:
        CorruptDataError: the row was damaged.
    """
    _check(row)
    birth, life = _decode_birth(row[14]), _decode_life(row[15])
    return task_of(
        {
            "id": row[2],
            "type": birth.type,
            "route": row[4],
            "priority": birth.priority,
            "state": _state(row[3]),
            "payload": row[17],
            "policy": birth.policy or _DEFAULT_POLICY,
            "created_ms": birth.created_ms,
            "vt": row[1],
            "due_ms": row[5],
            "context": row[18],
            "preferred_types": birth.preferred_types,
            "preferences": birth.preferences,
            "placed_on": row[13],
            "pinned": birth.pinned,
            "decision": row[19],
            "deadline_ms": row[6],
            "idempotency_key": row[12],
            "created_by": birth.created_by,
            "watchers": life.watchers,
            "token": row[10],
            "node_id": row[8],
            "incarnation": row[9],
            "lease_until_ms": row[7],
            "claims": life.claims,
            "starts": life.starts,
            "failures": life.failures,
            "crashes": life.crashes,
            "generation": life.generation,
            "cancel_requested": life.cancel_requested,
            "reason": life.reason,
            "errors": life.errors,
            "result": row[16],
            "progress": life.progress,
            "note": life.note,
            "started_ms": life.started_ms,
            "finished_ms": row[11],
            **_waits(birth, life),
        }
    )


def _waits(birth: Birth, life: Life) -> dict[str, Any]:
    return {
        "depends_on": birth.depends_on,
        "waits_for": life.waits_for,
        "runs_anyway": birth.runs_anyway,
        "is_awaited": life.is_awaited,
    }


def _check(row: Row) -> None:
    if row[20] is not None and row[20] != checksum(row[2], row[14], row[17:20]):
        raise CorruptDataError(f"task {row[2]} is not what was submitted: its stored content was damaged")


def _state(name: str) -> TaskState:
    state = _STATES.get(name)
    if state is None:
        raise CorruptDataError(f"a stored task is in state {name!r}, which does not exist")
    return state


def birth_of(task: Task) -> bytes:
    """Return what a task is from the start."""
    birth = Birth(
        type=task.type,
        priority=task.priority,
        created_ms=task.created_ms,
        created_by=task.created_by,
        preferred_types=task.preferred_types,
        policy=None if task.policy == _DEFAULT_POLICY else task.policy,
        preferences=task.preferences,
        pinned=task.pinned,
        depends_on=task.depends_on,
        runs_anyway=task.runs_anyway,
    )
    return _encode(birth)


def new_row(seq: int, mesh: int, task: Task, *, hold_back_ms: int | None) -> Row:
    """Return the values of `INSERT` for a task just created; `hold_back_ms` of a soft placement."""
    return (
        seq,
        mesh,
        task.id,
        task.state.value,
        task.route,
        task.vt,
        task.due_ms,
        task.deadline_ms,
        task.lease_until_ms,
        task.incarnation,
        task.token,
        task.idempotency_key,
        birth_of(task),
        _encode(_life(task)),
        task.placed_on,
        hold_back_ms,
        lane_of(task),
        open_ms(task, hold_back_ms),
    )


def open_ms(task: Task, hold_back_ms: int | None) -> int | None:
    """Return when a ready task held back for its node is open to all, `None` for any other."""
    if task.state is not TaskState.READY or task.placed_on is None or hold_back_ms is None:
        return None
    return task.due_ms + hold_back_ms


def changed_row(seq: int, task: Task) -> Row:
    """Return the values of `UPDATE` for a task after a transition."""
    return (
        seq,
        task.state.value,
        task.vt,
        task.due_ms,
        task.deadline_ms,
        task.lease_until_ms,
        task.node_id,
        task.incarnation,
        task.token,
        task.finished_ms,
        forget_ms(task),
        _encode(_life(task)),
        task.result,
        task.placed_on,
        lane_of(task),
    )


def held_row(seq: int, task: Task) -> Row:
    """Return the values of `UPDATE_HELD`."""
    return (seq, task.state.value, _encode(_life(task)))


def _life(task: Task) -> Life:
    return Life(
        task.claims,
        task.starts,
        task.failures,
        task.crashes,
        task.generation,
        task.cancel_requested,
        task.reason,
        task.progress,
        task.note,
        task.started_ms,
        task.watchers,
        task.errors,
        task.waits_for,
        task.is_awaited,
    )


def forget_ms(task: Task) -> int | None:
    """Return when the task's retention is over, `None` before its end."""
    if task.finished_ms is None:
        return None
    policy = task.policy
    return task.finished_ms + (policy.dead_ttl_ms if task.state is TaskState.DEAD else policy.result_ttl_ms)


def content_row(seq: int, new: NewTask, *, birth: bytes) -> Row:
    """Return the values of a row of `payloads`."""
    content = (new.payload, new.context, new.decision)
    return (seq, *content, checksum(new.id, birth, content))


def checksum(task_id: str, birth: bytes, content: Sequence[bytes | None]) -> int:
    """Return what tells whether a task still is what was submitted: disks flip bits, and SQLite does not look."""
    total = crc32(birth, crc32(task_id.encode()))
    for part in content:
        total = crc32(part, total) if part is not None else ~total & 0xFFFFFFFF
    return total
