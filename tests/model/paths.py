"""What may become of one task within a step: records, and the log entries that lead to them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from meshd.tasks.model import Outcome, Task, TaskState
from meshd.tasks.states import (
    Await,
    Cancel,
    Claim,
    Complete,
    Expire,
    Fail,
    HolderEvent,
    Open,
    ParentEnded,
    Progress,
    Promote,
    Reclaim,
    Redrive,
    Release,
    Renew,
    Reprioritize,
    Start,
    Stop,
    TaskEvent,
    apply,
)

VERBS: dict[type[TaskEvent], str] = {
    Claim: "claimed",
    Start: "started",
    Complete: "completed",
    Fail: "failed",
    Release: "released",
    Stop: "stopped",
    Promote: "promoted",
    Open: "opened",
    Reprioritize: "reprioritized",
    Reclaim: "reclaimed",
    Cancel: "cancelled",
    Expire: "expired",
    Redrive: "redriven",
    ParentEnded: "unblocked",
}
SILENT = (Renew, Progress, Await)
DETOURS = ("promoted", "opened")

Entry = tuple[str, str, int]
"""Verb, new state and token of one log entry."""


@dataclass(frozen=True, slots=True)
class Path:
    """A record, and the log entries that lead to it."""

    task: Task
    entries: tuple[Entry, ...] = ()

    def then(self, event: TaskEvent) -> "Path":
        """Return the path one step further; itself when the step was taken before."""
        after = apply(self.task, event)
        if isinstance(event, SILENT) or after is self.task:
            return replace(self, task=after)
        if isinstance(event, ParentEnded) and after.state is TaskState.BLOCKED:
            return replace(self, task=after)
        verb = "cancelled" if after.reason and isinstance(event, ParentEnded) else VERBS[type(event)]
        if isinstance(event, Cancel) and after.state is TaskState.RUNNING:
            verb = "cancel_requested"
        return Path(after, (*self.entries, (verb, after.state.value, after.token)))


def without_detours(log: Mapping[str, Iterable[Entry]]) -> dict[str, list[Entry]]:
    """Leave out promotions and openings of tasks that expire in the same breath: a sweep may make that fewer steps."""
    return {task_id: _straight(list(entries)) for task_id, entries in log.items()}


def _straight(entries: Sequence[Entry]) -> list[Entry]:
    kept: list[Entry] = []
    for entry in entries:
        while entry[0] == "expired" and kept and kept[-1][0] in DETOURS:
            kept.pop()
        kept.append(entry)
    return kept


def fenced(task: Task, event: HolderEvent) -> set[Outcome]:
    """Return how a step under another token may be answered."""
    if task.state is not TaskState.EXPIRED:
        return {Outcome.FENCED}
    if isinstance(event, Complete | Fail | Release | Stop):
        return {Outcome.EXPIRED}
    return {Outcome.FENCED, Outcome.EXPIRED}


def success(before: Task, after: Task, event: HolderEvent) -> Outcome:
    """Return how a step that the rules allow is answered."""
    if isinstance(event, Complete | Fail | Release | Stop) and after is before:
        return Outcome.ALREADY_DONE
    if isinstance(event, Renew) and after.cancel_requested:
        return Outcome.CANCEL_REQUESTED
    return Outcome.OK
