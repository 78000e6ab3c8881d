"""The task scripts as typed functions: words become values or errors here and nowhere else."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any

from meshd.backends.redis.link import Link
from meshd.backends.redis.task_codec import STATES, Values, claimed_task, submission, task_of
from meshd.errors import (
    BackpressureError,
    InvalidArgumentError,
    InvalidTransitionError,
    NotFoundError,
    UnknownParentError,
)
from meshd.tasks.model import (
    Claimed,
    Claimer,
    Completed,
    Ending,
    Failed,
    Hold,
    NewTask,
    Outcome,
    Pauses,
    Priority,
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
MAX_PLAIN_BYTES = 16 * 1024
"""A larger payload is never handed over with a bell."""
ALL_TYPES = "*"
"""What stands for every task type among the paused ones."""
SCAN_IDS = 512
"""Most ids one step of a listing looks at."""

_OUTCOMES = {outcome.value.encode(): outcome for outcome in Outcome}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grab:
    """What one claim call gave."""

    claimed: Claimed
    more: bool
    """It stopped at a bound, so there may be more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """A claimer as the scripts know it."""

    claimer: Claimer
    profile: str
    bell: str


def _run(
    store: Link, name: str, *args: str | bytes | int, retry: bool = True, confirm: Level | None = None
) -> Awaitable[Any]:
    return store.run(name, key=store.keys.clock(store.keys.tasks), args=args, retry=retry, confirm=confirm)


async def submit(store: Link, *, tasks: Sequence[NewTask], durability: Level) -> list[Receipt]:
    args = submission(tasks[0]) if len(tasks) == 1 else [arg for task in tasks for arg in submission(task)]
    size = store.options.queue_size
    reply = await _run(
        store, "task_submit", MAX_ROUTES, "" if size is None else size, _are_plain(tasks), *args, confirm=durability
    )
    if reply[0] == b"queue_full":
        raise BackpressureError(
            f"{int(reply[1])} tasks wait, so {int(reply[2])} more are over the {size} that may: nothing was accepted"
        )
    if reply[0] == b"unknown_parent":
        raise UnknownParentError(reply[1].decode(), parent_id=reply[2].decode())
    if reply[0] == b"routes_full":
        raise InvalidArgumentError(
            f"route {reply[1].decode()!r} would be one more than the {MAX_ROUTES} a mesh may have: "
            "use fewer distinct sets of requirements"
        )
    return [
        Receipt(
            task_id=reply[at].decode(),
            created=reply[at + 1] == b"created",
            state=STATES[reply[at + 2]],
            durability=durability,
        )
        for at in range(1, len(reply), 3)
    ]


async def claim(
    store: Link, *, asker: Asker, limit: int, lease_ms: int, patience_ms: int, alone: bool, read: int | None
) -> Grab | None:
    """Return what was claimed, or `None` when the profile has to be made known first. Never repeated by itself."""
    claimer = asker.claimer
    reply = await _run(
        store, "task_claim", claimer.node_id, claimer.incarnation, asker.profile, asker.bell, limit, lease_ms,
        patience_ms, MAX_REPLY_BYTES, "1" if alone else "", "" if read is None else read, retry=False,
    )  # fmt: skip
    if reply[0] == b"profile":
        return None
    now_ms, lease_until_ms, shift = int(reply[1]), int(reply[2]), int(reply[3])
    tasks = [
        claimed_task(
            reply[at].decode(),
            reply[at + 2],
            token=int(reply[at + 1]),
            node_id=claimer.node_id,
            incarnation=claimer.incarnation,
            lease_until_ms=lease_until_ms,
        )
        if reply[at + 1]
        else task_of(reply[at].decode(), reply[at + 2], shift=shift)
        for at in range(6, len(reply), 3)
    ]
    if tasks:
        store.saw(store.keys.clock(store.keys.tasks), tasks[-1].token)
    claimed = Claimed(tasks=tuple(tasks), suspects_wait=reply[5] == b"suspects", now_ms=now_ms)
    return Grab(claimed=claimed, more=reply[4] == b"more")


async def add_profile(store: Link, *, profile: str, spec: bytes) -> None:
    await _run(store, "task_profile", profile, spec)


async def pass_on(store: Link) -> None:
    """Ring another claimer for what is ready."""
    await _run(store, "task_pass")


async def start(store: Link, *, holds: Sequence[Hold]) -> list[Outcome]:
    return _outcomes(await _run(store, "task_start", *_hold_args(holds)))


async def renew(store: Link, *, holds: Sequence[Hold], lease_ms: int) -> list[Outcome]:
    return _outcomes(await _run(store, "task_renew", lease_ms, *_hold_args(holds)))


async def progress(store: Link, *, hold: Hold, fraction: float | None, note: str) -> Outcome:
    share = "" if fraction is None else repr(fraction)
    return _OUTCOMES[await _run(store, "task_progress", hold.task_id, hold.token, share, note)]


async def finish(store: Link, *, endings: Sequence[Ending]) -> tuple[list[Outcome], bool]:
    """Return the answers, and whether tasks that wait for others are to be told of an end."""
    args: list[str | bytes | int] = []
    for ending in endings:
        args += _ending_args(ending)
    reply = await _run(store, "task_finish", *args)
    if len(reply) > len(endings):
        return _outcomes(reply[:-1]), True
    return _outcomes(reply), False


