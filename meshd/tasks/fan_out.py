"""Fan-out: one task is divided over several nodes, and what its parts return becomes one result. Pure.

Each part is an ordinary task of the same type; a task of type `MERGE_TASK` waits for them all and has the result.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeGuard

from meshd import codec
from meshd.errors import InvalidArgumentError
from meshd.ids import check_name
from meshd.nodes.model import Node, NodeProfile
from meshd.tasks.model import Task, TaskState
from meshd.tasks.routing import names_of, requirements_of

MERGE_TASK = "mesh.merge"
"""Type of the task that merges; every node that may see to it beside other work has its handler."""

BY_TASK = "task:"
MERGES = ("list", "dict", "sum")


class Distinct(StrEnum):
    """Whether the parts of a task run on different nodes."""

    NO = "no"
    """As each of them happens to find its node."""
    PREFER = "prefer"
    """As far as there are so many nodes that can run them and take them in time."""
    REQUIRE = "require"
    """Always: a result of two parts of one node is none."""


class OnFailure(StrEnum):
    """What becomes of the result when a part did not complete."""

    FAIL = "fail"
    """There is none; the error names each such part."""
    PARTIAL = "partial"
    """The others are merged, and the result says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOut:
    """How a task is divided, and how it becomes one again."""

    parts: Sequence[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]] = ()
    """Arguments of each part, beside those all have in common; by number from 0, or by name."""
    copies: int = 0
    """Without `parts`: how often it runs with the same arguments; 0: as many as there are nodes for it."""
    merge: str = "list"
    """`list` of the results in the parts' order; `dict` by the parts' names; `sum`; or `task:TYPE`, the handler of that
    type, which is called with the list as `parts`."""
    distinct: str = Distinct.PREFER
    on_failure: str = OnFailure.FAIL
    max_nodes: int = 0
    """Most parts; 0: as many as the mesh allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartView:
    """One part as it is now: who has or had it, and what came of it."""

    name: str
    task_id: str
    state: TaskState | None = None
    """`None` if it has ended and was forgotten."""
    node_id: str = ""
    """The node that ended it, or holds it."""
    agents: tuple[str, ...] = ()
    """That node's agents that can do it, as far as the node is known."""
    attempts: int = 0
    result: Any = None
    error: str = ""
    """Why there is no result, for a part that ended without."""

    @property
    def is_completed(self) -> bool:
        return self.state is TaskState.COMPLETED


def payloads_of(fan: FanOut, common: Mapping[str, Any], *, limit: int) -> dict[str, dict[str, Any]]:
    """Return the arguments of each part by its name; at most `limit` parts.

    Raises:
        InvalidArgumentError: there are none, or too many, or something of the fan-out cannot be used.
    """
    parts = {name: {**common, **own} for name, own in _named(fan).items()}
    most = most_parts(fan, limit=limit)
    if not parts:
        raise InvalidArgumentError("a fan-out has no part: give `parts`, or `copies` of the same arguments")
    if len(parts) > most:
        raise InvalidArgumentError(
            f"{len(parts)} parts are more than the {most} nodes that may work on one task: make larger parts, "
            f"or raise {'groups.max_size' if most == limit else 'max_nodes'}"
        )
    return parts


def most_parts(fan: FanOut, *, limit: int) -> int:
    """Return how many parts there may be.

    Raises:
        InvalidArgumentError: the fan-out asks for more than the mesh allows.
    """
    if not 0 <= fan.max_nodes <= limit:
        raise InvalidArgumentError(f"max_nodes {fan.max_nodes} is not 1 to {limit}, the setting groups.max_size")
    return fan.max_nodes or limit


def check_fan_out(fan: FanOut) -> FanOut:
    """Return the fan-out unchanged if there are such ways to merge, to place and to fail.

    Raises:
        InvalidArgumentError: there are not.
    """
    if fan.merge.startswith(BY_TASK):
        check_name("merging task type", fan.merge.removeprefix(BY_TASK))
    elif fan.merge not in MERGES:
        raise InvalidArgumentError(f"merge {fan.merge!r} is not one of {', '.join(MERGES)}, {BY_TASK}TYPE")
    for what, value, known in (("distinct", fan.distinct, Distinct), ("on_failure", fan.on_failure, OnFailure)):
        if value not in list(known):
            raise InvalidArgumentError(f"{what} {value!r} is not one of {', '.join(known)}")
    if fan.copies and fan.parts:
        raise InvalidArgumentError(f"a fan-out has {len(fan.parts)} parts and copies={fan.copies}: give one of them")
    if fan.copies < 0:
        raise InvalidArgumentError(f"copies={fan.copies} is not 1 or more")
    return fan


