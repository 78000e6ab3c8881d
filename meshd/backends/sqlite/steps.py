"""What holders do with the tasks they claimed: start, renew, report progress, finish."""

from collections.abc import Sequence

from meshd.backends.sqlite.book import TaskBook
from meshd.backends.sqlite.transaction import Transaction
from meshd.errors import FencedError, InvalidTransitionError
from meshd.tasks import states
from meshd.tasks.model import Claimer, Completed, Ending, Failed, Hold, Outcome, Released, Stopped, Task, TaskState
from meshd.tasks.store import MAX_BATCH


def start(transaction: Transaction, holds: Sequence[Hold]) -> list[Outcome]:
    """Start each held task, or expire it when its deadline has passed."""
    book = TaskBook(transaction)
    book.open(hold.task_id for hold in holds)
    outcomes = [_start(book, hold, transaction.now_ms) for hold in holds]
    book.save()
    return outcomes


def _start(book: TaskBook, hold: Hold, now_ms: int) -> Outcome:
    task = book.get(hold.task_id)
    if task is not None and task.token == hold.token and task.state.is_held and states.is_overdue(task, now_ms):
        book.apply(task, states.Expire(now_ms=now_ms), verb="expired")
        return Outcome.EXPIRED
    outcome, _ = _step(book, task, states.Start(token=hold.token, now_ms=now_ms), verb="started")
    return outcome


def renew(transaction: Transaction, holds: Sequence[Hold], lease_ms: int) -> list[Outcome]:
    """Extend each lease; tell holders that are asked to stop."""
    book = TaskBook(transaction)
    book.open(hold.task_id for hold in holds)
    outcomes: list[Outcome] = []
    for hold in holds:
        event = states.Renew(token=hold.token, lease_until_ms=transaction.now_ms + lease_ms)
        outcome, task = _step(book, book.get(hold.task_id), event, verb=None)
        asked = outcome is Outcome.OK and task is not None and task.cancel_requested
        outcomes.append(Outcome.CANCEL_REQUESTED if asked else _without_expired(outcome))
    book.save()
    return outcomes


def progress(transaction: Transaction, hold: Hold, fraction: float | None, note: str) -> Outcome:
    """Record how far a task is."""
    book = TaskBook(transaction)
    book.open([hold.task_id])
    event = states.Progress(token=hold.token, fraction=fraction, note=note)
    outcome, _ = _step(book, book.get(hold.task_id), event, verb=None)
    book.save()
    return _without_expired(outcome)


def finish(transaction: Transaction, endings: Sequence[Ending]) -> list[Outcome]:
    """End each hold as its holder says."""
    book = TaskBook(transaction)
    book.open(ending.hold.task_id for ending in endings)
    outcomes: list[Outcome] = []
    for ending in endings:
        task = book.get(ending.hold.task_id)
        event, verb = _event(ending, transaction.now_ms)
        outcome, after = _step(book, task, event, verb=verb)
        outcomes.append(Outcome.ALREADY_DONE if outcome is Outcome.OK and after is task else outcome)
    book.save()
    return outcomes


def reconcile(transaction: Transaction, claimer: Claimer, known: frozenset[Hold]) -> int:
    """Release up to `MAX_BATCH` tasks this incarnation holds that are not known to it; return how many."""
    held = transaction.connection.execute(
        "SELECT id, token FROM tasks WHERE mesh = ? AND node_id = ? AND lease_until_ms <> 0 AND incarnation = ?",
        (transaction.mesh, claimer.node_id, claimer.incarnation),
    ).fetchall()
    unknown = [(task_id, token) for task_id, token in held if Hold(task_id=task_id, token=token) not in known]
    book = TaskBook(transaction)
    book.open(task_id for task_id, _ in unknown[:MAX_BATCH])
    for task_id, token in unknown[:MAX_BATCH]:
        _step(book, book.get(task_id), states.Release(token=token, now_ms=transaction.now_ms), verb="released")
    book.save()
    return min(len(unknown), MAX_BATCH)


def _event(ending: Ending, now_ms: int) -> tuple[states.HolderEvent, str]:
    token = ending.hold.token
    match ending:
        case Completed():
            return states.Complete(token=token, result=ending.result, now_ms=now_ms), "completed"
        case Failed():
            failed = states.Fail(
                token=token,
                kind=ending.kind,
                message=ending.message,
                detail=ending.detail,
                retry_in_ms=ending.retry_in_ms,
                now_ms=now_ms,
            )
            return failed, "failed"
        case Released():
            return states.Release(token=token, now_ms=now_ms), "released"
        case Stopped():
            return states.Stop(token=token, now_ms=now_ms), "stopped"


def _step(
    book: TaskBook, task: Task | None, event: states.HolderEvent, *, verb: str | None
) -> tuple[Outcome, Task | None]:
    """Return the store's answer and the task after the event: errors of the state machine are answers here."""
    if task is None:
        return Outcome.MISSING, None
    try:
        return Outcome.OK, book.apply(task, event, verb=verb)
    except FencedError:
        return Outcome.EXPIRED if task.state is TaskState.EXPIRED else Outcome.FENCED, task
    except InvalidTransitionError:
        return Outcome.WRONG_STATE, task


def _without_expired(outcome: Outcome) -> Outcome:
    """A renewal or report that comes too late is simply fenced."""
    return Outcome.FENCED if outcome is Outcome.EXPIRED else outcome
