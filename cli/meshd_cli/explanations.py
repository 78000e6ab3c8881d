"""Why a task is where it is, as plain JSON types."""

from typing import Any

from meshd.tasks.decision import Decision
from meshd.tasks.explain import Explanation, NodeView, WhyNot
from meshd_cli.documents import parent_document, task_summary


def explanation_document(explanation: Explanation) -> dict[str, Any]:
    """Return everything an explanation says."""
    task = explanation.task
    return {
        "task": task_summary(task),
        "summary": explanation.summary,
        "requires": list(explanation.requires),
        "prefers": [*(f"type {name}" for name in task.preferred_types), *task.preferences],
        "placed_on": task.placed_on,
        "pinned": task.pinned,
        "decision": None if explanation.decision is None else _decision(explanation.decision),
        "nodes": [_view(view) for view in explanation.nodes],
        "unblock": list(explanation.unblock),
        "parents": [parent_document(parent) for parent in explanation.parents],
    }


def why_not_document(why: WhyNot) -> dict[str, Any]:
    """Return why a node does not have a task."""
    return {
        "task": task_summary(why.explanation.task),
        "summary": why.explanation.summary,
        "reasons": list(why.reasons),
        **_view(why.node),
    }


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "policy": decision.policy,
        "weights": dict(decision.weights),
        "chosen": decision.chosen or None,
        "hold_back_seconds": decision.hold_back_ms / 1000,
        "nodes": decision.nodes,
        "candidates": decision.candidates,
        "top": [{"node": one.node, "score": one.score, "terms": dict(one.terms)} for one in decision.top],
        "rejected": dict(decision.rejected),
        "age_seconds": decision.age_ms / 1000,
    }


def _view(view: NodeView) -> dict[str, Any]:
    return {
        "node": view.node_id,
        "holds_it": view.holds_it,
        "obstacles": [
            {"kind": obstacle.kind.value, "term": obstacle.term or None, "detail": obstacle.detail}
            for obstacle in view.obstacles
        ],
        "score": view.score,
        "terms": dict(view.terms),
    }
