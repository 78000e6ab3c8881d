"""The task scripts as typed functions: words become values or errors here and nowhere else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from meshd.backends.redis.connection import Connection
from meshd.backends.redis.keys import TASKS
from meshd.backends.redis.task_codec import Values, claimed_task, submission, task_of
from meshd.errors import InvalidArgumentError, InvalidTransitionError, NotFoundError
from meshd.tasks.model import (
    Claimer,
    Completed,
    Ending,
    Failed,
    Hold,
    NewTask,
    Outcome,
    Receipt,
    Released,
    Stopped,
    SweepReport,
    Task,
    TaskFilter,
    TaskPage,
    TaskState,
)
from meshd.tasks.model import Durability as Level

MAX_ROUTES = 4096
MAX_REPLY_BYTES = 4 * 1024 * 1024
UNUSED_ROUTE_MS = 3_600_000
SCAN_IDS = 512
"""Most ids one step of a listing looks at."""

_OUTCOMES = {outcome.value.encode(): outcome for outcome in Outcome}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What one claim call gave."""

    tasks: list[Task]
    more: bool
    """It stopped at a bound, so there may be more."""


async def _run(store: Connection, name: str, *args: str | bytes | int, retry: bool = True) -> Any:
    return await store.run(name, key=store.keys.clock(TASKS), args=args, retry=retry)


async def submit(store: Connection, *, tasks: Sequence[NewTask], durability: Level) -> list[Receipt]:
    args = [arg for task in tasks for arg in submission(task)]
    reply = await _run(store, "task_submit", MAX_ROUTES, *args)
    if reply[0] == b"routes_full":
        raise InvalidArgumentError(
            f"route {reply[1].decode()!r} would be one more than the {MAX_ROUTES} a mesh may have: "
            "use fewer distinct sets of requirements"
        )
    return [
        Receipt(
            task_id=reply[at].decode(),
            created=reply[at + 1] == b"created",
            state=TaskState(reply[at + 2].decode()),
            durability=durability,
        )
        for at in range(1, len(reply), 3)
    ]


async def claim(
    store: Connection, *, claimer: Claimer, profile: str, bell: str, limit: int, lease_ms: int, patience_ms: int
) -> Claimed | None:
    """Return what was claimed, or `None` when the profile has to be made known first. Never repeated by itself."""
    reply = await _run(
        store, "task_claim", claimer.node_id, claimer.incarnation, profile, bell, limit, lease_ms, patience_ms,
        MAX_REPLY_BYTES, retry=False,
    )  # fmt: skip
    if reply[0] == b"profile":
        return None
    lease_until_ms = int(reply[1])
    tasks = [
        claimed_task(
            reply[at].decode(),
            reply[at + 2],
            token=int(reply[at + 1]),
            node_id=claimer.node_id,
            incarnation=claimer.incarnation,
            lease_until_ms=lease_until_ms,
        )
        for at in range(3, len(reply), 3)
    ]
    return Claimed(tasks=tasks, more=reply[2] == b"more")


async def add_profile(store: Connection, *, profile: str, spec: bytes) -> None:
    await _run(store, "task_profile", profile, spec)


async def start(store: Connection, *, holds: Sequence[Hold]) -> list[Outcome]:
    return _outcomes(await _run(store, "task_start", *_hold_args(holds)))


async def renew(store: Connection, *, holds: Sequence[Hold], lease_ms: int) -> list[Outcome]:
    return _outcomes(await _run(store, "task_renew", lease_ms, *_hold_args(holds)))


async def progress(store: Connection, *, hold: Hold, fraction: float | None, note: str) -> Outcome:
    share = "" if fraction is None else repr(fraction)
    return _OUTCOMES[await _run(store, "task_progress", hold.task_id, hold.token, share, note)]


async def finish(store: Connection, *, endings: Sequence[Ending]) -> list[Outcome]:
    args: list[str | bytes | int] = []
    for ending in endings:
        args += _ending_args(ending)
    return _outcomes(await _run(store, "task_finish", *args))


