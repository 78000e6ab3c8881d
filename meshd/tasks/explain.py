"""Why a task is where it is, and what would move it. Pure: it reads the task, the nodes and the pauses as they are now.

It works for every task: one that was placed tells what was decided at the submit, one that was not tells who took it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from meshd.errors import NotFoundError
from meshd.nodes.model import Node, TypeHistory, Verdict
from meshd.tasks.decision import Decision, decode_decision, first_of
from meshd.tasks.model import Pauses, Task, TaskState
from meshd.tasks.obstacles import Obstacle, ObstacleKind, lasting, of_condition, of_route, of_slots, of_task
from meshd.tasks.routing import claimer_of, requirements_of
from meshd.tasks.scoring import RoutingPolicy, Term, Wish, lasting_terms, moving_terms, scored, weights_of

HELD = (TaskState.CLAIMED, TaskState.RUNNING)
GONE = frozenset({ObstacleKind.DEAD, ObstacleKind.SILENT})
WAITING = (TaskState.SCHEDULED, TaskState.BLOCKED, TaskState.READY)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """One node, seen by a task at this moment."""

    node_id: str
    obstacles: tuple[Obstacle, ...]
    """Every predicate that fails; empty for a node that could take the task."""
    score: float
    terms: Mapping[str, float]
    """What the score is made of, under the policy of the decision."""
    holds_it: bool = False


SHOWN_PARENTS = 20
"""Most parents that are looked at; a task may have a thousand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentView:
    """One task that another depends on, as it is now."""

    task_id: str
    task: Task | None
    """`None` if it has ended and was forgotten."""
    is_waited_for: bool

    def __str__(self) -> str:
        return f"{self.task_id} ({'forgotten' if self.task is None else f'{self.task.type}, {self.task.state.value}'})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Where a task is, why, and what would help."""

    task: Task
    summary: str
    """The state and its reason, in one sentence."""
    requires: tuple[str, ...]
    """The terms of its route, the handler first."""
    decision: Decision | None
    """What was decided at the submit; `None` for a task left to the first idle node, or pinned."""
    nodes: tuple[NodeView, ...]
    """Every node the mesh remembers: those that could take it, best first, then the others, nearest first."""
    unblock: tuple[str, ...]
    """What would let a waiting task start."""
    parents: tuple[ParentView, ...] = ()
    """Some of the tasks it depends on, those it waits for first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyNot:
    """Why one node does not have a task."""

    explanation: Explanation
    node: NodeView
    reasons: tuple[str, ...]
    """In the order in which they matter."""


def parents_shown(task: Task) -> tuple[str, ...]:
    """Return which of the tasks it depends on are looked at: those it waits for first."""
    return tuple(dict.fromkeys((*task.waits_for, *task.depends_on)))[:SHOWN_PARENTS]


def explanation_of(
    task: Task, *, nodes: Sequence[Node], pauses: Pauses, doubt_ms: int, parents: tuple[ParentView, ...] = ()
) -> Explanation:
    """Return the explanation of a task as it and the nodes are now; `doubt_ms` as in `lasting_terms`."""
    decision = None if task.decision is None else decode_decision(task.decision)
    views = _views(task, decision, nodes, pauses, doubt_ms)
    task_type, required = requirements_of(task.route)
    return Explanation(
        task=task,
        summary=_waits(task, parents) if task.state is TaskState.BLOCKED else _summary(task, decision, views, pauses),
        requires=(task_type, *sorted(required)),
        decision=decision,
        nodes=views,
        unblock=(*_ends(task), *_unblock(task, views, pauses)) if task.state in WAITING else (),
        parents=parents,
    )


def why_not(explanation: Explanation, node_id: str) -> WhyNot:
    """Return why this node does not have the task.

    Raises:
        NotFoundError: the mesh knows no such node.
    """
    view = next((view for view in explanation.nodes if view.node_id == node_id), None)
    if view is None:
        raise NotFoundError(f"node {node_id!r} is not in this mesh; `mesh nodes list` shows who is")
    task = explanation.task
    if task.node_id == node_id:
        reasons = [f"it {'has it' if view.holds_it else 'had it'}: {explanation.summary}"]
    elif task.state is TaskState.READY:
        reasons = [obstacle.detail for obstacle in view.obstacles]
        reasons = reasons or ["nothing stands in its way: it may take the task at any moment"]
    else:
        staying = [*lasting(view.obstacles), *(obstacle for obstacle in view.obstacles if obstacle.kind in GONE)]
        reasons = [*(obstacle.detail for obstacle in staying), explanation.summary]
    if task.node_id != node_id and explanation.decision is not None and explanation.decision.chosen:
        reasons += _against(explanation.decision, node_id, by=_by(explanation.decision, task))
    return WhyNot(explanation=explanation, node=view, reasons=tuple(reasons))


def _views(
    task: Task, decision: Decision | None, nodes: Sequence[Node], pauses: Pauses, doubt_ms: int
) -> tuple[NodeView, ...]:
    policy = RoutingPolicy(decision.policy) if decision else RoutingPolicy.LATE_BINDING
    wish = Wish(route=task.route, preferred_types=task.preferred_types, preferences=task.preferences)
    weights = weights_of(policy, wish, counts_history=decision is None or Term.HISTORY in decision.weights)
    weights = {term: weight for term, weight in weights.items() if term not in (Term.TURN, Term.CHANCE)}
    completed = sum(node.vitals.history.get(wish.task_type, TypeHistory()).completed for node in nodes)
    until = _meant_until(task, decision)
    views: list[NodeView] = []
    for node in nodes:
        offer = claimer_of(node.profile)
        holds_it = task.state in HELD and node.id == task.node_id
        obstacles = [
            *of_route(offer, task.route),
            *of_condition(node),
            *([] if holds_it or node.verdict is Verdict.DEAD else of_slots(node, node.vitals.open_tasks)),
            *(of_task(task, node, pauses=pauses, meant_until=until) if task.state in WAITING else []),
        ]
        terms = {
            **lasting_terms(wish, node, offer, completed_by_all=completed, doubt_ms=doubt_ms),
            **moving_terms(open_tasks=node.vitals.open_tasks, slots=node.slots),
        }
        result = scored(node.id, terms, weights)
        views.append(
            NodeView(
                node_id=node.id,
                obstacles=tuple(obstacles),
                score=round(result.score, 4),
                terms={term.value: round(value, 3) for term, value in result.terms.items()},
                holds_it=holds_it,
            )
        )
    return tuple(sorted(views, key=lambda view: (not view.holds_it, *_distance(view), -view.score, view.node_id)))


def _distance(view: NodeView) -> tuple[bool, int, bool, int]:
    """How far a node is from taking the task: gone or here, what it lacks for good, what does not pass by itself."""
    stays = any(obstacle.kind is not ObstacleKind.FULL for obstacle in view.obstacles)
    return _is_gone(view), len(lasting(view.obstacles)), stays, len(view.obstacles)


def _meant_until(task: Task, decision: Decision | None) -> str:
    if task.pinned or decision is None:
        return ""
    return f" until {moment(task.due_ms + decision.hold_back_ms)}"


def _summary(task: Task, decision: Decision | None, views: Sequence[NodeView], pauses: Pauses) -> str:
    match task.state:
        case TaskState.SCHEDULED:
            again = f": attempt {task.attempt} after {task.errors[-1].message}" if task.errors else ""
            return f"waits for its time, {moment(task.due_ms)}{again}"
        case TaskState.BLOCKED:
            return "waits for other tasks"
        case TaskState.READY:
            return _why_ready(task, decision, views, pauses)
        case TaskState.CLAIMED:
            return f"{task.node_id} has it and is about to start it"
        case TaskState.RUNNING:
            asked = ", and was asked to stop" if task.cancel_requested else ""
            return f"runs on {task.node_id} since {moment(task.started_ms)}{_how(task, decision)}{asked}"
        case TaskState.COMPLETED:
            return f"completed on {task.node_id} at {moment(task.finished_ms)}{_how(task, decision)}"
        case TaskState.DEAD | TaskState.CANCELLED | TaskState.EXPIRED:
            where = f" on {task.node_id}" if task.node_id else ""
            last = f"{task.errors[-1].message} ({task.errors[-1].node_id})" if task.errors else ""
            reason = "; ".join(part for part in (task.reason, last) if part)
            return f"{task.state.value}{where} at {moment(task.finished_ms)}{': ' if reason else ''}{reason}"


def _waits(task: Task, parents: Sequence[ParentView]) -> str:
    shown = [str(parent) for parent in parents if parent.is_waited_for][:3]
    more = len(task.waits_for) - len(shown)
    named = ", ".join([*shown, *([f"{more} more"] if more else [])])
    return f"waits for {len(task.waits_for)} of {len(task.depends_on)} tasks: {named}"


def _ends(task: Task) -> list[str]:
    """Return what ends would let a blocked task go on."""
    if task.state is not TaskState.BLOCKED:
        return []
    how = "ending" if task.runs_anyway else "completing"
    others = len(task.waits_for) - 1
    return [f"task {task.waits_for[0]}{f' and {others} more' if others else ''} {how}"]


def _how(task: Task, decision: Decision | None) -> str:
    """How the node that has a task came to it."""
    if task.pinned:
        return ", where it is pinned"
    if decision is None:
        return ", the first idle node that could run it"
    if not decision.chosen:
        return f", the first to have a free slot: {_by(decision, task)} found none at the submit"
    if decision.chosen == task.node_id:
        return f", chosen by {_by(decision, task)}"
    return f", though {_by(decision, task)} chose {decision.chosen} at the submit"


def _by(decision: Decision, task: Task) -> str:
    """What chose the node. Without a policy and without preferences only parts of one task are placed."""
    if decision.policy != RoutingPolicy.LATE_BINDING:
        return decision.policy
    return "its preferences" if task.preferences or task.preferred_types else "being apart from its other parts"


def _why_ready(task: Task, decision: Decision | None, views: Sequence[NodeView], pauses: Pauses) -> str:
    if pauses.mesh or task.type in pauses.task_types:
        return "ready, but paused" if pauses.mesh else f"ready, but tasks of type {task.type} are paused"
    able = [view for view in views if not lasting(view.obstacles) and not _is_gone(view)]
    if task.pinned:
        views = [view for view in views if view.node_id == task.placed_on]
        if not views or _is_gone(views[0]):
            return f"ready, pinned to {task.placed_on}, which is not here"
        why = "; ".join(obstacle.detail for obstacle in views[0].obstacles) or "which may take it at any moment"
        return f"ready, pinned to {task.placed_on}: {why}"
    if not able:
        return "ready, but no node here can run it"
    free = [view for view in able if not view.obstacles]
    if task.placed_on is not None and decision is not None:
        return f"ready, meant for {task.placed_on}{_meant_until(task, decision)}"
    if free:
        return f"ready: the first of {len(free)} nodes with a free slot takes it"
    causes = Counter(view.obstacles[0].kind.value for view in able)
    told = ", ".join(f"{count} {cause.replace('_', ' ')}" for cause, count in sorted(causes.items()))
    return f"ready, but none of the nodes that could run it takes it now: {told}"


def _is_gone(view: NodeView) -> bool:
    return any(obstacle.kind is ObstacleKind.DEAD for obstacle in view.obstacles)


def _unblock(task: Task, views: Sequence[NodeView], pauses: Pauses) -> tuple[str, ...]:
    """Return what would help, the nearest help first."""
    told: list[str] = []
    if task.state is TaskState.SCHEDULED:
        told.append(f"time: it is ready at {moment(task.due_ms)}")
    if pauses.mesh:
        told.append("resuming the mesh")
    if task.type in pauses.task_types:
        told.append(f"resuming tasks of type {task.type}")
    here = [view for view in views if not _is_gone(view)]
    if task.pinned:
        here = [view for view in here if view.node_id == task.placed_on]
        told += [] if here else [f"node {task.placed_on} joining"]
    able = [view for view in here if not lasting(view.obstacles)]
    if not able and not (task.pinned and not here):
        told.append("a node with " + ", ".join(_terms(task)))
        told += [_lacks(view) for view in here[:1]]
    elif not any(not view.obstacles for view in able):
        told += [help_ for view in able[:3] for help_ in _help(view)]
    return tuple(dict.fromkeys(told))


def _terms(task: Task) -> list[str]:
    task_type, required = requirements_of(task.route)
    return [f"a handler for {task_type}", *sorted(term for term in required if not term.startswith("!"))]


def _lacks(view: NodeView) -> str:
    return f"nearest is {view.node_id}, which lacks " + "; ".join(o.detail for o in lasting(view.obstacles))


def _help(view: NodeView) -> list[str]:
    """Return what would let a node that could run the task take it."""
    words = {
        ObstacleKind.FULL: f"a free slot on {view.node_id}",
        ObstacleKind.DRAINING: f"resuming node {view.node_id}",
        ObstacleKind.SILENT: f"a sign of life from {view.node_id}",
        ObstacleKind.INITIALIZING: f"{view.node_id} being ready",
        ObstacleKind.RUNS_ALONE: f"{view.node_id} having nothing else to do",
    }
    return [words[obstacle.kind] for obstacle in view.obstacles if obstacle.kind in words]


def _against(decision: Decision, node_id: str, *, by: str) -> list[str]:
    """Return how the node did in the decision that chose another."""
    if decision.chosen == node_id:
        return [f"{by} chose it at the submit"]
    chosen, own = first_of(decision.top, decision.chosen), first_of(decision.top, node_id)
    told = f"at the submit {by} chose {decision.chosen}"
    if chosen is None or own is None:
        return [told]
    differing = [
        f"{term} {chosen.terms[term]:g} against {value:g}"
        for term, value in own.terms.items()
        if term in chosen.terms and chosen.terms[term] != value
    ]
    return [f"{told}: score {chosen.score:g} against {own.score:g}; {', '.join(differing) or 'equal in every term'}"]


def moment(ms: int | None) -> str:
    """Return Unix milliseconds as a time of day a person can read, in UTC."""
    return "-" if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
