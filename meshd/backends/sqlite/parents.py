"""Parents: who waits for whom, and what the end of one task means to those that wait for it.

`children` is made from what blocked tasks wait for. A task that ends while others wait is noted in `outbox` in the same
transaction, and settled from there in bounded steps: whoever dies in between leaves it to the next sweep.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from meshd.backends.sqlite.book import TaskBook
from meshd.backends.sqlite.bulk import array, execute_rows
from meshd.backends.sqlite.transaction import Transaction
from meshd.errors import UnknownParentError
from meshd.tasks import states
from meshd.tasks.model import NewTask, Task, TaskState

_LINK = "INSERT OR IGNORE INTO children (mesh, parent, generation, child) VALUES {rows}"


class Family:
    """The new tasks of one submit and the parents they name, each parent kept or added before its child."""

    def __init__(self, transaction: Transaction, tasks: Sequence[NewTask]) -> None:
        self._transaction = transaction
        self._book = TaskBook(transaction)
        self._known: dict[str, str] = {}
        self._waits: dict[str, tuple[str, ...]] = {}
        self._failed: dict[str, str] = {}
        named = {parent for new in tasks for parent in new.depends_on}
        self._book.open(named)
        opened = ((parent, self._book.get(parent)) for parent in named)
        self._states = {parent: task.state for parent, task in opened if task is not None}

    def know(self, new: NewTask, *, task_id: str, state: TaskState) -> None:
        """Note that a task of the submit is another one that is kept."""
        self._known[new.id] = task_id
        self._states.setdefault(task_id, state)

    def add(self, new: NewTask) -> tuple[NewTask, TaskState]:
        """Return the task under the ids its parents are kept under, and its first state.

        Raises:
            UnknownParentError: a parent is neither kept nor added before.
        """
        parents = tuple(dict.fromkeys(self._known.get(parent, parent) for parent in new.depends_on))
        for parent in parents:
            if parent not in self._states:
                raise UnknownParentError(new.id, parent_id=parent)
        new = replace(new, depends_on=parents)
        waits = states.parents_to_wait_for(new, self._states)
        failed = next((parent for parent in waits if self._states[parent].is_terminal), None)
        if waits:
            self._waits[new.id] = waits
        if failed is not None:
            self._failed[new.id] = failed
        state = states.create(new, now_ms=0, waits_for=waits).state if failed is None else TaskState.CANCELLED
        self._states[new.id] = state
        return new, state

    def create(self, seq_and_new: Sequence[tuple[int, NewTask]]) -> None:
        """Write the tasks added, and who waits for whom."""
        book, transaction = self._book, self._transaction
        book.create(seq_and_new, waits=self._waits)
        for child, parent in self._failed.items():
            settle_one(book, child, parent=parent, how=self._states[parent].value, now_ms=transaction.now_ms)
        links = [
            (parent, child) for child, waits in self._waits.items() if child not in self._failed for parent in waits
        ]
        _link(transaction, book, links)
        book.save()


def _link(transaction: Transaction, book: TaskBook, links: Sequence[tuple[str, str]]) -> None:
    """Have parents that have not ended know who waits for them."""
    book.open({parent for parent, _ in links if book.get(parent) is None})
    rows: list[tuple[int, str, int, str]] = []
    for parent, child in links:
        task = book.get(parent)
        if task is not None:
            book.apply(task, states.Await(), verb=None)
            rows.append((transaction.mesh, parent, task.generation, child))
    execute_rows(transaction.connection, _LINK, rows)


def settle_one(book: TaskBook, child: str, *, parent: str, how: str, now_ms: int) -> bool:
    """Tell an opened task that a parent has ended; return whether that was news to it."""
    task = book.get(child)
    if task is None:
        return False
    event = states.ParentEnded(parent=parent, how=how, now_ms=now_ms)
    after = states.apply(task, event)
    verb = "cancelled" if after.state is TaskState.CANCELLED else "unblocked"
    book.apply(task, event, verb=None if after.state is task.state else verb)
    return after is not task


def settle(transaction: Transaction, *, limit: int) -> tuple[int, bool]:
    """Tell about `limit` tasks which of those they wait for have ended; return how many, and whether there are more."""
    told, budget = 0, limit
    while budget > 0:
        end = transaction.connection.execute(
            "SELECT parent, generation, state FROM outbox WHERE mesh = ? LIMIT 1", (transaction.mesh,)
        ).fetchone()
        if end is None:
            return told, False
        news, looked = _tell(transaction, *end, limit=budget)
        told, budget = told + news, budget - looked - 1
    return told, has_outbox(transaction)


def has_outbox(transaction: Transaction) -> bool:
    """Return whether tasks have ended for which others wait."""
    found = transaction.connection.execute("SELECT 1 FROM outbox WHERE mesh = ? LIMIT 1", (transaction.mesh,))
    return found.fetchone() is not None


def _tell(transaction: Transaction, parent: str, generation: int, how: str, *, limit: int) -> tuple[int, int]:
    """Tell up to `limit` children of one end; return to how many it was news, and how many there were."""
    end = (transaction.mesh, parent, generation)
    children = [
        child
        for (child,) in transaction.connection.execute(
            "SELECT child FROM children WHERE mesh = ? AND parent = ? AND generation = ? LIMIT ?", (*end, limit)
        )
    ]
    book = TaskBook(transaction)
    book.open(children)
    told = sum(settle_one(book, child, parent=parent, how=how, now_ms=transaction.now_ms) for child in children)
    book.save()
    transaction.connection.execute(
        "DELETE FROM children WHERE mesh = ? AND parent = ? AND generation = ?"
        " AND child IN (SELECT value FROM json_each(?))",
        (*end, array(children)),
    )
    if len(children) < limit:
        transaction.connection.execute("DELETE FROM outbox WHERE mesh = ? AND parent = ? AND generation = ?", end)
    return told, len(children)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deaf:
    """A blocked task that would not hear of the end of a parent; the parent is `None` if it is not kept."""

    child: str
    parent_id: str
    parent: Task | None

    @property
    def what(self) -> str:
        return f"it waits for task {self.parent_id}, which is {self._how}, and will not hear of its end"

    @property
    def _how(self) -> str:
        return states.FORGOTTEN if self.parent is None else self.parent.state.value

    def mend(self, transaction: Transaction) -> None:
        """Have the parent tell it, or the next sweep if the parent has ended."""
        if self.parent is not None and not self.parent.state.is_terminal:
            book = TaskBook(transaction)
            _link(transaction, book, [(self.parent_id, self.child)])
            book.save()
            return
        end = (transaction.mesh, self.parent_id, 0 if self.parent is None else self.parent.generation)
        execute_rows(transaction.connection, _LINK, [(*end, self.child)])
        transaction.connection.execute("INSERT OR IGNORE INTO outbox VALUES (?, ?, ?, ?)", (*end, self._how))


def deaf(transaction: Transaction, tasks: Iterable[Task]) -> Iterator[Deaf]:
    """Yield who of these tasks would not hear of what end."""
    blocked = [task for task in tasks if task.state is TaskState.BLOCKED]
    if not blocked:
        return
    named = {parent for task in blocked for parent in task.waits_for}
    book = TaskBook(transaction)
    book.open(named)
    links = _links(transaction, named)
    for task in blocked:
        for parent_id in task.waits_for:
            parent = book.get(parent_id)
            generations = links.get((parent_id, task.id), {})
            is_open = parent is not None and parent.is_awaited and not parent.state.is_terminal
            hears = is_open and parent is not None and parent.generation in generations
            if not hears and not any(generations.values()):
                yield Deaf(child=task.id, parent_id=parent_id, parent=parent)


def _links(transaction: Transaction, parents: Iterable[str]) -> Mapping[tuple[str, str], Mapping[int, bool]]:
    """Return by parent and child the generations in which one waits for the other, and whether that one has ended."""
    rows = transaction.connection.execute(
        "SELECT c.parent, c.child, c.generation, o.state IS NOT NULL FROM children c"
        " LEFT JOIN outbox o USING (mesh, parent, generation)"
        " WHERE c.mesh = ? AND c.parent IN (SELECT value FROM json_each(?))",
        (transaction.mesh, array(parents)),
    )
    found: dict[tuple[str, str], dict[int, bool]] = {}
    for parent, child, generation, has_ended in rows:
        found.setdefault((parent, child), {})[generation] = bool(has_ended)
    return found
