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
    pol policy, if not the usual  c    created                 res  result
    pl  payload, see below        cx   context                 w    watchers, one topic a line
    i   idempotency key

A hash is a compact list as long as no value is over 64 bytes, and some times as large from then on. So a payload of up
to `SPLIT_UNTIL` bytes is kept in pieces of `PIECE` bytes: `pl`, `pl1`, `pl2`, …; a longer one is whole in `pl`.

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

GUARD_FIELDS = ("s", "k", "se", "x", "q", "v", "pol", "i", "w", "n", "inc", "cl", "st", "f", "cr", "g", "cq", "e", "le")
"""What any step may need to know of a task."""

USUAL_POLICY = "3,3,86400000,604800000,1000,300000,300000,1,2.0"
"""What a hash without a policy stands for, written as `_policy` does. Stored tasks rely on it: it never changes."""
_USUAL = USUAL_POLICY.encode()

PIECE = 64
"""Longest value of a compact hash, Redis' default `hash-max-listpack-value`."""
SPLIT_UNTIL = 1024

Values = Sequence[bytes]
"""Names and values of a hash's fields, in turn."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_STATES = {state.value.encode(): state for state in TaskState}
_HELD = frozenset({TaskState.CLAIMED, TaskState.RUNNING})


def submission(new: NewTask) -> list[str | bytes | int]:
    """Return the arguments `task_submit` takes for one task."""
    fields: list[str | bytes | int] = [
        "m", _meta(new.type, new.created_by, new.preferred_types), *_pieces(new.payload),
    ]  # fmt: skip
    policy = _policy(new.policy)
    if policy != USUAL_POLICY:
        fields += ("pol", policy)
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
    """Return the task whose hash has these fields.

    Raises:
        CorruptDataError: the hash is not one that meshd wrote.
    """
    fields = _fields(values)
    try:
        state = _STATES[fields[b"s"]]
        return _task(task_id, state, fields, lease_until_ms=_held_until(state, fields.get(b"le"), shift))
    except (KeyError, ValueError, TypeError, msgspec.DecodeError) as exc:
        raise CorruptDataError(f"task {task_id} cannot be read from its hash: {exc!r}") from exc


def claimed_task(
    task_id: str, values: Values, *, token: int, node_id: str, incarnation: int, lease_until_ms: int
) -> Task:
    """Return the task a claim handed out; `values` are those before the claim."""
    fields = _fields(values)
    try:
        fields[b"k"], fields[b"n"], fields[b"inc"] = b"%d" % token, node_id.encode(), b"%d" % incarnation
        fields[b"cl"] = b"%d" % (_int(fields.get(b"cl")) + 1)
        return _task(task_id, TaskState.CLAIMED, fields, lease_until_ms=lease_until_ms)
    except (KeyError, ValueError, TypeError, msgspec.DecodeError) as exc:
        raise CorruptDataError(f"task {task_id} cannot be read from its hash: {exc!r}") from exc


def _fields(values: Values) -> dict[bytes, bytes]:
    return dict(zip(values[::2], values[1::2], strict=True))


def _pieces(payload: bytes) -> list[str | bytes]:
    """Return a payload as fields and values."""
    if not PIECE < len(payload) <= SPLIT_UNTIL:
        return ["pl", payload]
    fields: list[str | bytes] = ["pl", payload[:PIECE]]
    for number, at in enumerate(range(PIECE, len(payload), PIECE), start=1):
        fields += (f"pl{number}", payload[at : at + PIECE])
    return fields


def _payload(fields: dict[bytes, bytes]) -> bytes:
    payload = fields.get(b"pl", b"")
    if b"pl1" not in fields:
        return payload
    further = sum(name.startswith(b"pl") for name in fields)
    return payload + b"".join(fields[b"pl%d" % number] for number in range(1, further))


def _task(task_id: str, state: TaskState, fields: dict[bytes, bytes], *, lease_until_ms: int) -> Task:
    get = fields.get
    route, priority = _queue_parts(fields[b"q"])
    task_type, created_by, preferred = _meta_parts(fields[b"m"])
    created_ms = int(fields[b"c"])
    due, watchers, errors, progress = get(b"d"), get(b"w"), get(b"e"), get(b"pr")
    return Task(
        id=task_id,
        type=task_type,
        route=route,
        priority=priority,
        state=state,
        payload=_payload(fields),
        policy=_policy_parts(get(b"pol") or _USUAL),
        created_ms=created_ms,
        vt=int(fields[b"v"]),
        due_ms=int(due) if due else created_ms,
        context=get(b"cx"),
        preferred_types=preferred,
        deadline_ms=_maybe(get(b"x")),
        idempotency_key=_text(get(b"i")) or None,
        created_by=created_by,
        watchers=tuple(_text(watchers).split("\n")) if watchers else (),
        token=_int(get(b"k")),
        node_id=_text(get(b"n")) or None,
        incarnation=_int(get(b"inc")),
        lease_until_ms=lease_until_ms,
        claims=_int(get(b"cl")),
        starts=_int(get(b"st")),
        failures=_int(get(b"f")),
        crashes=_int(get(b"cr")),
        generation=_int(get(b"g")),
        cancel_requested=get(b"cq") == b"1",
        reason=_text(get(b"re")),
        errors=_errors(errors) if errors else (),
        result=get(b"res"),
        progress=float(progress) if progress else None,
        note=_text(get(b"no")),
        started_ms=_maybe(get(b"sa")),
        finished_ms=_maybe(get(b"fi")),
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
