"""What the memory commands read, as plain JSON types."""

from collections.abc import Sequence
from typing import Any

from meshd.memory.conflicts import Conflict
from meshd.memory.differences import Blame, Difference
from meshd.memory.entries import Entry, Saved, Writing
from meshd.memory.history import Logged
from meshd.memory.model import Member, StoreClock
from meshd.memory.plans import Undone
from meshd.memory.syncing import WINDOW_S, SyncState
from meshd.memory.undo import UndoReport
from meshd.memory.watching import Change
from meshd_cli.documents import moment


def entry_document(entry: Entry[Any]) -> dict[str, Any]:
    """Return a key with its value and where that comes from."""
    return {
        "key": entry.key,
        "value": entry.value,
        "version": entry.winner.name,
        "edition": entry.winner.edition,
        "versions": list(entry.versions),
        "is_conflict": entry.is_conflict,
        "needs_person": entry.needs_person,
        **_origin(entry.winner),
    }


def saved_document(saved: Saved[Any]) -> dict[str, Any]:
    """Return a key as it was written."""
    became = {"is_sent": saved.is_sent, "confirmed": saved.confirmed, "became": saved.became.value}
    return {**entry_document(saved), **became}


def writing_document(writing: Writing) -> dict[str, Any]:
    """Return one version."""
    return {
        "version": writing.name,
        "edition": writing.edition,
        "value": writing.value,
        "is_deletion": writing.is_deletion,
        **_origin(writing),
        "undoes": writing.undoes,
    }


def logged_document(logged: Logged) -> dict[str, Any]:
    return {**writing_document(logged.writing), "is_current": logged.is_current, "is_shown": logged.is_shown}


def difference_document(difference: Difference) -> dict[str, Any]:
    return {
        "path": difference.path,
        "kind": difference.kind,
        "before": difference.before,
        "after": difference.after,
    }


def blame_document(blame: Blame) -> dict[str, Any]:
    return {
        "path": blame.path,
        "value": blame.value,
        "version": blame.writing.name,
        **_origin(blame.writing),
    }


def conflict_document(conflict: Conflict) -> dict[str, Any]:
    return {
        "key": conflict.key,
        "policy": conflict.policy,
        "value": conflict.value,
        "needs_person": conflict.needs_person,
        "why": conflict.why,
        "sides": [writing_document(side) for side in conflict.sides],
    }


def undone_document(undone: Undone) -> dict[str, Any]:
    return {
        "key": undone.key,
        "version": undone.version,
        "before": undone.before,
        "after": undone.after,
        "is_deletion": undone.is_deletion,
    }


def undo_document(report: UndoReport) -> dict[str, Any]:
    return {
        "kind": "memory_rollback",
        "operation": report.operation,
        "is_dry_run": report.is_dry_run,
        "undone": [undone_document(each) for each in report.undone],
        "skipped": [{"key": each.key, "why": each.why} for each in report.skipped],
    }


def memory_document(known: StoreClock, members: Sequence[Member]) -> dict[str, Any]:
    """Return how much the mesh knows, and how far each replica is."""
    return {
        "items": known.items,
        "bytes": known.value_bytes,
        "revision": known.revision,
        "replicas": [_replica_document(member, known) for member in members],
    }


def _replica_document(member: Member, known: StoreClock) -> dict[str, Any]:
    state = SyncState.of(member.state)
    return {
        "node": member.node,
        "behind": max(0, known.revision - member.revision),
        "pending": state.pending,
        "applied": state.received,
        "sent": state.sent,
        "conflicts": state.conflicts,
        "rejected": state.refused + state.damaged,
        "items_per_second": round(state.recent_items / WINDOW_S, 3),
        "success_percent": _share(state.recent_tries - state.recent_failures, state.recent_tries),
        "reported_at": moment(member.seen_ms),
        "reported_age_seconds": round(max(0, known.now_ms - member.seen_ms) / 1000, 3),
        "synced_at": moment(state.synced_ms or None),
        "is_equal": state.is_equal,
    }


def _share(good: int, tried: int) -> float | None:
    return round(100 * good / tried, 1) if tried else None


def change_document(change: Change) -> dict[str, Any]:
    """Return a key after a change."""
    base = {"kind": "memory_change", "key": change.key, "is_deletion": change.is_deletion}
    return base if change.entry is None else {**base, **entry_document(change.entry)}


def _origin(writing: Writing) -> dict[str, Any]:
    return {
        "at": moment(writing.at_ms),
        "node": writing.node,
        "agent": writing.agent,
        "task": writing.task,
        "note": writing.note,
        "priority": writing.priority,
        "policy": writing.policy,
        "kind_of_value": str(writing.kind),
        "expires_at": moment(writing.expires_ms or None),
    }
