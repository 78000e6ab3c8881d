"""Placement: choosing a node at the time of the submit, where a policy or the task's preferences ask for one.

The nodes are looked at once a second at most; what this process placed since is counted on top, so that a burst is
spread exactly. A placement is soft: it only says who is asked first, and for how long. When no candidate has a free
slot nothing is placed, and the first idle node takes the task.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest
from random import Random
from time import monotonic
from typing import Protocol

from meshd.errors import CorruptDataError, InvalidArgumentError, NoCandidateError
from meshd.nodes.model import Node, TypeHistory
from meshd.scoring import Order, order_of, weighed
from meshd.tasks.decision import NOT_PLACED, TOP, Choice, Decision, encode_decision, rounded
from meshd.tasks.model import Claimer, NewTask, Placement
from meshd.tasks.obstacles import of_condition, of_route
from meshd.tasks.request import TaskRequest
from meshd.tasks.routing import claimer_of, excluding, requirements_of, serves
from meshd.tasks.scoring import RoutingPolicy, Term, Wish, lasting_terms, moving_terms, scored, weights_of

logger = logging.getLogger(__name__)

FRESH_SECONDS = 1.0
"""Longest the nodes are taken to be as they were last seen."""
STALE_SECONDS = 0.1
"""Age at which they are looked at again when none of them has a free slot as last seen, or parts are spread."""

SPREAD_HOLD_BACK_MS = 10_000
"""How long at least a part waits for the node that was chosen for it alone."""
MAX_DEALT = 32
"""Most nodes that are dealt out to parts that must run on different ones."""
OTHER_PARTS = "other parts"
"""Why a node that runs another part of the same task is no candidate."""


class LookAtNodes(Protocol):
    """Returns the nodes, each with the number of tasks it holds at this moment."""

    async def __call__(self, *, include_dead: bool = False) -> Sequence[Node]: ...


LookAtNearness = Callable[[], Awaitable[Mapping[str, float]]]
"""Returns how near each node is to who submits, 0 to 1; nodes left out are far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementSettings:
    """How tasks find their nodes when their callers do not say."""

    policy: RoutingPolicy = RoutingPolicy.LATE_BINDING
    counts_history: bool = True
    seed: int | None = None
    hold_back_ms: int = 1_000
    doubt_ms: int = 2_000
    """Age of a node's last beat over which others are asked first."""


