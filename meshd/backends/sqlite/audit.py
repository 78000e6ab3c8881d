"""The audit on SQLite: every task against what is derived from it, a page at a time; then counts, logs and strays.

Counts are compared although the mesh goes on: while an audit runs, every change of a task it has already counted is
counted along (`Transaction.count`), so at its end both numbers stand for the same moment.
"""

from collections import Counter
from typing import NamedTuple

import msgspec

from meshd.backends.sqlite.breaches import DERIVED, Breach, judge, read_row
from meshd.backends.sqlite.bulk import execute_rows
from meshd.backends.sqlite.lanes import lane_of
from meshd.backends.sqlite.parents import deaf
from meshd.backends.sqlite.queues import Queue, head_of
from meshd.backends.sqlite.schema import make_index, missing_indexes
from meshd.backends.sqlite.task_rows import COLUMNS
from meshd.backends.sqlite.transaction import AuditRun, Transaction
from meshd.errors import InvalidArgumentError
from meshd.ids import new_id
from meshd.tasks.audit import AuditPage, Finding, Invariant
from meshd.tasks.model import Task
from meshd.tasks.store import TASKS_LOG

_PAGE = 256
"""Most tasks one call looks at."""

_PAYLOADS = 2_048
"""Most payloads one call looks at."""

_GIVEN_UP_MS = 60_000
"""How long the next page of an audit may take before its counts are no longer kept."""

_SELECT = (
    f"SELECT {COLUMNS}, x'', NULL, NULL, NULL, {DERIVED} FROM tasks t LEFT JOIN payloads p USING (seq)"
    " WHERE t.mesh = ? AND t.id > ? ORDER BY t.id LIMIT ?"
)