async def cancel(store: Connection, *, task_id: str, reason: str) -> Task:
    return _changed(task_id, "cancel", await _run(store, "task_cancel", task_id, reason))


async def redrive(store: Connection, *, task_id: str) -> Task:
    return _changed(task_id, "redrive", await _run(store, "task_redrive", task_id))


async def reclaim(store: Connection, *, node_id: str, up_to_incarnation: int, cursor: str) -> tuple[int, str]:
    """Return how many tasks one step moved, and the cursor of the next step, `0` at the end."""
    reply = await _run(store, "task_reclaim", node_id, up_to_incarnation, cursor)
    return int(reply[1]), reply[2].decode()


async def sweep(store: Connection, *, limit: int, interval_ms: int) -> SweepReport:
    reply = await _run(store, "task_sweep", limit, interval_ms)
    promoted, reclaimed, buried, expired = map(int, reply[1:5])
    return SweepReport(
        promoted=promoted,
        reclaimed=reclaimed,
        buried=buried,
        expired=expired,
        graced=reply[5] == b"graced",
        more=reply[6] == b"more",
    )


async def tidy(store: Connection) -> None:
    await _run(store, "task_tidy", UNUSED_ROUTE_MS)


async def get(store: Connection, *, task_ids: Sequence[str]) -> list[Task | None]:
    return _found(task_ids, await _run(store, "task_get", *task_ids))


async def watch(store: Connection, *, task_ids: Sequence[str], topic: str) -> list[Task | None]:
    return _found(task_ids, await _run(store, "task_watch", topic, *task_ids))


async def list_page(store: Connection, *, where: TaskFilter, limit: int, cursor: str) -> TaskPage:
    states = "".join(f",{state}" for state in sorted(where.states))
    reply = await _run(
        store, "task_list", cursor, limit, SCAN_IDS, where.type, where.node_id, f"{states}," if states else "",
        MAX_REPLY_BYTES,
    )  # fmt: skip
    shift = int(reply[1])
    tasks = [task_of(reply[at].decode(), reply[at + 1], shift=shift) for at in range(3, len(reply), 2)]
    return TaskPage(tasks=tuple(tasks), cursor=reply[2].decode() or None)


async def counts(store: Connection) -> dict[TaskState, int]:
    reply = await _run(store, "task_counts")
    found = {TaskState(reply[at].decode()): int(reply[at + 1]) for at in range(0, len(reply), 2)}
    return {state: found.get(state, 0) for state in TaskState}


def _hold_args(holds: Sequence[Hold]) -> list[str | int]:
    return [part for hold in holds for part in (hold.task_id, hold.token)]


def _ending_args(ending: Ending) -> tuple[str | bytes | int, ...]:
    match ending:
        case Completed(hold=hold, result=result):
            return ("completed", hold.task_id, hold.token, result)
        case Failed(hold=hold):
            wait = "" if ending.retry_in_ms is None else ending.retry_in_ms
            return ("failed", hold.task_id, hold.token, ending.kind.value, ending.message, ending.detail, wait)
        case Released(hold=hold):
            return ("released", hold.task_id, hold.token)
        case Stopped(hold=hold):
            return ("stopped", hold.task_id, hold.token)


def _outcomes(reply: Sequence[bytes]) -> list[Outcome]:
    return [_OUTCOMES[word] for word in reply]


def _changed(task_id: str, event: str, reply: Any) -> Task:
    if reply[0] == b"missing":
        raise NotFoundError(f"no task {task_id}: it never existed, or its retention has passed")
    if reply[0] == b"wrong_state":
        raise InvalidTransitionError(task_id, state=reply[1].decode(), event=event)
    return task_of(task_id, reply[2], shift=int(reply[1]))


def _found(task_ids: Sequence[str], reply: Any) -> list[Task | None]:
    shift = int(reply[1])
    rows: Sequence[Values] = reply[2:]
    return [
        task_of(task_id, values, shift=shift) if values else None
        for task_id, values in zip(task_ids, rows, strict=True)
    ]
