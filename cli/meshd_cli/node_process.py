"""From the words of `mesh node start` to a node, and to the command line that starts the same node elsewhere."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from meshd.nodes.model import Agent, NodeType
from meshd.runtime.child import Command
from meshd.runtime.modules import adopt, import_handlers
from meshd.runtime.node import Node
from meshd.settings import Settings
from meshd.specialists.registry import create_node
from meshd.tasks.routing import labels_of
from meshd_cli.session import Session

if TYPE_CHECKING:
    from meshd.runtime.fleet import NodeSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWords:
    """What a person said about a node; empty where nothing was said."""

    name: str = ""
    type: str = ""
    capabilities: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    role: str = ""
    module: str = ""
    concurrency: int | None = None
    grace: float | None = None
    """Seconds it may drain."""

    def named(self, name: str) -> "NodeWords":
        """Return the same words about a node of this name."""
        return replace(self, name=name)

    def arguments(self) -> tuple[str, ...]:
        """Return the options of `mesh node start` that say the same."""
        pairs = {
            "--name": self.name,
            "--type": self.type,
            "--capabilities": ",".join(self.capabilities),
            "--labels": ",".join(self.labels),
            "--role": self.role,
            "--module": self.module,
            "--concurrency": "" if self.concurrency is None else str(self.concurrency),
            "--grace": "" if self.grace is None else str(self.grace),
        }
        return tuple(f"{option}={value}" for option, value in pairs.items() if value)


def build_node(words: NodeWords, settings: Settings) -> Node:
    """Return the node that the words and, where they are silent, the settings describe.

    A module brings its own handlers; without one, the node type's ready-made handlers run.

    Raises:
        ConfigurationError: the module cannot be used, or the type needs what is not installed.
        InvalidArgumentError: a name is not valid, or the type is unknown and no module gives it meaning.
    """
    name = words.name or settings.node_name or None
    node_type = words.type or settings.node_type
    if words.module:
        module = import_handlers(words.module)
        own_type = words.type or None
        node = adopt(module, fallback=lambda: Node(name, type=node_type, concurrency=settings.max_capacity))
    else:
        own_type = None
        node = create_node(node_type, name=name, concurrency=settings.max_capacity)
    node.adjust(
        name=name,
        type=own_type,
        capabilities=words.capabilities or settings.capabilities,
        labels=labels_of([*settings.labels, *words.labels]),
        role=words.role or None,
        concurrency=words.concurrency,
        port=settings.port,
        host=settings.host,
        specializations=settings.specializations,
        grace=None if words.grace is None else timedelta(seconds=words.grace),
    )
    if node.type == NodeType.BRIDGE and (settings.bridge.is_set or not words.module):
        from meshd.specialists.bridge import make_bridge  # it opens a mesh of its own

        make_bridge(node, settings)
    for agent in settings.agents:
        node.add_agent(
            Agent(
                id=agent.name,
                name=agent.name,
                role=agent.role,
                capabilities=frozenset(agent.capabilities),
                specializations=agent.specializations,
            )
        )
    return node


def start_command(
    words: NodeWords,
    session: Session,
    *extra: str,
    verb: Sequence[str] = ("node", "start"),
    env: Mapping[str, str] | None = None,
    enabled: bool | None = None,
) -> Command:
    """Return the command that runs this node under this session's settings in another process."""
    return Command(
        name=words.name,
        argv=(sys.executable, "-m", "meshd_cli.main", *verb, *words.arguments(), *extra),
        cwd=Path.cwd(),
        env={**environment(session), **({"MESHD_ENABLED": "true"} if enabled else {}), **(env or {})},
    )


def environment(session: Session) -> dict[str, str]:
    """Return what makes another process read the same settings.

    The store url goes this way, since it may hold a password, and arguments are for all to see.
    """
    given = {"MESHD_URL": session.url, "MESHD_MESH": session.mesh}
    env = {name: value for name, value in given.items() if value}
    if session.config is not None:
        env["MESHD_CONFIG"] = str(session.config.resolve())
    if session.debug or session.verbose:
        env["MESHD_LOGGING__LEVEL"] = "DEBUG"
    return env


def words_of(spec: "NodeSpec", *, folder: Path) -> NodeWords:
    """Return what a `mesh.yaml` entry says; a module file is looked for beside that file."""
    module = str((folder / spec.module).resolve()) if spec.module.endswith(".py") else spec.module
    return NodeWords(
        name=spec.name,
        type=spec.type or "",
        capabilities=tuple(spec.capabilities),
        labels=tuple(spec.labels),
        role=spec.role,
        module=module,
        concurrency=spec.concurrency,
    )


def split(words: str) -> tuple[str, ...]:
    """Return the parts of `a,b,c`."""
    return tuple(part.strip() for part in words.split(",") if part.strip())
