"""What every node answers by itself, unless it has a handler of its own for the type."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from meshd.backends.port import Backend
from meshd.errors import NotFoundError
from meshd.memory.meeting import meet
from meshd.messages.model import Message, MessageType
from meshd.nodes.model import NodeProfile, NodeStatus
from meshd.settings_topology import TopologySettings

SYNC_TIMEOUT = timedelta(seconds=4)


class Answers:
    """The built-in answers of one node."""

    def __init__(
        self,
        backend: Backend,
        *,
        profile: Callable[[], NodeProfile],
        status: Callable[[], NodeStatus],
        topology: TopologySettings,
    ) -> None:
        self._backend = backend
        self._profile = profile
        self._status = status
        self._topology = topology
        self._by_type: Mapping[str, Callable[[Message], Awaitable[Any]]] = {
            MessageType.HANDSHAKE: self._handshake,
            MessageType.STATUS_REQUEST: self._state,
            MessageType.HEARTBEAT: self._heartbeat,
            MessageType.SYNC_REQUEST: self._sync,
            MessageType.TOPOLOGY: self._neighbours,
            MessageType.WAGGLE: self._nothing,
            MessageType.DECISION: self._nothing,
        }

    def get(self, type: str) -> Callable[[Message], Awaitable[Any]] | None:
        """Return what answers this type, `None` for types that need a handler."""
        return self._by_type.get(type)

    async def _handshake(self, message: Message) -> Any:
        profile = self._profile()
        return {
            "node": profile.id,
            "agent": message.to,
            "type": profile.type,
            "version": profile.version,
            "agents": sorted(agent.id for agent in profile.agents),
            "capabilities": sorted(profile.all_capabilities),
            "status": self._status().value,
        }

    async def _state(self, message: Message) -> Any:
        del message
        profile = self._profile()
        counts = await self._backend.tasks.open_counts([profile.id])
        return {
            "node": profile.id,
            "status": self._status().value,
            "open_tasks": counts.get(profile.id, 0),
            "capacity": profile.capacity,
        }

    async def _heartbeat(self, message: Message) -> Any:
        return {"node": self._profile().id, "agent": message.to, "status": self._status().value}

    async def _nothing(self, message: Message) -> Any:
        """A node without a policy does not vote, and one that asks for no decision needs none."""
        del message

    async def _sync(self, message: Message) -> Any:
        """Have this node's replica exchange with the store what either lacks."""
        del message
        members = {member.node for member in await self._backend.memory.members()}
        own = {self._profile().id} & members
        report = await meet(self._backend.memory, self._backend.events, nodes=own, timeout=SYNC_TIMEOUT)
        sums = {
            "sent": sum(each.sent for each in report.nodes),
            "received": sum(each.received for each in report.nodes),
        }
        return {"node": self._profile().id, "synced": bool(report.nodes) and not report.missing, **sums}

    async def _neighbours(self, message: Message) -> Any:
        from meshd.topology.service import TopologyService  # noqa: PLC0415 -- for nodes that are asked

        agent, store = message.to, self._backend
        topology = TopologyService(store.records, store.events, self._topology.options())
        try:
            neighbours = list(await topology.neighbours(agent))
        except NotFoundError:
            neighbours = []
        return {"agent": agent, "neighbours": neighbours}
