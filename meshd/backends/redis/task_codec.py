"""A task as a Redis hash, and back.

Field names are short since every open task carries them; an absent or empty field means the value's default. Times are
milliseconds, tokens whole decimal numbers.

    s   state                     n    holder                  pr   progress
    k   token                     inc  its incarnation         no   note
    se  stream entry, if any      le   lease end, see below    sa   started
    x   deadline                  cl   claims                  fi   finished
    q   queue: <route>:<priority> st   starts                  g    generation
    v   virtual time              f    failures                cq   '1': cancel requested
    m   JSON: type, creator,      cr   crashes                 re   reason
        preferred node types      d    due, if not created     e    errors, one JSON object a line
    pol policy, see `_policy`     c    created                 res  result
    pl  payload                   cx   context                 w    watchers, one topic a line
    i   idempotency key

`le` is kept minus the sum of all graces granted so far (`shift` in the partition's clock): granting a grace to all
holders then costs one number, however many they are.
"""

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from meshd.errors import CorruptDataError
from meshd.tasks.model import (
    FailureKind,
    NewTask,
    Priority,
    Task,
    TaskError,
    TaskPolicy,
    TaskState,
)
from meshd.tasks.routing import OFFSETS_MS

TASK_FIELDS = (
    "s", "k", "se", "x", "q", "v", "m", "pol", "pl", "cx", "i", "w", "c", "d", "n", "inc", "le", "cl", "st", "f", "cr",
    "g", "cq", "re", "e", "res", "pr", "no", "sa", "fi",
)  # fmt: skip
"""What a script returns of a task, in this order."""

GUARD_FIELDS = ("s", "k", "se", "x", "q", "v", "pol", "i", "w", "n", "inc", "cl", "st", "f", "cr", "g", "cq", "e", "le")
"""What any step may need to know of a task."""

Values = Sequence[bytes | None]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_STATES = {state.value.encode(): state for state in TaskState}
_HELD = frozenset({TaskState.CLAIMED, TaskState.RUNNING})


def submission(new: NewTask) -> list[str | bytes | int]:
    """Return the arguments `task_submit` takes for one task."""
    fields: list[str | bytes | int] = [
        "m", _meta(new.type, new.created_by, new.preferred_types), "pol", _policy(new.policy), "pl", new.payload,
    ]  # fmt: skip
    if new.context is not None:
        fields += ("cx", new.context)
    if new.watcher:
        fields += ("w", new.watcher)
    return [
        new.id,
        f"{new.route}:{new.priority}",
        OFFSETS_MS[new.priority],
        new.delay_ms,
        "" if new.expires_in_ms is None else new.expires_in_ms,
        new.idempotency_key or "",
        len(fields),
        *fields,
    ]


def task_of(task_id: str, values: Values, *, shift: int) -> Task:
    """Return the task whose `TASK_FIELDS` are `values`.

    Raises:
        CorruptDataError: the hash is not one that meshd wrote.
    """
    try:
        state = _STATES[values[0] or b""]
        return _task(task_id, state, values, lease_until_ms=_held_until(state, values[16], shift))
    except (KeyError, ValueError, TypeError, msgspec.DecodeError) as exc:
        raise CorruptDataError(f"task {task_id} cannot be read from its hash: {exc!r}") from exc


def claimed_task(
    task_id: str, values: Values, *, token: int, node_id: str, incarnation: int, lease_until_ms: int
) -> Task:
    """Return the task a claim handed out; `values` are those before the claim."""
    held = list(values)
    held[1], held[14], held[15] = str(token).encode(), node_id.encode(), str(incarnation).encode()
    held[17] = str(_int(values[17]) + 1).encode()
    try:
        return _task(task_id, TaskState.CLAIMED, held, lease_until_ms=lease_until_ms)
    except (KeyError, ValueError, TypeError, msgspec.DecodeError) as exc:
        raise CorruptDataError(f"task {task_id} cannot be read from its hash: {exc!r}") from exc