def policy_of(name: RoutingPolicy | str) -> RoutingPolicy:
    """Return the policy of this name.

    Raises:
        InvalidArgumentError: there is none.
    """
    try:
        return RoutingPolicy(name)
    except ValueError:
        raise InvalidArgumentError(f"routing {name!r} is not one of {', '.join(RoutingPolicy)}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A node that may run what is wished for, with the part of its score that stays as it is."""

    node_id: str
    slots: int
    terms: Mapping[Term, float]
    part: float
    tie: float
    """Its history, if that is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """All nodes, seen with one wish and one policy in mind."""

    weights: Mapping[Term, float]
    candidates: tuple[_Candidate, ...]
    rejected: Mapping[str, int]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(one.node_id for one in self.candidates))


_Ranked = tuple[Order, _Candidate, Mapping[Term, float]]
"""A candidate's place (see `Scored.order`), itself, and its terms that move."""


class _Snapshot:
    """The live nodes as they were last seen, and what was placed on them since."""

    def __init__(
        self, nodes: Sequence[Node], settings: PlacementSettings, *, at: float, nearness: Mapping[str, float]
    ) -> None:
        self.at = at
        self._nearness = nearness
        self.nodes = nodes
        self.open_tasks = {node.id: node.vitals.open_tasks for node in nodes}
        self._settings = settings
        self._offers = {node.id: claimer_of(node.profile) for node in nodes}
        self._fields: dict[tuple[Wish, RoutingPolicy], _Field] = {}

    def field(self, wish: Wish, policy: RoutingPolicy) -> _Field:
        """Return who may run what is wished for, whatever it holds now."""
        field = self._fields.get((wish, policy))
        if field is None:
            field = self._fields[wish, policy] = self._look(wish, policy)
        return field

    def _look(self, wish: Wish, policy: RoutingPolicy) -> _Field:
        counts_history, doubt_ms = self._settings.counts_history, self._settings.doubt_ms
        weights = weights_of(policy, wish, counts_history=counts_history, counts_nearness=any(self._nearness.values()))
        rejected = Counter[str]()
        fit: list[tuple[Node, Claimer]] = []
        for node in self.nodes:
            offer = self._offers[node.id]
            obstacles = of_route(offer, wish.route) + of_condition(node)
            if obstacles:
                rejected[obstacles[0].key] += 1
            else:
                fit.append((node, offer))
        completed = sum(node.vitals.history.get(wish.task_type, TypeHistory()).completed for node, _ in fit)
        candidates: list[_Candidate] = []
        for node, offer in fit:
            near = self._nearness.get(node.id, 0.0)
            terms = lasting_terms(wish, node, offer, completed_by_all=completed, doubt_ms=doubt_ms, nearness=near)
            tie = terms[Term.HISTORY] if counts_history else 0.0
            candidates.append(
                _Candidate(node_id=node.id, slots=node.slots, terms=terms, part=weighed(terms, weights), tie=tie)
            )
        return _Field(weights=weights, candidates=tuple(candidates), rejected=rejected)


class Placer:
    """Places the tasks one process submits."""

    def __init__(
        self,
        look: LookAtNodes,
        settings: PlacementSettings,
        *,
        nearness: LookAtNearness | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._look = look
        self._nearness = nearness
        self._settings = settings
        self._clock = clock
        self._rng = Random(settings.seed)
        self._snapshot = _Snapshot((), settings, at=-FRESH_SECONDS, nearness={})
        self._turns: dict[str, int] = {}
        self._looking = asyncio.Lock()

    def concerns(self, requests: Iterable[TaskRequest]) -> bool:
        """Return whether any of these may have to be placed; if not, `place` would change nothing."""
        return any(map(self.concerns_one, requests))

    def concerns_one(self, request: TaskRequest) -> bool:
        """Return whether this one may have to be placed."""
        is_left = self._settings.policy is RoutingPolicy.LATE_BINDING
        return not is_left or bool(request.routing or request.prefers or request.preferred_types)

    async def place(self, requests: Sequence[TaskRequest], tasks: Sequence[NewTask]) -> list[NewTask]:
        """Return the tasks, each made from the request beside it, with their placements and why.

        A pinned task stays as it is. A task for later is placed whatever its node holds now.
        """
        await self._refresh(FRESH_SECONDS)
        placed: list[NewTask] = []
        for request, task in zip(requests, tasks, strict=True):
            policy = policy_of(request.routing or self._settings.policy)
            wish = _wish(task)
            if task.placement is not None or (policy is RoutingPolicy.LATE_BINDING and wish.is_open):
                placed.append(task)
                continue
            decision = self._decide(wish, policy, is_for_later=task.delay_ms > 0)
            if decision.chosen == NOT_PLACED and await self._refresh(STALE_SECONDS):
                decision = self._decide(wish, policy, is_for_later=task.delay_ms > 0)
            placed.append(self._follow(task, decision))
        return placed

    async def able(self, task: NewTask) -> tuple[str, ...]:
        """Return the nodes that could run the task, whatever they hold now."""
        await self._refresh(STALE_SECONDS)
        return self._field(task, policy_of(self._settings.policy)).names

    async def spread(
        self, tasks: Sequence[NewTask], *, routing: str | None, is_strict: bool, must_fit: bool
    ) -> list[NewTask]:
        """Return the parts of one task, placed on different nodes: a node gets a second part when all have one.

        Where that is strict it gets none: each part excludes the nodes of the others, and has its share of the rest of
        those that are here, in case its own dies.

        Raises:
            NoCandidateError: it is strict, there are fewer nodes than parts, and they `must_fit`.
        """
        policy = policy_of(routing or self._settings.policy)
        await self._refresh(STALE_SECONDS)
        able = self._field(tasks[0], policy).names
        if is_strict and must_fit and len(able) < len(tasks):
            raise NoCandidateError(
                f"{len(tasks)} parts need as many different nodes; those that can run them are: "
                f"{', '.join(able) or 'none'}"
            )
        placed: list[NewTask] = []
        taken: set[str] = set()
        for task in tasks:
            if not is_strict and taken.issuperset(able):
                taken.clear()
            wish = _wish(task)
            decision = self._decide(wish, policy, is_for_later=task.delay_ms > 0, without=taken)
            if decision.chosen == NOT_PLACED:
                decision = self._decide(wish, policy, is_for_later=True, without=taken)
            taken.add(decision.chosen)
            hold_back_ms = max(SPREAD_HOLD_BACK_MS, decision.hold_back_ms)
            placed.append(self._follow(task, replace(decision, hold_back_ms=hold_back_ms)))
        return kept_apart(placed, able) if is_strict else placed

    async def check_served(self, tasks: Sequence[NewTask]) -> None:
        """Return if for each of these some live node could run it.

        Raises:
            NoCandidateError: for one of them there is none.
        """
        nodes = {node.id: node for node in await self._look() if node.takes_tasks}
        offers = {node_id: claimer_of(node.profile) for node_id, node in nodes.items()}
        wanted = [(task.route, task.placement.node_id if task.placement else "") for task in tasks]
        for route, pin in dict.fromkeys(wanted):
            if pin and pin not in offers:
                raise NoCandidateError(f"node {pin!r} is not among the live nodes that take tasks")
            asked = [offers[pin]] if pin else list(offers.values())
            if not any(serves(offer, route) for offer in asked):
                raise NoCandidateError(_nobody(asked, route))

    def _field(self, task: NewTask, policy: RoutingPolicy) -> _Field:
        return self._snapshot.field(_wish(task), policy)

    def _decide(
        self, wish: Wish, policy: RoutingPolicy, *, is_for_later: bool, without: Collection[str] = ()
    ) -> Decision:
        snapshot, settings = self._snapshot, self._settings
        field = snapshot.field(wish, policy)
        candidates = [one for one in field.candidates if one.node_id not in without]
        ranked = self._rank(field, candidates, is_for_later=is_for_later)
        passed = {"full": len(candidates) - len(ranked), OTHER_PARTS: len(field.candidates) - len(candidates)}
        best = nsmallest(TOP, ranked, key=lambda one: one[0])
        choices = [scored(one.node_id, {**one.terms, **moving}, field.weights) for _, one, moving in best]
        return Decision(
            policy=policy.value,
            weights=rounded(field.weights),
            chosen=choices[0].name if choices else NOT_PLACED,
            hold_back_ms=settings.hold_back_ms,
            nodes=len(snapshot.nodes),
            candidates=len(ranked),
            top=tuple(Choice(node=one.name, score=round(one.score, 4), terms=rounded(one.terms)) for one in choices),
            rejected={**field.rejected, **{why: count for why, count in passed.items() if count}},
            age_ms=round((self._clock() - snapshot.at) * 1000),
        )

    def _rank(self, field: _Field, candidates: Iterable[_Candidate], *, is_for_later: bool) -> list[_Ranked]:
        """Return those of the candidates with a free slot, in no order."""
        open_tasks, turns, weights = self._snapshot.open_tasks, self._turns, field.weights
        fewest = min((turns.get(one.node_id, 0) for one in field.candidates), default=0)
        ranked: list[_Ranked] = []
        for one in candidates:
            held = open_tasks[one.node_id]
            if held >= one.slots and not is_for_later:
                continue
            moving = moving_terms(
                open_tasks=held,
                slots=one.slots,
                turns=turns.get(one.node_id, 0) - fewest,
                chance=self._rng.random() if Term.CHANCE in weights else 0.0,
            )
            score = one.part + weighed(moving, weights)
            ranked.append((order_of(one.node_id, score, (one.tie, moving[Term.LOAD])), one, moving))
        return ranked

    def _follow(self, task: NewTask, decision: Decision) -> NewTask:
        why = encode_decision(decision)
        if decision.chosen == NOT_PLACED:
            return replace(task, decision=why)
        if task.delay_ms == 0:
            self._snapshot.open_tasks[decision.chosen] += 1
        self._turns[decision.chosen] = self._turns.get(decision.chosen, 0) + 1
        placement = Placement(node_id=decision.chosen, hold_back_ms=decision.hold_back_ms)
        return replace(task, placement=placement, decision=why)

    async def _refresh(self, older_than: float) -> bool:
        """Look at the nodes again if they were last seen longer ago than this; return whether they were."""
        if self._clock() - self._snapshot.at < older_than:
            return False
        async with self._looking:
            if self._clock() - self._snapshot.at < older_than:
                return True
            at = self._clock()
            nodes = [node for node in await self._look() if node.takes_tasks]
            self._snapshot = _Snapshot(nodes, self._settings, at=at, nearness=await self._near())
            self._take_turns_anew()
            return True

    async def _near(self) -> Mapping[str, float]:
        """Return how near nodes are, as far as that can be read: a preference keeps no task from being submitted."""
        if self._nearness is None:
            return {}
        try:
            return await self._nearness()
        except CorruptDataError as exc:
            logger.warning("tasks are placed without regard to the topology: %s", exc)
            return {}

    def _take_turns_anew(self) -> None:
        """A node that was not there before starts with as many turns as the one that had fewest."""
        known = [self._turns[node.id] for node in self._snapshot.nodes if node.id in self._turns]
        self._turns = {node.id: self._turns.get(node.id, min(known, default=0)) for node in self._snapshot.nodes}


def kept_apart(tasks: Sequence[NewTask], able: Sequence[str]) -> list[NewTask]:
    """Return the tasks, none of which may run on a node dealt to another: its own, and a share of those that are left.

    Nodes that are not dealt, such as those that join later, may run any of them.
    """
    own = [task.placement.node_id if task.placement else "" for task in tasks]
    spare = [name for name in able if name not in own][: max(0, MAX_DEALT - len(tasks))]
    dealt = {name: at for at, name in enumerate(own) if name} | {name: at % len(tasks) for at, name in enumerate(spare)}
    return [
        replace(task, route=excluding(task.route, [name for name, whose in dealt.items() if whose != at]))
        for at, task in enumerate(tasks)
    ]


def _wish(task: NewTask) -> Wish:
    return Wish(route=task.route, preferred_types=task.preferred_types, preferences=task.preferences)


def _nobody(offers: Sequence[Claimer], route: str) -> str:
    task_type, terms = requirements_of(route)
    asked = ", ".join(sorted([task_type, *terms]))
    if not offers:
        return f"no live node holds {asked}: no node takes tasks"
    nearest = min(offers, key=lambda offer: (len(of_route(offer, route)), offer.node_id))
    lacks = "; ".join(obstacle.detail for obstacle in of_route(nearest, route))
    return f"no live node holds {asked}; nearest is {nearest.node_id}: {lacks}"