def merged(parts: Sequence[PartView], *, merge: str) -> Any:
    """Return what these parts, of which at least one completed, are together.

    Raises:
        InvalidArgumentError: their results cannot be added up.
    """
    if merge == "dict":
        return {part.name: part.result for part in parts if part.is_completed}
    if merge != "sum":
        return [part.result for part in parts]
    first, *others = (part for part in parts if part.is_completed)
    total = first.result
    for part in others:
        total = _added(total, part.result, where=f"part {part.name}")
    return total


def why_none(parts: Sequence[PartView], *, on_failure: str, distinct: str) -> str:
    """Return why these parts have no result together; empty when they have one."""
    lost = [part for part in parts if not part.is_completed]
    if lost and (on_failure == OnFailure.FAIL or len(lost) == len(parts)):
        return f"{len(lost)} of {len(parts)} parts did not complete: " + "; ".join(map(_told, lost))
    if distinct == Distinct.REQUIRE:
        nodes = [part.node_id for part in parts if part.is_completed]
        twice = sorted({node for node in nodes if nodes.count(node) > 1})
        if twice:
            return f"parts that must be of different nodes ran on the same: {', '.join(twice)}"
    return ""


def labelled(value: Any, parts: Sequence[PartView], *, on_failure: str) -> Any:
    """Return the result as it is kept: as it is, or where it may be partial with what is missing."""
    if on_failure == OnFailure.FAIL:
        return value
    lost = [part for part in parts if not part.is_completed]
    missing = [
        {"part": part.name, "task": part.task_id, "node": part.node_id, "error": part.error or "forgotten"}
        for part in lost
    ]
    return {"value": value, "is_partial": bool(lost), "missing": missing}


def part_views(
    names: Sequence[str], ids: Sequence[str], tasks: Sequence[Task | None], nodes: Sequence[Node] = ()
) -> tuple[PartView, ...]:
    """Return the parts as their tasks are now; `nodes` are where agents are looked up."""
    profiles = {node.id: node.profile for node in nodes}
    return tuple(
        PartView(name=name, task_id=task_id)
        if task is None
        else PartView(
            name=name,
            task_id=task_id,
            state=task.state,
            node_id=task.node_id or "",
            agents=_agents(profiles.get(task.node_id or ""), task.route),
            attempts=task.starts,
            result=None if task.result is None else codec.decode(task.result),
            error=_error(task),
        )
        for name, task_id, task in zip(names, ids, tasks, strict=True)
    )


def _named(fan: FanOut) -> dict[str, Mapping[str, Any]]:
    if isinstance(fan.parts, Mapping):
        named = fan.parts
    else:
        nothing: Mapping[str, Any] = {}
        named = {str(number): part for number, part in enumerate(fan.parts or [nothing] * fan.copies)}
    for name, part in named.items():
        check_name("part", name)
        if not isinstance(part, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgumentError(f"part {name} is {part!r}: write the arguments of its handler by name")
    return dict(named)


def _added(one: Any, two: Any, *, where: str) -> Any:
    if _is_number(one) and _is_number(two):
        return one + two
    if _is_list(one) and _is_list(two):
        return [*one, *two]
    if _is_object(one) and _is_object(two):
        both = {name: _added(one[name], two[name], where=f"{where}.{name}") for name in one if name in two}
        return {**one, **two, **both}
    raise InvalidArgumentError(
        f"merge=sum adds numbers, joins lists, and adds objects name by name; {where} has {json.dumps(two)[:80]} to "
        f"be added to {json.dumps(one)[:80]}"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _agents(profile: NodeProfile | None, route: str) -> tuple[str, ...]:
    """Return the agents of a node that have what the route asks of agents at all."""
    if profile is None:
        return ()
    held = frozenset[str]().union(*(agent.capabilities for agent in profile.agents))
    asked = held & names_of(requirements_of(route)[1])
    return tuple(agent.id for agent in profile.agents if asked <= agent.capabilities)


def _error(task: Task) -> str:
    if not task.state.is_terminal or task.state is TaskState.COMPLETED:
        return ""
    last = task.errors[-1].message if task.errors else ""
    return "; ".join(text for text in (task.reason, last) if text) or task.state.value


def _told(part: PartView) -> str:
    where = f" on {part.node_id}" if part.node_id else ""
    return f"part {part.name} is {part.state or 'forgotten'}{where}{': ' if part.error else ''}{part.error}"
