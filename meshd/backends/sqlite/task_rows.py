"""How a task is written in its row, and back. Columns that are searched stand alone; the rest is two small JSON arrays.

`birth` never changes; `life` changes with the transitions. Payload and context live in their own table, so that a
transition does not write them again.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from meshd.tasks.model import NewTask, Priority, Task, TaskError, TaskPolicy, TaskState

COLUMNS = (
    "t.seq, t.vt, t.id, t.state, t.route, t.due_ms, t.deadline_ms, t.lease_until_ms, t.node_id, t.incarnation, t.token,"
    " t.finished_ms, t.idempotency_key, t.birth, t.life, t.result"
)
SELECT_LIGHT = f"SELECT {COLUMNS}, x'', NULL FROM tasks t"
"""A task without payload and context: enough for every transition."""
SELECT_WHOLE = f"SELECT {COLUMNS}, p.payload, p.context FROM tasks t JOIN payloads p USING (seq)"

INSERT = (
    "INSERT INTO tasks (seq, mesh, id, state, route, vt, due_ms, deadline_ms, lease_until_ms, incarnation, token,"
    " idempotency_key, birth, life) VALUES {rows}"
)
UPDATE = (
    "UPDATE tasks SET state = v.column2, vt = v.column3, due_ms = v.column4, deadline_ms = v.column5,"
    " lease_until_ms = v.column6, node_id = v.column7, incarnation = v.column8, token = v.column9,"
    " finished_ms = v.column10, forget_ms = v.column11, life = v.column12, result = v.column13"
    " FROM (VALUES {rows}) AS v WHERE tasks.seq = v.column1"
)

Row = Sequence[Any]


class Birth(msgspec.Struct, array_like=True, gc=False):
    """What a task is from the start."""

    type: str
    priority: Priority
    created_ms: int
    created_by: str = ""
    preferred_types: tuple[str, ...] = ()
    policy: TaskPolicy | None = None
    """`None` stands for the default policy."""


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


_DEFAULT_POLICY = TaskPolicy()
_encode = msgspec.json.Encoder().encode
_decode_birth = msgspec.json.Decoder(Birth).decode
_decode_life = msgspec.json.Decoder(Life).decode


def read_task(row: Row) -> Task:
    """Return the task in a row of `SELECT_LIGHT` or `SELECT_WHOLE`."""
    birth = _decode_birth(row[13])
    life = _decode_life(row[14])
    return Task(
        id=row[2],
        type=birth.type,
        route=row[4],
        priority=birth.priority,
        state=TaskState(row[3]),
        payload=row[16],
        policy=birth.policy or _DEFAULT_POLICY,
        created_ms=birth.created_ms,
        vt=row[1],
        due_ms=row[5],
        context=row[17],
        preferred_types=birth.preferred_types,
        deadline_ms=row[6],
        idempotency_key=row[12],
        created_by=birth.created_by,
        watchers=life.watchers,
        token=row[10],
        node_id=row[8],
        incarnation=row[9],
        lease_until_ms=row[7],
        claims=life.claims,
        starts=life.starts,
        failures=life.failures,
        crashes=life.crashes,
        generation=life.generation,
        cancel_requested=life.cancel_requested,
        reason=life.reason,
        errors=life.errors,
        result=row[15],
        progress=life.progress,
        note=life.note,
        started_ms=life.started_ms,
        finished_ms=row[11],
    )


def new_row(seq: int, mesh: int, task: Task) -> Row:
    """Return the values of `INSERT` for a task just created."""
    birth = Birth(
        type=task.type,
        priority=task.priority,
        created_ms=task.created_ms,
        created_by=task.created_by,
        preferred_types=task.preferred_types,
        policy=None if task.policy == _DEFAULT_POLICY else task.policy,
    )
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
        _encode(birth),
        _encode(_life(task)),
    )


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
        _forget_ms(task),
        _encode(_life(task)),
        task.result,
    )


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
    )


def _forget_ms(task: Task) -> int | None:
    if task.finished_ms is None:
        return None
    policy = task.policy
    return task.finished_ms + (policy.dead_ttl_ms if task.state is TaskState.DEAD else policy.result_ttl_ms)


def content_row(seq: int, new: NewTask) -> Row:
    """Return the values of a row of `payloads`."""
    return (seq, new.payload, new.context)
