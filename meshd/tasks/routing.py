"""Who may run a task, and in what order tasks are served. Pure.

A **term** is one requirement, or one thing a node offers:

    name                a capability                              python
    name>=level         a capability at a level or above          python>=advanced
    label OP value      a label of the node, OP one of = != >= <= > <     zone=eu   memory_gb>=64
    !node               any node but this one                     !reader-3

`=` and `!=` compare as text, and a label the node does not have is unequal to everything; the other operators compare
decimal numbers (`-3`, `1.5`), and what is not one meets none of them.

A **route** is the canonical name of a set of requirements: the task type, then the required terms in order, joined by
`+`. No term contains a `+`, so a route can be taken apart again.

**Order of service** is a static key: virtual time = ready time + the priority's offset. Ageing at equal rates never
changes the order of two tasks, so no loop re-prioritises anything, and the guarantee is exact: a task is overtaken only
by tasks that became ready less than its offset later. (Virtual-time fair queueing: Demers, Keshav, Shenker 1989.)
"""

import re
from collections.abc import Callable, Iterable, Mapping

from meshd.errors import InvalidArgumentError
from meshd.ids import check_name
from meshd.nodes.model import Level, NodeProfile
from meshd.tasks.model import Claimer, Priority

OFFSETS_MS: dict[Priority, int] = {
    Priority.CRITICAL: 0,
    Priority.HIGH: 10_000,
    Priority.NORMAL: 30_000,
    Priority.LOW: 90_000,
    Priority.BACKGROUND: 270_000,
}
"""Head start of each priority over the ones below, in milliseconds."""


MAX_WEIGHT = 100

_LEVELS = {level.name.lower(): level for level in Level}
_COMPARISON = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.:-]{0,63})(!=|>=|<=|=|>|<)([A-Za-z0-9_.:-]{1,64})")
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_NUMERIC: Mapping[str, Callable[[float, float], bool]] = {
    ">=": lambda held, asked: held >= asked,
    "<=": lambda held, asked: held <= asked,
    ">": lambda held, asked: held > asked,
    "<": lambda held, asked: held < asked,
}


def requirement(text: str) -> str:
    """Return the canonical term of a requirement as a caller writes it; spaces do not count.

    Raises:
        InvalidArgumentError: it is not a term.
    """
    term = text.replace(" ", "")
    if term.startswith("!"):
        return "!" + check_name("excluded node", term[1:])
    found = _COMPARISON.fullmatch(term)
    if found is None:
        if any(mark in term for mark in "=<>!"):
            raise InvalidArgumentError(
                f"requirement {text!r} is not a term: write name, name>=level, label=value (also != >= <= > <) or !node"
            )
        return check_name("capability", term)
    name, operator, value = found.groups()
    if operator in _NUMERIC and not (operator == ">=" and value in _LEVELS) and _number(value) is None:
        raise InvalidArgumentError(
            f"requirement {text!r} compares with {value!r}, which is neither a number nor one of {', '.join(_LEVELS)}"
        )
    return f"{name}{operator}{value}"


def route_of(task_type: str, requirements: Iterable[str] = ()) -> str:
    """Return the route of a task: equal sets of canonical terms give equal routes."""
    return "+".join([task_type, *sorted(set(requirements) - {task_type})])


def requirements_of(route: str) -> tuple[str, frozenset[str]]:
    """Return the task type and the further terms a route requires."""
    task_type, *terms = route.split("+")
    return task_type, frozenset(terms)


def excluding(route: str, nodes: Iterable[str]) -> str:
    """Return the route with these nodes excluded too."""
    task_type, terms = requirements_of(route)
    return route_of(task_type, [*terms, *(f"!{node}" for node in nodes)])


def preference(text: str) -> str:
    """Return the canonical form of a soft requirement: `term`, or `term:weight` where the weight is not 1.

    What follows the last colon is the weight if it is a number.

    Raises:
        InvalidArgumentError: it is not a term, or the weight is not over 0 and at most 100.
    """
    term, weight = weighted(text)
    if not 0 < weight <= MAX_WEIGHT:
        raise InvalidArgumentError(f"preference {text!r} has a weight that is not over 0 and at most {MAX_WEIGHT}")
    return requirement(term) if weight == 1 else f"{requirement(term)}:{weight:g}"


def weighted(preference: str) -> tuple[str, float]:
    """Return the term and the weight of a preference."""
    term, colon, weight = preference.rpartition(":")
    number = _number(weight) if colon else None
    return (preference, 1.0) if number is None else (term, number)


def capability(text: str) -> tuple[str, Level | None]:
    """Return the name and the level of what a node says it can do: `name` or `name=level`.

    Raises:
        InvalidArgumentError: the name is not valid, or there is no such level.
    """
    name, equals, word = text.replace(" ", "").partition("=")
    if equals and word not in _LEVELS:
        raise InvalidArgumentError(f"capability {text!r}: {word!r} is not one of {', '.join(_LEVELS)}")
    return check_name("capability", name), _LEVELS.get(word)