class _Cursor(NamedTuple):
    """How far an audit is."""

    run: str
    last_id: str
    """The last task judged."""
    payload: int | None = None
    """The last payload looked at, once every task is judged."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Cursor).decode


def audit(transaction: Transaction, *, repair: bool, cursor: str | None, lease_ms: int) -> AuditPage:
    """Look at one page; a task found held without a lease gets one of `lease_ms`."""
    page = _Page(transaction, repair=repair, lease_ms=lease_ms)
    at = _begin(transaction, page) if cursor is None else _read_cursor(cursor)
    if at.payload is None:
        at = page.judge_tasks(at)
        if at.payload is not None:
            page.judge_counts(at.run)
            page.judge_log()
    following = at if at.payload is None else page.judge_payloads(at, at.payload)
    return AuditPage(
        checked=page.checked,
        findings=tuple(page.findings),
        cursor=None if following is None else _encode(following).decode(),
    )


def _read_cursor(cursor: str) -> _Cursor:
    try:
        return _decode(cursor)
    except msgspec.MsgspecError as exc:
        raise InvalidArgumentError(f"audit cursor {cursor!r} was not given by an audit") from exc


def _begin(transaction: Transaction, page: "_Page") -> _Cursor:
    page.judge_schema()
    transaction.connection.execute("UPDATE task_counts SET audited = 0 WHERE mesh = ?", (transaction.mesh,))
    run = AuditRun(new_id(), "", transaction.now_ms + _GIVEN_UP_MS)
    transaction.keep_audit(run)
    return _Cursor(run.run, "")


class _Page:
    """One call of an audit: collects what it finds, and mends it if asked to."""

    def __init__(self, transaction: Transaction, *, repair: bool, lease_ms: int) -> None:
        self._transaction = transaction
        self._connection = transaction.connection
        self._repair = repair
        self._lease_ms = lease_ms
        self.findings: list[Finding] = []
        self.checked = 0

    def _find(self, invariant: Invariant, subject: str, what: str, *, mendable: bool = True) -> bool:
        """Note a breach; return whether to mend it."""
        mend = self._repair and mendable
        self.findings.append(Finding(invariant=invariant, subject=subject, what=what, repaired=mend))
        return mend

    def judge_schema(self) -> None:
        """Find indexes of the file itself that are gone."""
        for name in missing_indexes(self._connection):
            invariant = Invariant.ONE_TASK_PER_KEY if name == "tasks_idempotency" else Invariant.HAS_A_VISITOR
            mended = self._repair and make_index(self._connection, name)
            self.findings.append(Finding(invariant=invariant, subject=name, what="the index is gone", repaired=mended))

    def judge_tasks(self, at: _Cursor) -> _Cursor:
        """Judge the next tasks; return where to go on."""
        rows = self._connection.execute(_SELECT, (self._transaction.mesh, at.last_id, _PAGE)).fetchall()
        is_last = len(rows) < _PAGE
        fence = self._transaction.token
        heads: dict[Queue, int] = {}
        states: Counter[str] = Counter()
        tasks: list[Task] = []
        for row in rows:
            task, derived = read_row(row)
            tasks.append(task)
            states[task.state.value] += 1
            for breach in judge(task, derived, now_ms=self._transaction.now_ms, lease_ms=self._lease_ms):
                self._judged(row[0], task, breach)
            self._judge_token(task, fence)
            lane = lane_of(task)
            if lane is not None:
                queue = Queue(lane, task.route)
                heads[queue] = min(task.vt, heads.get(queue, task.vt))
        for queue, vt in heads.items():
            self._judge_queue(queue, vt)
        for each in deaf(self._transaction, tasks):
            if self._find(Invariant.HAS_A_VISITOR, each.child, each.what):
                each.mend(self._transaction)
        self.checked += len(rows)
        last_id = rows[-1][2] if rows else at.last_id
        self._count_along(at.run, last_id, states)
        return _Cursor(at.run, last_id, 0 if is_last else None)

    def _judged(self, seq: int, task: Task, breach: Breach) -> None:
        if not self._find(breach.invariant, task.id, breach.what, mendable=bool(breach.column)):
            return
        self._connection.execute(f"UPDATE tasks SET {breach.column} = ? WHERE seq = ?", (breach.value, seq))
        if breach.column == "lane" and isinstance(breach.value, str):
            self._transaction.wake(Queue(breach.value, task.route))

    def _judge_token(self, task: Task, fence: int) -> None:
        what = f"its token {task.token} is above the fence at {fence}"
        if task.token > fence and self._find(Invariant.TOKENS_RISE, task.id, what):
            self._transaction.raise_token(task.token)

    def _judge_queue(self, queue: Queue, vt: int) -> None:
        head_vt = head_of(self._connection, self._transaction.mesh, queue)
        subject = f"queue {queue.lane}{queue.route}"
        if head_vt is None:
            mend = self._find(Invariant.HAS_A_VISITOR, subject, "it has ready tasks, and no claim looks there")
        elif head_vt > vt:
            mend = self._find(Invariant.HAS_A_VISITOR, subject, f"it is served from {head_vt}, but begins at {vt}")
        else:
            return
        if mend:
            self._transaction.enqueue(queue, vt)
            self._transaction.wake(queue)

    def _count_along(self, run: str, last_id: str, states: Counter[str]) -> None:
        """Add what this page counted, if this audit is still the one that counts."""
        if not self._is_counting(run):
            return
        rows = [(self._transaction.mesh, state, 0, tasks) for state, tasks in states.items()]
        execute_rows(
            self._connection,
            "INSERT INTO task_counts (mesh, state, tasks, audited) VALUES {rows}"
            " ON CONFLICT DO UPDATE SET audited = audited + excluded.audited",
            rows,
        )
        self._transaction.keep_audit(AuditRun(run, last_id, self._transaction.now_ms + _GIVEN_UP_MS))

    def _is_counting(self, run: str) -> bool:
        audit = self._transaction.audit
        return audit is not None and audit.run == run

    def judge_counts(self, run: str) -> None:
        """Compare the counters with what was counted."""
        if not self._is_counting(run):
            return
        for state, tasks, audited in self._connection.execute(
            "SELECT state, tasks, audited FROM task_counts WHERE mesh = ?", (self._transaction.mesh,)
        ).fetchall():
            if tasks != audited and self._find(
                Invariant.COUNTS_AGREE, state, f"{audited} tasks are {state}, the counter says {tasks}"
            ):
                self._connection.execute(
                    "UPDATE task_counts SET tasks = audited WHERE mesh = ? AND state = ?",
                    (self._transaction.mesh, state),
                )
        self._transaction.keep_audit(None)

    def judge_log(self) -> None:
        """Compare the counter of the event log with its entries."""
        at = (self._transaction.mesh, TASKS_LOG)
        first, last = self._connection.execute(
            "SELECT min(cursor), max(cursor) FROM events WHERE mesh = ? AND log = ?", at
        ).fetchone()
        stored = self._connection.execute("SELECT newest FROM logs WHERE mesh = ? AND name = ?", at).fetchone()
        newest = 0 if stored is None else stored[0]
        if (
            last is not None
            and newest < last
            and self._find(
                Invariant.NO_STRAYS, f"log {TASKS_LOG}", f"its newest entry is {last}, the counter says {newest}"
            )
        ):
            self._connection.execute(
                "INSERT INTO logs (mesh, name, newest, trimmed) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET newest = excluded.newest",
                (*at, last, first - 1),
            )

    def judge_payloads(self, at: _Cursor, after: int) -> _Cursor | None:
        """Find payloads without a task; return where to go on, `None` at the end."""
        seqs = self._connection.execute(
            "SELECT p.seq, t.seq IS NULL FROM (SELECT seq FROM payloads WHERE seq > ? ORDER BY seq LIMIT ?) p"
            " LEFT JOIN tasks t USING (seq) ORDER BY p.seq",
            (after, _PAYLOADS),
        ).fetchall()
        for seq, is_stray in seqs:
            if is_stray and self._find(Invariant.NO_STRAYS, f"payload {seq}", "no task has it"):
                self._connection.execute("DELETE FROM payloads WHERE seq = ?", (seq,))
        return _Cursor(at.run, at.last_id, seqs[-1][0]) if len(seqs) == _PAYLOADS else None
