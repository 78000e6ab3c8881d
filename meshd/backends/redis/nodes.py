"""`NodeStore` on Redis: one hash per node, a zset of beats, a set per capability."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

from meshd.backends.redis.keys import COMMON
from meshd.backends.redis.link import Link
from meshd.backends.redis.node_codec import (
    holdings,
    node_of,
    profile_json,
    sightings_json,
    visible_fields,
    vitals_fields,
)
from meshd.errors import FencedError, NotFoundError
from meshd.nodes.model import Beat, Holder, Membership, Node, NodeFilter, NodeProfile, Sightings, Verdict, Vitals
from meshd.nodes.phi import Pace, patience_of

READ_CHUNK = 256
"""Most records that one script reads: so long does a list hold up the server."""
READS_AT_ONCE = 2
"""Of a long list: the server reads some while others are taken apart here."""
SWEEP_LIMIT = 100
VOUCH_CHUNK = 100
MIN_TTL_MS = 86_400_000
"""A node record nobody touches ends by itself after a day, or ten timeouts if that is longer."""


class RedisNodeStore:
    """The nodes of one mesh."""

    def __init__(self, connection: Link) -> None:
        self._store = connection
        self._timings = connection.options.nodes
        self._patience = patience = patience_of(self._timings)
        regular = Pace(mean_ms=patience.heartbeat)
        self._first = (patience.doubted_after(regular), patience.bound_after(regular))
        self._allowance = (
            repr(patience.heartbeat),
            repr(patience.floor),
            repr(patience.pause),
            repr(patience.most),
        )
        self._ttl_ms = max(MIN_TTL_MS, 10 * self._timings.timeout_ms)

    async def join(self, profile: NodeProfile, vitals: Vitals) -> Membership:
        reply = await self._run(
            "node_join", profile.id, profile_json(profile), holdings(profile), self._ttl_ms, vitals.status.value,
            *self._first, *visible_fields(profile), *vitals_fields(vitals),
        )  # fmt: skip
        self._store.saw(self._store.keys.clock(COMMON), int(reply[1]))
        return Membership(node_id=profile.id, incarnation=int(reply[1]))

    async def announce(self, membership: Membership, profile: NodeProfile) -> None:
        reply = await self._run(
            "node_announce", membership.node_id, membership.incarnation, profile_json(profile), holdings(profile),
            self._ttl_ms, *visible_fields(profile),
        )  # fmt: skip
        _check(membership, reply)

    async def heartbeat(self, membership: Membership, vitals: Vitals) -> Beat:
        reply = await self._run(
            "node_heartbeat", membership.node_id, membership.incarnation, self._timings.timeout_ms, self._ttl_ms,
            self._timings.gap_ms, vitals.status.value, *self._allowance, *vitals_fields(vitals),
        )  # fmt: skip
        _check(membership, reply)
        return Beat(
            live_nodes=int(reply[1]),
            silent_nodes=int(reply[2]),
            drain_requested=reply[3] == b"drain",
            suspects=tuple(node_id.decode() for node_id in reply[4]),
        )

    async def sight(self, membership: Membership, sightings: Sightings) -> None:
        reply = await self._run("node_sight", membership.node_id, membership.incarnation, sightings_json(sightings))
        _check(membership, reply)

    async def vouch(self, membership: Membership, node_ids: Collection[str]) -> None:
        reached = sorted(node_ids)
        for at in range(0, max(1, len(reached)), VOUCH_CHUNK):
            reply = await self._run(
                "node_vouch", membership.node_id, membership.incarnation, self._timings.timeout_ms, self._ttl_ms,
                int(self._patience.pause), *reached[at : at + VOUCH_CHUNK],
            )  # fmt: skip
            _check(membership, reply)

    async def leave(self, membership: Membership) -> None:
        await self._run("node_leave", membership.node_id, membership.incarnation)

    async def request_drain(self, node_id: str, *, requested: bool = True) -> None:
        if await self._run("node_drain", node_id, int(requested)) == b"missing":
            raise NotFoundError(f"no live node {node_id!r}; `mesh nodes list` shows who is here")

    async def get(self, node_id: str) -> Node | None:
        found = await self._read_chunk([node_id])
        return found[0] if found else None

    async def list(self, where: NodeFilter | None = None) -> list[Node]:
        where = where or NodeFilter()
        nodes = await (self._all(where) if not where.capabilities else self._holding(where))
        return [node for node in nodes if _matches(node, where)]

    async def holders(self, capabilities: frozenset[str]) -> Sequence[Holder]:
        if not capabilities:
            nodes = await self.list()
            return sorted(holder for node in nodes for holder in _all_holders(node.profile))
        found = await self._holders(capabilities)
        return sorted(_holder(member) for member, is_live in found.items() if is_live)

    async def sweep(self) -> Sequence[Membership]:
        judged: list[Membership] = []
        while True:
            reply = await self._run(
                "node_sweep",
                self._timings.timeout_ms,
                self._timings.dead_retention_ms,
                SWEEP_LIMIT,
                self._timings.gap_ms,
            )
            judged += [
                Membership(node_id=reply[at].decode(), incarnation=int(reply[at + 1])) for at in range(1, len(reply), 2)
            ]
            if reply[0] != b"more":
                return judged

    async def _run(self, name: str, *args: str | bytes | int) -> Any:
        return await self._store.run(name, key=self._store.keys.clock(COMMON), args=args)

    async def _read(self, node_ids: Sequence[str]) -> Sequence[Node]:
        turns = asyncio.Semaphore(READS_AT_ONCE)

        async def read(at: int) -> Sequence[Node]:
            async with turns:
                return await self._read_chunk(node_ids[at : at + READ_CHUNK])

        chunks = await asyncio.gather(*(read(at) for at in range(0, len(node_ids), READ_CHUNK)))
        return [node for chunk in chunks for node in chunk]

    async def _read_chunk(self, node_ids: Sequence[str]) -> Sequence[Node]:
        read_ms, *rows = await self._run("node_read", *node_ids)
        return self._nodes(node_ids, rows, read_ms=int(read_ms))

    def _nodes(self, node_ids: Sequence[str], rows: Sequence[Any], *, read_ms: int) -> Sequence[Node]:
        return [
            node_of(node_id, values, read_ms=read_ms, timeout_ms=self._timings.timeout_ms)
            for node_id, values in zip(node_ids, rows, strict=True)
            if values is not None
        ]

    async def _all(self, where: NodeFilter) -> Sequence[Node]:
        """Return every node, most meshes in one call."""
        read_ms, listed, *rows = await self._run("node_list", "dead" if where.include_dead else "live", READ_CHUNK)
        ids = [node_id.decode() for node_id in listed]

        async def first() -> Sequence[Node]:
            return self._nodes(ids[: len(rows)], rows, read_ms=int(read_ms))

        more, few = await asyncio.gather(self._read(ids[len(rows) :]), first())
        return sorted([*few, *more], key=lambda node: node.id)

    async def _holding(self, where: NodeFilter) -> Sequence[Node]:
        found = await self._holders(where.capabilities)
        ids = {_holder(member).node_id for member in found if "/" not in member}
        if where.include_dead:
            ids |= await self._members(self._store.keys.dead())
        return await self._read(sorted(ids))

    async def _holders(self, capabilities: frozenset[str]) -> dict[str, bool]:
        reply = await self._run("node_holders", *sorted(capabilities))
        return {reply[at].decode(): reply[at + 1] == b"live" for at in range(0, len(reply), 2)}

    async def _members(self, key: str) -> set[str]:
        members: Sequence[bytes] = await self._store.command("ZRANGE", key, 0, -1)
        return {member.decode() for member in members}


def _check(membership: Membership, reply: Any) -> None:
    if reply[0] == b"fenced":
        raise FencedError(f"node {membership.node_id}", token=membership.incarnation, current=int(reply[1]))
    if reply[0] == b"missing":
        raise NotFoundError(f"node {membership.node_id!r} is no longer in the mesh; it has to join again")


def _matches(node: Node, where: NodeFilter) -> bool:
    return (
        (not where.capabilities or where.capabilities <= node.profile.all_capabilities)
        and (not where.types or node.profile.type in where.types)
        and (where.include_dead or node.verdict is Verdict.ALIVE)
    )


def _holder(member: str) -> Holder:
    node_id, _, agent_id = member.partition("/")
    return Holder(node_id=node_id, agent_id=agent_id)


def _all_holders(profile: NodeProfile) -> list[Holder]:
    return [Holder(node_id=profile.id), *(Holder(node_id=profile.id, agent_id=agent.id) for agent in profile.agents)]
