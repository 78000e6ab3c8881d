"""How tasks look."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from meshd_cli.views.parts import heading, item, names, plain, quiet, table, word

if TYPE_CHECKING:
    from rich.console import RenderableType

    from meshd_cli.render import Document

SHOWN = 4_000
"""Longest value shown in full; `--json` always has all of it."""


def listing(document: "Document") -> "Iterator[RenderableType]":
    """Yield one line per task, newest first."""
    rows = [
        (task["id"], task["type"], word(task["state"]), task["priority"], task["node"], task["created_at"])
        for task in document["tasks"]
    ]
    yield table(("TASK", "TYPE", "STATE", "PRIORITY", "NODE", "CREATED"), rows)
    if document["cursor"]:
        yield quiet(f"more: --cursor {document['cursor']}")


def dead(document: "Document") -> "Iterator[RenderableType]":
    """Yield one line per dead letter, newest first."""
    rows = [
        (task["id"], task["type"], task["reason"], task["finished_at"], task["error"]) for task in document["tasks"]
    ]
    yield table(("TASK", "TYPE", "REASON", "DIED", "LAST ERROR"), rows)
    if document["cursor"]:
        yield quiet(f"more: --cursor {document['cursor']}")


def rate(document: "Document") -> "Iterator[RenderableType]":
    """Yield how tasks ended of late."""
    share = document["rate"]
    yield item("Completed", document["completed"])
    yield item("Died", document["failed"])
    yield item("Completion Rate", "-" if share is None else f"{share:.1%}")
    yield item("Covered", f"{document['covered_seconds']:.0f} s")


def pauses(document: "Document") -> "Iterator[RenderableType]":
    """Yield what is held back."""
    yield item("Mesh", "paused" if document["mesh"] else "runs")
    yield item("Paused types", names(document["task_types"]))
    yield item("Paused nodes", names(document["nodes"]))


def one(document: "Document") -> "Iterator[RenderableType]":
    """Yield everything about one task."""
    task = document["task"]
    yield heading(f"Task {task['id']}")
    yield item("Type", task["type"])
    yield item("State", word(task["state"], upper=True).append(f": {task['reason']}" if task["reason"] else ""))
    yield item("Priority", task["priority"])
    yield item("Requires", names(task["requires"]))
    if task["preferences"] or task["preferred_types"]:
        yield item("Prefers", names([*(f"type {name}" for name in task["preferred_types"]), *task["preferences"]]))
    if task["placed_on"]:
        yield item("Placed on", f"{task['placed_on']}{' (pinned)' if task['pinned'] else ''}")
    if task["depends_on"]:
        yield item("Depends on", waits(document.get("parents", ()), total=len(task["depends_on"])))
        yield item("If one fails", "runs anyway" if task["on_parent_failure"] == "run_anyway" else "is cancelled")
    yield item("Node", task["node"] or "-")
    yield item(
        "Attempt",
        f"{task['attempt']} ({task['failures']} failures, {task['crashes']} crashes, {task['claims']} claims)",
    )
    yield item("Created", f"{task['created_at']} by {task['created_by'] or '-'}")
    yield item("Started", task["started_at"] or "-")
    yield item("Finished", task["finished_at"] or "-")
    if task["progress"] is not None:
        yield item("Progress", f"{task['progress']:.0%} {task['note']}")
    yield item("Payload", _value(task["payload"]))
    if task["context"] is not None:
        yield item("Context", _value(task["context"]))
    if task["state"] == "completed":
        yield item("Result", _value(task["result"]))
    for error in task["errors"]:
        yield item(f"Attempt {error['attempt']}", f"{error['kind']} on {error['node']}: {error['message']}")
        if error["detail"]:
            yield plain("    " + error["detail"].rstrip().replace("\n", "\n    "))


def parts(document: "Document") -> "Iterator[RenderableType]":
    """Yield one line per part of a divided task."""
    rows = [
        (
            part["part"],
            part["task"],
            word(part["state"] or "forgotten"),
            part["node"] or "-",
            names(part["agents"]),
            part["error"] or (_value(part["result"]) if part["state"] == "completed" else "-"),
        )
        for part in document["parts"]
    ]
    yield table(("PART", "TASK", "STATE", "NODE", "AGENTS", "RESULT OR ERROR"), rows)


def waits(parents: Iterable[Mapping[str, Any]], *, total: int) -> str:
    """Return the tasks another depends on, each with its state."""
    shown = [f"{parent['id']} ({parent['state'] or 'forgotten'})" for parent in parents]
    return ", ".join([*shown, *([f"{total - len(shown)} more"] if total > len(shown) else [])])


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters; --json shows all)"