async def cancel(store: Link, *, task_id: str, reason: str) -> tuple[Task, bool]:
    """Return the task, and whether tasks that wait for others are to be told of an end."""
    reply = await _run(store, "task_cancel", task_id, reason)
    return _changed(task_id, "cancel", reply), len(reply) > 3


async def settle(store: Link, *, limit: int) -> tuple[int, bool]:
    """Tell up to `limit` tasks of the ends they wait for; return how many were told, and whether there are more."""
    reply = await _run(store, "task_settle", limit)
    return int(reply[1]), reply[2] == b"more"


async def redrive(store: Link, *, task_id: str) -> Task:
    return _changed(task_id, "redrive", await _run(store, "task_redrive", task_id))


async def reprioritize(store: Link, *, task_id: str, priority: Priority) -> Task:
    return _changed(task_id, "reprioritize", await _run(store, "task_reprioritize", task_id, priority.value))


async def purge(store: Link, *, task_ids: Sequence[str]) -> list[bool]:
    return [word == b"ok" for word in await _run(store, "task_purge", *task_ids)]


async def pause(store: Link, *, task_type: str | None) -> None:
    await _run(store, "task_pause", task_type or ALL_TYPES)


async def resume(store: Link, *, task_type: str | None) -> bool:
    """Return whether more claimers wait than one call rings."""
    reply = await _run(store, "task_resume", task_type or ALL_TYPES)
    return bool(reply[1] == b"more")


async def paused(store: Link) -> Pauses:
    names: set[str] = {name.decode() for name in await store.command("SMEMBERS", store.keys.paused())}
    return Pauses(mesh=ALL_TYPES in names, task_types=frozenset(names - {ALL_TYPES}))


async def reconcile(store: Link, *, asker: Asker, known: Sequence[Hold], cursor: str) -> tuple[int, str]:
    """Return how many tasks one step gave back, and the cursor of the next step, `0` at the end."""
    claimer = asker.claimer
    reply = await _run(
        store, "task_reconcile", claimer.node_id, claimer.incarnation, asker.bell, cursor, *_hold_args(known)
    )
    return int(reply[1]), reply[2].decode()


async def reclaim(store: Link, *, node_id: str, up_to_incarnation: int, cursor: str) -> tuple[int, str]:
    """Return how many tasks one step took back, and the cursor of the next step, `0` at the end."""
    reply = await _run(store, "task_reclaim", node_id, up_to_incarnation, cursor)
    next_cursor = reply[2].decode()
    return int(reply[1]), "00" if next_cursor == "0" and reply[3] == b"more" else next_cursor


async def sweep(store: Link, *, limit: int, standstill_ms: int) -> tuple[SweepReport, bool]:
    """Return what was moved, and whether tasks that wait for others are to be told of an end."""
    reply = await _run(store, "task_sweep", limit, standstill_ms)
    promoted, opened, reclaimed, buried, expired = map(int, reply[1:6])
    report = SweepReport(
        promoted=promoted,
        opened=opened,
        reclaimed=reclaimed,
        buried=buried,
        expired=expired,
        graced=reply[6] == b"graced",
        more=reply[7] == b"more",
        is_quiet=reply[9] is not None,
    )
    return report, reply[8] is not None


async def tidy(store: Link) -> None:
    await _run(store, "task_tidy", UNUSED_ROUTE_MS)


async def get(store: Link, *, task_ids: Sequence[str]) -> list[Task | None]:
    return _found(task_ids, await _run(store, "task_get", *task_ids))


async def watch(store: Link, *, task_ids: Sequence[str], topic: str) -> list[Task | None]:
    return _found(task_ids, await _run(store, "task_watch", topic, *task_ids))


async def list_page(store: Link, *, where: TaskFilter, limit: int, cursor: str) -> TaskPage:
    states = "".join(f",{state}" for state in sorted(where.states))
    reply = await _run(
        store, "task_list", cursor, limit, SCAN_IDS, where.type, where.node_id, f"{states}," if states else "",
        MAX_REPLY_BYTES,
    )  # fmt: skip
    shift = int(reply[1])
    tasks = [task_of(reply[at].decode(), reply[at + 1], shift=shift) for at in range(3, len(reply), 2)]
    return TaskPage(tasks=tuple(tasks), cursor=reply[2].decode() or None)


async def counts(store: Link) -> dict[TaskState, int]:
    reply = await _run(store, "task_counts")
    found = {TaskState(reply[at].decode()): int(reply[at + 1]) for at in range(0, len(reply), 2)}
    return {state: found.get(state, 0) for state in TaskState}


def _are_plain(tasks: Sequence[NewTask]) -> str:
    """Return `1` if the short way through `task_submit` will do for these tasks: nobody keeps a node out either."""
    if len(tasks) > 1 and len({task.id for task in tasks}) < len(tasks):
        return ""
    return "1" if all(map(_is_plain, tasks)) else ""


def _is_plain(task: NewTask) -> bool:
    is_timed = task.delay_ms or task.expires_in_ms is not None
    is_large = len(task.payload) > MAX_PLAIN_BYTES
    return not (is_timed or is_large or task.idempotency_key or task.placement or task.depends_on or "!" in task.route)


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
