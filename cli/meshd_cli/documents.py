"""What commands read, as plain JSON types: the stable shape behind `--json`, and what every view is drawn from."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from meshd import codec
from meshd.nodes.model import Agent, Node, NodeStatus, Verdict
from meshd.tasks.explain import ParentView
from meshd.tasks.fan_out import PartView
from meshd.tasks.model import Task, TaskError, TaskState
from meshd.tasks.routing import requirements_of

BANDS = {
    Verdict.ALIVE: "active",
    Verdict.SUSPECT: "stale",
    Verdict.PARTITIONED: "partitioned",
    Verdict.DEAD: "offline",
}
"""The words of `mesh agents` for how fresh a heartbeat is."""

OFFLINE = "offline"
"""Status shown for a node that cannot say anything any more."""

PENDING = (TaskState.SCHEDULED, TaskState.BLOCKED, TaskState.READY)
RUNNING = (TaskState.CLAIMED, TaskState.RUNNING)


def moment(ms: int | None) -> str | None:
    """Return Unix milliseconds as ISO 8601 in UTC."""
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def node_document(node: Node) -> dict[str, Any]:
    """Return everything the mesh knows of a node."""
    profile, vitals = node.profile, node.vitals
    return {
        **node_summary(node),
        "incarnation": node.incarnation,
        "pid": profile.pid,
        "version": profile.version,
        "joined_at": moment(node.joined_ms),
        "memory_mb": round(vitals.memory_mb, 1),
        "cpu_percent": round(vitals.cpu_percent, 1),
        "average_response_ms": round(vitals.average_response_ms, 1),
        "tasks_completed": vitals.tasks_completed,
        "tasks_failed": vitals.tasks_failed,
        "error_rate": round(vitals.error_rate, 4),
        "capabilities": sorted(profile.all_capabilities),
        "levels": {name: level.name.lower() for name, level in sorted(profile.levels.items())},
        "labels": dict(sorted(profile.labels.items())),
        "history": {task_type: asdict(ended) for task_type, ended in vitals.history.items()},
        "specializations": list(profile.specializations),
        "task_types": sorted(profile.task_types),
        "agents": [agent_document(agent) for agent in profile.agents],
    }


def node_summary(node: Node) -> dict[str, Any]:
    """Return what fits on one line about a node."""
    return {
        "id": node.id,
        "type": node.profile.type,
        "status": OFFLINE if node.verdict is Verdict.DEAD else node.vitals.status.value,
        "verdict": node.verdict.value,
        "band": BANDS[node.verdict],
        "host": node.profile.host,
        "port": node.profile.port,
        "protocol": node.profile.protocol,
        "load": round(node.load, 4),
        "open_tasks": node.vitals.open_tasks,
        "capacity": node.profile.capacity,
        "draining": node.drain_requested,
        "last_heartbeat_at": moment(node.beat_ms),
        "heartbeat_age_seconds": round(node.beat_age_ms / 1000, 3),
    }


def agent_document(agent: Agent) -> dict[str, Any]:
    return {
        "id": agent.id,
        "name": agent.name,
        "role": agent.role,
        "capabilities": sorted(agent.capabilities),
        "specializations": list(agent.specializations),
    }


def is_active(node: Node) -> bool:
    """Return whether the node is alive and serving."""
    return node.verdict is Verdict.ALIVE and node.vitals.status in (NodeStatus.ACTIVE, NodeStatus.BUSY)


def task_summary(task: Task) -> dict[str, Any]:
    """Return what fits on one line about a task."""
    return {
        "id": task.id,
        "type": task.type,
        "state": task.state.value,
        "priority": task.priority.value,
        "node": task.node_id,
        "attempt": task.attempt,
        "progress": task.progress,
        "created_at": moment(task.created_ms),
        "started_at": moment(task.started_ms),
        "finished_at": moment(task.finished_ms),
        "reason": task.reason,
    }


def task_document(task: Task) -> dict[str, Any]:
    """Return the whole record of a task, its payload and result decoded."""
    return {
        **task_summary(task),
        "requires": sorted(requirements_of(task.route)[1]),
        "preferred_types": list(task.preferred_types),
        "preferences": list(task.preferences),
        "placed_on": task.placed_on,
        "pinned": task.pinned,
        "due_at": moment(task.due_ms),
        "deadline_at": moment(task.deadline_ms),
        "timeout_seconds": task.policy.timeout_ms / 1000,
        "max_attempts": task.policy.max_attempts,
        "claims": task.claims,
        "failures": task.failures,
        "crashes": task.crashes,
        "generation": task.generation,
        "cancel_requested": task.cancel_requested,
        "note": task.note,
        "created_by": task.created_by,
        "depends_on": list(task.depends_on),
        "waits_for": list(task.waits_for),
        "on_parent_failure": "run_anyway" if task.runs_anyway else "cancel",
        "idempotency_key": task.idempotency_key,
        "payload": codec.decode(task.payload),
        "context": None if task.context is None else codec.decode(task.context),
        "result": None if task.result is None else codec.decode(task.result),
        "errors": [_error_document(error) for error in task.errors],
    }


def parent_document(parent: ParentView) -> dict[str, Any]:
    """Return what is known of a task that another depends on."""
    return {
        "id": parent.task_id,
        "type": None if parent.task is None else parent.task.type,
        "state": None if parent.task is None else parent.task.state.value,
        "waited_for": parent.is_waited_for,
    }


def part_document(part: PartView) -> dict[str, Any]:
    """Return who has or had a part of a divided task, and what came of it."""
    return {
        "part": part.name,
        "task": part.task_id,
        "state": None if part.state is None else part.state.value,
        "node": part.node_id,
        "agents": list(part.agents),
        "attempts": part.attempts,
        "result": part.result,
        "error": part.error,
    }


def _error_document(error: TaskError) -> dict[str, Any]:
    return {
        "attempt": error.attempt,
        "kind": error.kind.value,
        "message": error.message,
        "node": error.node_id,
        "at": moment(error.at_ms),
        "detail": error.detail,
    }


def task_totals(counts: Mapping[TaskState, int]) -> dict[str, int]:
    """Return pending, running and every state's own count."""
    return {
        "pending": sum(counts.get(state, 0) for state in PENDING),
        "running": sum(counts.get(state, 0) for state in RUNNING),
        "completed": counts.get(TaskState.COMPLETED, 0),
    }