def check_label(name: str, value: str) -> tuple[str, str]:
    """Return the label unchanged if it may be one.

    Raises:
        InvalidArgumentError: the name or the value has characters that no requirement could name.
    """
    check_name("label", name)
    if not _COMPARISON.fullmatch(f"{name}={value}"):
        raise InvalidArgumentError(f"label {name}={value!r}: use 1 to 64 of A-Z a-z 0-9 _ . : - as its value")
    return name, value


def labels_of(texts: Iterable[str]) -> dict[str, str]:
    """Return the labels that `name=value` texts spell; the last of a name counts.

    Raises:
        InvalidArgumentError: one of them is no label.
    """
    pairs = [text.replace(" ", "").partition("=") for text in texts]
    return dict(check_label(name, value) for name, _, value in pairs)


def claimer_of(profile: NodeProfile, *, incarnation: int = 0) -> Claimer:
    """Return the node as a claimer, with everything it offers."""
    return Claimer(
        node_id=profile.id,
        incarnation=incarnation,
        task_types=profile.task_types,
        capabilities=offered(profile.all_capabilities, levels=profile.levels, labels=profile.labels),
    )


def offered(
    names: Iterable[str], *, levels: Mapping[str, Level] | None = None, labels: Mapping[str, str] | None = None
) -> frozenset[str]:
    """Return everything a node offers, as terms: capabilities, every level up to the one it has, labels."""
    terms = set(names)
    for name, level in (levels or {}).items():
        terms.add(name)
        terms.update(f"{name}>={word}" for word, included in _LEVELS.items() if included <= level)
    terms.update(f"{label}={value}" for label, value in (labels or {}).items())
    return frozenset(terms)


def meets(terms: frozenset[str], required: str, *, node_id: str) -> bool:
    """Return whether a node that offers `terms` meets one required term."""
    if required.startswith("!"):
        return required[1:] != node_id
    if required in terms:
        return True
    found = _COMPARISON.fullmatch(required)
    if found is None:
        return False
    label, operator, asked = found.groups()
    held = next((term.partition("=")[2] for term in terms if term.startswith(f"{label}=")), None)
    if operator == "!=":
        return held != asked
    if operator == "=" or held is None:
        return False
    held_number, asked_number = _number(held), _number(asked)
    return held_number is not None and asked_number is not None and _NUMERIC[operator](held_number, asked_number)


def held_instead(terms: frozenset[str], required: str) -> str:
    """Return what is there in place of a term that is not met: a label's value or a level; empty when nothing is."""
    found = _COMPARISON.fullmatch(required)
    if found is None:
        return ""
    name, operator, asked = found.groups()
    if operator == ">=" and asked in _LEVELS:
        reached = [word for word in _LEVELS if f"{name}>={word}" in terms]
        return reached[-1] if reached else "no level" if name in terms else ""
    return next((term.partition("=")[2] for term in terms if term.startswith(f"{name}=")), "")


def names_of(terms: Iterable[str]) -> frozenset[str]:
    """Return the names of capabilities and labels that some terms speak of."""
    found = ((term, _COMPARISON.fullmatch(term)) for term in terms if not term.startswith("!"))
    return frozenset(term if comparison is None else comparison[1] for term, comparison in found)


def surplus_levels(terms: frozenset[str], required: Iterable[str]) -> int:
    """Return by how many levels, in all, what is offered is above what is required."""
    surplus = 0
    for term in required:
        name, operator, word = term.partition(">=")
        if operator and word in _LEVELS:
            surplus += sum(f"{name}>={above}" in terms for above in _LEVELS if _LEVELS[above] > _LEVELS[word])
    return surplus


def unmet(claimer: Claimer, route: str) -> tuple[str, ...]:
    """Return the terms of the route that the claimer does not meet, its task type first if it has no handler for it."""
    task_type, required = requirements_of(route)
    terms = claimer.capabilities | claimer.task_types
    missing = [task_type] if task_type not in claimer.task_types else []
    missing += [term for term in sorted(required) if not meets(terms, term, node_id=claimer.node_id)]
    return tuple(missing)


def serves(claimer: Claimer, route: str) -> bool:
    """Return whether the claimer has a handler for the route's type and meets every term it requires."""
    return not unmet(claimer, route)


def priority_of(value: Priority | str) -> Priority:
    """Return the priority of this name.

    Raises:
        InvalidArgumentError: there is none.
    """
    try:
        return Priority(value)
    except ValueError:
        raise InvalidArgumentError(f"priority {value!r} is not one of {', '.join(Priority)}") from None


def virtual_time(ready_ms: int, priority: Priority) -> int:
    """Return the task's place in the order of service; smaller is served first."""
    return ready_ms + OFFSETS_MS[priority]


def _number(text: str) -> float | None:
    return float(text) if _DECIMAL.fullmatch(text) else None
