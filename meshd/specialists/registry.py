"""Ready-made node types: what each declares, what it can run on this machine, and what it needs for that.

A capability is advertised only when everything it needs can be imported here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

from meshd.errors import ConfigurationError, InvalidArgumentError
from meshd.nodes.model import NodeType
from meshd.runtime.node import Node

Handler = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """One task type that comes with meshd."""

    task_type: str
    handler: str
    """`module:function`, imported only when a node with this skill is built."""
    prepare: str = ""
    """`module:function` to call before a node made for this skill joins: what would make its first task slow."""
    needs: tuple[str, ...] = ()
    """Modules of other packages it cannot do without."""
    extra: str = ""
    """The extra that installs them."""

    @property
    def missing(self) -> tuple[str, ...]:
        """What it needs and this machine has not."""
        return tuple(module for module in self.needs if find_spec(module) is None)

    def load(self, *, prepared: bool) -> Handler:
        """Return the handler itself; unless `prepared`, its first call loads what it needs."""
        if prepared and self.prepare:
            _named(self.prepare)()
        return _named(self.handler)


@dataclass(frozen=True, slots=True, kw_only=True)
class Specialist:
    """What a node type is made of."""

    capabilities: tuple[str, ...]
    specializations: tuple[str, ...] = ()
    essential: tuple[Skill, ...] = ()
    """Without one of these the type makes no sense, so building it is refused."""
    optional: tuple[Skill, ...] = ()
    """Left out, and not advertised, where what they need is missing."""


ECHO = Skill(task_type="echo", handler="meshd.specialists.echo:echo")
TEXT_ANALYZE = Skill(
    task_type="text.analyze",
    handler="meshd.specialists.language.handler:analyze_text",
    prepare="meshd.specialists.language.detection:prepare",
    needs=("py3langid", "phonenumbers"),
    extra="language",
)
SYSTEM_READ = Skill(task_type="system.read", handler="meshd.specialists.sensor:read_system")
SPECIALISTS: Mapping[str, Specialist] = {
    NodeType.GENERAL: Specialist(capabilities=("basic_processing",), essential=(ECHO,), optional=(TEXT_ANALYZE,)),
    NodeType.LANGUAGE_EXPERT: Specialist(
        capabilities=("basic_processing", "language", "nlp", "text_processing"),
        specializations=("nlp", "text_processing", "language_understanding"),
        essential=(TEXT_ANALYZE,),
        optional=(ECHO,),
    ),
    NodeType.SENSOR_CONNECTED: Specialist(
        capabilities=("basic_processing", "sensor_data"),
        specializations=("sensor_data", "real_time_monitoring"),
        essential=(SYSTEM_READ,),
        optional=(ECHO,),
    ),
    NodeType.WORKER: Specialist(capabilities=("basic_processing",), essential=(ECHO,), optional=(TEXT_ANALYZE,)),
    NodeType.COORDINATOR: Specialist(
        capabilities=("mesh_coordination",),
        specializations=("mesh_coordination", "load_balancing", "task_routing"),
    ),
    NodeType.STORAGE: Specialist(
        capabilities=("memory_storage",),
        specializations=("large_memory", "data_storage", "retrieval_optimization"),
    ),
    NodeType.BRIDGE: Specialist(capabilities=("mesh_bridge",)),
}
"""Node types that can be built, in the order they are listed to people."""


def check_buildable(node_type: str) -> None:
    """Return if a node of this type can be built on this machine; imports none of what it needs.

    Raises:
        InvalidArgumentError: meshd has no such node type.
        ConfigurationError: something the type cannot do without is not installed; the message says how to get it.
    """
    for skill in _specialist(node_type).essential:
        if skill.missing:
            raise ConfigurationError(
                f"node type {node_type!r} needs {', '.join(skill.missing)}, not installed here: "
                f"pip install 'agent-meshd[{skill.extra}]'"
            )


def handlers_for(node_type: str) -> dict[str, Handler]:
    """Return the handlers a node of this type has here, by task type.

    Raises:
        InvalidArgumentError: meshd has no such node type.
        ConfigurationError: something the type cannot do without is not installed; the message says how to get it.
    """
    check_buildable(node_type)
    specialist = _specialist(node_type)
    essential = {skill.task_type: skill.load(prepared=True) for skill in specialist.essential}
    optional = [skill for skill in specialist.optional if not skill.missing]
    return essential | {skill.task_type: skill.load(prepared=False) for skill in optional}


def create_node(node_type: str = NodeType.GENERAL, *, name: str | None = None, concurrency: int = 8) -> Node:
    """Return a node of a ready-made type with its handlers on it; it has not joined anything yet.

    Raises:
        InvalidArgumentError: meshd has no such node type, or the name is not valid.
        ConfigurationError: something the type cannot do without is not installed; the message says how to get it.
    """
    handlers = handlers_for(node_type)
    specialist = _specialist(node_type)
    node = Node(
        name,
        type=node_type,
        capabilities=specialist.capabilities,
        specializations=specialist.specializations,
        concurrency=concurrency,
    )
    for task_type, handler in handlers.items():
        node.task(task_type)(handler)
    return node


def _specialist(node_type: str) -> Specialist:
    if node_type not in SPECIALISTS:
        raise InvalidArgumentError(f"node type {node_type!r} is not one of {', '.join(SPECIALISTS)}")
    return SPECIALISTS[node_type]


def _named(reference: str) -> Handler:
    module, _, function = reference.partition(":")
    return cast("Handler", getattr(import_module(module), function))
