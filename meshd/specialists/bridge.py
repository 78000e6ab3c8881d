"""Bridges: a node of one mesh that carries chosen tasks and messages on to another, so that meshes can form a tree.

A task is carried as any handler runs one: claimed here, submitted there with a key made from its id here, and completed
here with the result it had there. A bridge that dies in between is found out by its lease; whoever claims the task next
submits it with the same key, which is the same task there, and waits for the same result. So nothing is lost, and
nothing runs twice there that would not have run twice here.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar

from meshd.errors import ConfigurationError, TaskNotCompletedError, UnavailableError
from meshd.mesh import Mesh
from meshd.messages.model import Message
from meshd.nodes.model import NodeType
from meshd.runtime.context import TaskContext
from meshd.runtime.node import Node
from meshd.runtime.outage import Outage
from meshd.runtime.signals import Reject
from meshd.settings import Settings
from meshd.tasks.model import TaskState

logger = logging.getLogger(__name__)

T = TypeVar("T")

PAUSE_S = (0.5, 2.0)
"""Between two tries while the mesh beyond is away."""
LABEL = "bridge_to"
"""Label of a bridge: the mesh it leads to."""
ADDRESSEE = "to"
"""In the metadata of a message to a bridge: who is to have it in the mesh beyond."""


class Bridge:
    """Makes a node the bridge to another mesh, which is to be closed when the node has ended.

        async with Mesh("redis://there", mesh="plant") as there:
            node = Node("gate", concurrency=256)
            Bridge(node, there, here="office", tasks=["press.run"])
            await node.run("redis://here", mesh="office")

    Tasks carried hold one slot of the node each for as long as they take beyond. What another bridge beyond leads back
    here is never given what comes from here; longer ways round are the operator's to avoid: let meshes form a tree.
    """

    def __init__(
        self,
        node: Node,
        there: Mesh,
        *,
        here: str,
        tasks: Iterable[str] = (),
        messages: Iterable[str] = (),
        addressees: Iterable[str] = (),
    ) -> None:
        if there.name == here:
            raise ConfigurationError(f"a bridge leads from mesh {here!r} to another, not to itself: name two meshes")
        self._node = node
        self._there = there
        self._here = here
        self._rng = Random()
        self._opening = asyncio.Lock()
        self._outage = Outage(logger, f"reaching mesh {there.name}")
        node.adjust(type=NodeType.BRIDGE, labels={LABEL: there.name})
        for task_type in tasks:
            node.task(task_type)(self.carry)
        for message_type in messages:
            node.on_message(message_type)(self.pass_on)
        for addressee in addressees:
            node.stand_in(addressee, self.pass_on)

    async def carry(self, context: TaskContext, **arguments: Any) -> Any:
        """Have the task run beyond; return the result it has there. While the mesh beyond is away, wait for it.

        Raises:
            Reject: it ended there without one.
        """
        return await self._patiently(lambda: self._carried(context, arguments))

    async def _carried(self, context: TaskContext, arguments: dict[str, Any]) -> Any:
        tasks = self._there.tasks
        handle = await tasks.submit(
            context.task_type,
            arguments,
            priority=context.priority,
            context=context.value,
            deadline=_left(context.deadline),
            not_on=await self._ways_back(),
            idempotency_key=f"bridge/{self._here}/{context.task_id}",
        )
        receipt = handle.receipt
        if receipt is not None and not receipt.created and receipt.state is TaskState.DEAD:
            await tasks.redrive(handle.id)
        try:
            return await handle.result()
        except TaskNotCompletedError as exc:
            raise Reject(f"in mesh {self._there.name}: {exc}") from exc

    async def pass_on(self, message: Message) -> None:
        """Send a message on to its addressee; one to the bridge itself, to whom its metadata names.

        Sent again, it is the same message there. While the mesh beyond is away, wait for it.

        Raises:
            ConfigurationError: its metadata names nobody.
        """
        is_for_me = message.to == self._node.name or self._node.has_agent(message.to)
        to = message.metadata.get(ADDRESSEE, "") if is_for_me else message.to
        if not to:
            raise ConfigurationError(
                f"message {message.id} to bridge {self._node.name}: name its addressee in mesh {self._there.name} "
                f"in metadata {ADDRESSEE!r}"
            )
        metadata = {**message.metadata, "from": message.sender, "mesh": self._here}
        await self._patiently(
            lambda: self._there.messages.send(
                to, message.type, message.payload, metadata=metadata, id=f"{self._here}.{message.id}"
            )
        )

    @asynccontextmanager
    async def reaching(self) -> AsyncGenerator[None]:
        """Have the mesh beyond open for the length of the block; one that is away is opened once it is there.

        Raises:
            MeshError: it cannot be opened, ever.
        """
        try:
            await self._open()
        except UnavailableError as exc:
            self._outage.met(exc)
        try:
            yield
        finally:
            await self._there.aclose()

    async def _open(self) -> None:
        async with self._opening:
            await self._there.open()

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                await self._open()
                answer = await call()
            except UnavailableError as exc:
                self._outage.met(exc)
                await asyncio.sleep(self._rng.uniform(*PAUSE_S))
            else:
                self._outage.over()
                return answer

    async def _ways_back(self) -> list[str]:
        nodes = await self._there.nodes.list(types=[NodeType.BRIDGE])
        return [node.id for node in nodes if node.profile.labels.get(LABEL) == self._here]


def make_bridge(node: Node, settings: Settings) -> Bridge:
    """Make a node the bridge that the settings describe; it opens and closes the mesh beyond itself.

    Raises:
        ConfigurationError: they do not say where to lead, or what to carry, or lead back here.
    """
    own = settings.bridge
    if not own.is_set:
        raise ConfigurationError(
            f"node {node.name} is a {NodeType.BRIDGE}: set bridge.url and bridge.mesh, and what it carries in "
            "bridge.task_types, bridge.message_types or bridge.addressees"
        )
    bridge = Bridge(
        node,
        Mesh(own.url, mesh=own.mesh, settings=settings),
        here=settings.mesh,
        tasks=own.task_types,
        messages=own.message_types,
        addressees=own.addressees,
    )
    node.beside(bridge.reaching)
    return bridge


def _left(deadline: datetime | None) -> timedelta | None:
    return None if deadline is None else max(timedelta(seconds=1), deadline - datetime.now(UTC))