def _task(task_id: str, state: TaskState, values: Values, *, lease_until_ms: int) -> Task:
    (
        _, token, _, deadline, queue, vt, meta, policy, payload, context, idempotency, watchers, created, due,
        node, incarnation, _, claims, starts, failures, crashes, generation, cancel, reason, errors, result,
        progress, note, started, finished,
    ) = values  # fmt: skip
    route, priority = _queue_parts(queue or b"")
    task_type, created_by, preferred = _meta_parts(meta or b"")
    created_ms = int(created or b"")
    return Task(
        id=task_id,
        type=task_type,
        route=route,
        priority=priority,
        state=state,
        payload=payload or b"",
        policy=_policy_parts(policy or b""),
        created_ms=created_ms,
        vt=int(vt or b""),
        due_ms=int(due) if due else created_ms,
        context=context,
        preferred_types=preferred,
        deadline_ms=_maybe(deadline),
        idempotency_key=_text(idempotency) or None,
        created_by=created_by,
        watchers=tuple(_text(watchers).split("\n")) if watchers else (),
        token=_int(token),
        node_id=_text(node) or None,
        incarnation=_int(incarnation),
        lease_until_ms=lease_until_ms,
        claims=_int(claims),
        starts=_int(starts),
        failures=_int(failures),
        crashes=_int(crashes),
        generation=_int(generation),
        cancel_requested=cancel == b"1",
        reason=_text(reason),
        errors=_errors(errors) if errors else (),
        result=result,
        progress=float(progress) if progress else None,
        note=_text(note),
        started_ms=_maybe(started),
        finished_ms=_maybe(finished),
    )


def _int(value: bytes | None) -> int:
    return int(value) if value else 0


def _maybe(value: bytes | None) -> int | None:
    return int(value) if value else None


def _text(value: bytes | None) -> str:
    return value.decode() if value else ""


def _held_until(state: TaskState, lease: bytes | None, shift: int) -> int:
    return int(lease) + shift if lease and state in _HELD else 0


@lru_cache(maxsize=4096)
def _meta(task_type: str, created_by: str, preferred: tuple[str, ...]) -> bytes:
    return _encode([task_type, created_by, list(preferred)])


@lru_cache(maxsize=4096)
def _meta_parts(meta: bytes) -> tuple[str, str, tuple[str, ...]]:
    task_type, created_by, preferred = _decode(meta)
    return task_type, created_by, tuple(preferred)


@lru_cache(maxsize=4096)
def _queue_parts(queue: bytes) -> tuple[str, Priority]:
    route, _, priority = queue.decode().rpartition(":")
    return route, Priority(priority)


@lru_cache(maxsize=4096)
def _policy(policy: TaskPolicy) -> str:
    """Return a policy as numbers between commas; scripts read the first four."""
    return ",".join(
        map(
            str,
            (
                policy.max_attempts, policy.max_crashes, policy.result_ttl_ms, policy.dead_ttl_ms, policy.backoff_ms,
                policy.backoff_cap_ms, policy.timeout_ms, int(policy.jitter), policy.backoff_factor,
            ),
        )
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _policy_parts(text: bytes) -> TaskPolicy:
    *whole, factor = text.decode().split(",")
    attempts, crashes, result_ttl, dead_ttl, backoff, cap, timeout, jitter = map(int, whole)
    return TaskPolicy(
        max_attempts=attempts,
        max_crashes=crashes,
        backoff_ms=backoff,
        backoff_factor=float(factor),
        backoff_cap_ms=cap,
        jitter=bool(jitter),
        timeout_ms=timeout,
        result_ttl_ms=result_ttl,
        dead_ttl_ms=dead_ttl,
    )


def _errors(lines: bytes) -> tuple[TaskError, ...]:
    return tuple(_error(line) for line in lines.split(b"\n"))


def _error(line: bytes) -> TaskError:
    fields = _decode(line)
    return TaskError(
        attempt=int(fields["attempt"]),
        kind=FailureKind(fields["kind"]),
        message=fields["message"],
        node_id=fields["node_id"],
        at_ms=int(fields["at_ms"]),
        detail=fields["detail"],
    )
