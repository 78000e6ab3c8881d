"""A task as a Redis hash, and back.

Field names are short since every open task carries them; an absent or empty field means the value's default. Times are
milliseconds, tokens whole decimal numbers.

    s   state                     n    holder                  pr   progress
    k   token                     inc  its incarnation         no   note
    se  stream entry, see below   le   lease end, see below    sa   started
    x   deadline                  cl   claims                  fi   finished
    q   queue: <route>:<priority> st   starts                  g    generation
    v   turn, see below           f    failures                cq   '1': cancel requested
    c   created, see below        cr   crashes                 re   reason
    d   due, if not created       e    errors, a JSON line each
    ty  type, if not the route's  by   creator                 res  result
    pol policy, if not the usual  pt   preferred node types    w    watchers, one topic a line
    pl  payload, see below        pf   preferences             i    idempotency key
    cx  context                   at   node it is placed on    pin  '1': nobody else ever
    dep parents, see below        wf   those it waits for      ra   '1': runs anyway
    ch  '1': others wait for it
    why decision, see below       hb   end of its hold-back

A task's turn is its virtual time, a dash, and its number in the order of submission. It is the id of its stream entry
(`se`) as long as the task is in its stream or was claimed from there; otherwise it is in `v`. A task created without
delay lacks `c`: it was created at its virtual time less the offset of its priority.

Parents are ids between spaces. Which tasks wait for one is an index, `kids:<id>:<generation>`.

A hash is a compact list as long as no value is over 64 bytes, and some times as large from then on. So a payload or a
decision of up to `SPLIT_UNTIL` bytes is kept in pieces of `PIECE` bytes: `pl`, `pl1`, `pl2`, …; a longer one is whole.

`le` is kept minus the sum of all graces granted so far (`shift` in the partition's clock): granting a grace to all
holders then costs one number, however many they are.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from meshd.errors import CorruptDataError
from meshd.tasks.model import (
    Claimer,
    FailureKind,
    NewTask,
    Priority,
    Task,
    TaskError,
    TaskPolicy,
    TaskState,
)
from meshd.tasks.model import task_of as made_of
from meshd.tasks.routing import OFFSETS_MS, requirements_of

GUARD_FIELDS = (
    "s", "k", "se", "x", "q", "v", "pol", "i", "w", "n", "inc", "cl", "st", "sa", "f", "cr", "g", "cq", "e", "le", "at",
    "pin", "hb", "ch",
)  # fmt: skip
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
STATES = {state.value.encode(): state for state in TaskState}
_HELD = frozenset({TaskState.CLAIMED, TaskState.RUNNING})


def submission(new: NewTask) -> list[str | bytes | int]:
    """Return the arguments `task_submit` takes for one task."""
    fields: list[str | bytes | int] = [*_pieces("pl", new.payload), *_extras(new)]
    policy = _policy(new.policy)
    if policy != USUAL_POLICY:
        fields += ("pol", policy)
    if new.created_by:
        fields += ("by", new.created_by)
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


def _extras(new: NewTask) -> list[str | bytes | int]:
    """Return the fields that few tasks have."""
    fields: list[str | bytes | int] = []
    if new.type != _type_of(new.route):
        fields += ("ty", new.type)
    if new.context is not None:
        fields += ("cx", new.context)
    if new.preferred_types:
        fields += ("pt", _encode(new.preferred_types))
    if new.preferences:
        fields += ("pf", _encode(new.preferences))
    if new.decision is not None:
        fields += _pieces("why", new.decision)
    if new.placement is not None:
        held_back = ("pin", 1) if new.placement.pinned else ("hb", new.delay_ms + new.placement.hold_back_ms)
        fields += ("at", new.placement.node_id, *held_back)
    if new.depends_on:
        fields += ("dep", " ".join(new.depends_on))
    if new.runs_anyway:
        fields += ("ra", 1)
    return fields


def task_of(task_id: str, values: Values, *, shift: int) -> Task:
    """Return the task whose hash has these fields.

    Raises:
        CorruptDataError: the hash is not one that meshd wrote.
    """
    try:
        task, fields = _read(task_id, values)
        lease = fields.get(b"le")
        if lease and task["state"] in _HELD:
            task["lease_until_ms"] = int(lease) + shift
    except (KeyError, ValueError, TypeError, msgspec.DecodeError) as exc:
        raise CorruptDataError(f"task {task_id} cannot be read from its hash: {exc!r}") from exc
    return made_of(task)


def claimed_task(
    task_id: str, values: Values, *, token: int, node_id: str, incarnation: int, lease_until_ms: int
) -> Task:
    """Return the task a claim handed out; `values` are those before the claim."""
    try:
        task, _ = _read(task_id, values)
    except (KeyError, ValueError, TypeError, msgspec.DecodeError) as exc:
        raise CorruptDataError(f"task {task_id} cannot be read from its hash: {exc!r}") from exc
    task["state"], task["token"], task["claims"] = TaskState.CLAIMED, token, task["claims"] + 1
    task["node_id"], task["incarnation"], task["lease_until_ms"] = node_id, incarnation, lease_until_ms
    return made_of(task)


def handed_over(parcel: bytes, claimer: Claimer) -> Task:
    """Return the task that a submit handed over with a claimer's bell.

    A parcel is id, token, lease end, queue and turn, each before a space, then the other fields, each after its length.

    Raises:
        CorruptDataError: it is not what the script wrote.
    """
    try:
        task_id, token, lease_until, queue, turn, rest = parcel.split(b" ", 5)
        values = [b"s", b"ready", b"q", queue, b"v", turn]
        while rest:
            length, _, rest = rest.partition(b":")
            values.append(rest[: int(length)])
            rest = rest[int(length) :]
        return claimed_task(
            task_id.decode(),
            values,
            token=int(token),
            node_id=claimer.node_id,
            incarnation=claimer.incarnation,
            lease_until_ms=int(lease_until),
        )
    except ValueError as exc:
        raise CorruptDataError(f"a task handed over to {claimer.node_id} cannot be read: {exc!r}") from exc


def _pieces(name: str, data: bytes) -> list[str | bytes | int]:
    """Return a long value as fields and values."""
    if not PIECE < len(data) <= SPLIT_UNTIL:
        return [name, data]
    fields: list[str | bytes | int] = [name, data[:PIECE]]
    for number, at in enumerate(range(PIECE, len(data), PIECE), start=1):
        fields += (f"{name}{number}", data[at : at + PIECE])
    return fields


def _joined(fields: dict[bytes, bytes], first: bytes, second: bytes) -> bytes | None:
    """Return a long value from its pieces, given the names of the first two."""
    data = fields.get(first)
    if data is None or second not in fields:
        return data
    pieces = [data, fields[second]]
    while piece := fields.get(b"%s%d" % (first, len(pieces))):
        pieces.append(piece)
    return b"".join(pieces)


def _read(task_id: str, values: Values) -> tuple[dict[str, Any], dict[bytes, bytes]]:
    """Return the values of a task, not held as far as they say, and the fields that need more than a look."""
    task, fields = dict(_BLANK), dict[bytes, bytes]()
    for name, value in zip(values[::2], values[1::2], strict=True):
        reading = _READINGS.get(name)
        if reading is None:
            fields[name] = value
        elif value:
            task[reading[0]] = reading[1](value)
    task["id"], task["state"] = task_id, STATES[fields[b"s"]]
    task["route"], task["priority"], route_type, offset_ms = _queue_parts(fields[b"q"])
    vt = task["vt"] = int((fields.get(b"se") or fields[b"v"]).partition(b"-")[0])
    if not task["type"]:
        task["type"] = route_type
    if not task["created_ms"]:
        task["created_ms"] = vt - offset_ms
    if not task["due_ms"]:
        task["due_ms"] = task["created_ms"]
    task["payload"] = _joined(fields, b"pl", b"pl1") or b""
    task["context"], task["result"] = fields.get(b"cx"), fields.get(b"res")
    if b"why" in fields:
        task["decision"] = _joined(fields, b"why", b"why1")
    return task, fields


@lru_cache(maxsize=4096)
def _type_of(route: str) -> str:
    return requirements_of(route)[0]


@lru_cache(maxsize=4096)
def _words(text: bytes) -> tuple[str, ...]:
    return tuple(_decode(text))


@lru_cache(maxsize=4096)
def _queue_parts(queue: bytes) -> tuple[str, Priority, str, int]:
    """Return route, priority, the type that the route begins with, and the offset of the priority."""
    route, _, name = queue.decode().rpartition(":")
    priority = Priority(name)
    return route, priority, _type_of(route), OFFSETS_MS[priority]


@lru_cache(maxsize=4096)
def _policy(policy: TaskPolicy) -> str:
    """Return a policy as numbers between commas; scripts read the first four, and few policies have the last."""
    numbers: tuple[float, ...] = (
        policy.max_attempts, policy.max_crashes, policy.result_ttl_ms, policy.dead_ttl_ms, policy.backoff_ms,
        policy.backoff_cap_ms, policy.timeout_ms, int(policy.jitter), policy.backoff_factor,
    )  # fmt: skip
    if policy.progress_timeout_ms:
        numbers = (*numbers, policy.progress_timeout_ms)
    return ",".join(map(str, numbers))


@lru_cache(maxsize=4096)
def _policy_parts(text: bytes) -> TaskPolicy:
    numbers = text.decode().split(",")
    attempts, crashes, result_ttl, dead_ttl, backoff, cap, timeout, jitter = map(int, numbers[:8])
    return TaskPolicy(
        max_attempts=attempts,
        max_crashes=crashes,
        backoff_ms=backoff,
        backoff_factor=float(numbers[8]),
        backoff_cap_ms=cap,
        jitter=bool(jitter),
        timeout_ms=timeout,
        progress_timeout_ms=int(numbers[9]) if len(numbers) > 9 else 0,
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


def _is_true(text: bytes) -> bool:
    return text == b"1"


def _ids(text: bytes) -> tuple[str, ...]:
    return tuple(text.decode().split(" "))


def _lines(text: bytes) -> tuple[str, ...]:
    return tuple(text.decode().split("\n"))


_READINGS: Mapping[bytes, tuple[str, Callable[[bytes], Any]]] = {
    b"k": ("token", int),
    b"x": ("deadline_ms", int),
    b"c": ("created_ms", int),
    b"d": ("due_ms", int),
    b"ty": ("type", bytes.decode),
    b"pol": ("policy", _policy_parts),
    b"n": ("node_id", bytes.decode),
    b"inc": ("incarnation", int),
    b"cl": ("claims", int),
    b"st": ("starts", int),
    b"f": ("failures", int),
    b"cr": ("crashes", int),
    b"by": ("created_by", bytes.decode),
    b"pt": ("preferred_types", _words),
    b"pf": ("preferences", _words),
    b"at": ("placed_on", bytes.decode),
    b"pin": ("pinned", _is_true),
    b"pr": ("progress", float),
    b"no": ("note", bytes.decode),
    b"sa": ("started_ms", int),
    b"fi": ("finished_ms", int),
    b"g": ("generation", int),
    b"cq": ("cancel_requested", _is_true),
    b"re": ("reason", bytes.decode),
    b"e": ("errors", _errors),
    b"w": ("watchers", _lines),
    b"i": ("idempotency_key", bytes.decode),
    b"dep": ("depends_on", _ids),
    b"wf": ("waits_for", _ids),
    b"ra": ("runs_anyway", _is_true),
    b"ch": ("is_awaited", _is_true),
}
"""What a field with a value says: which value of the task, and how it is read."""

_BLANK: Mapping[str, Any] = vars(
    Task(
        id="", type="", route="", priority=Priority.NORMAL, state=TaskState.READY, payload=b"",
        policy=_policy_parts(_USUAL), created_ms=0, vt=0, due_ms=0,
    )
)  # fmt: skip
"""The values of a task whose hash says nothing."""
