"""The node port on SQLite."""

from collections.abc import Sequence

from meshd.backends.sqlite.bulk import array, execute_rows
from meshd.backends.sqlite.database import Database, Reader
from meshd.backends.sqlite.node_rows import SELECT, encode, holdings, read_node
from meshd.backends.sqlite.transaction import Transaction
from meshd.backends.sqlite.waiting import forget_waiting
from meshd.errors import FencedError, NotFoundError
from meshd.nodes.model import (
    Beat,
    Holder,
    Membership,
    Node,
    NodeFilter,
    NodeProfile,
    NodeTimings,
    Vitals,
)
from meshd.nodes.store import NODES_LOG

# The cross join makes the wanted capabilities the outer loop: only rows of holders are read, whatever SQLite's planner
# thinks of the other index.
_HOLD_ALL = (
    "(SELECT c.node_id FROM json_each(:capabilities) w CROSS JOIN capabilities c"
    " ON c.mesh = :mesh AND c.capability = w.value AND c.agent_id = ''"
    " GROUP BY c.node_id HAVING count(*) = :wanted)"
)
_HOLDERS = (
    "SELECT c.node_id, c.agent_id FROM json_each(:capabilities) w CROSS JOIN capabilities c"
    " ON c.mesh = :mesh AND c.capability = w.value CROSS JOIN nodes n ON n.mesh = c.mesh AND n.id = c.node_id"
    " WHERE n.dead_ms IS NULL AND n.beat_ms >= :current"
    " GROUP BY c.node_id, c.agent_id HAVING count(*) = :wanted"
)


class SqliteNodeStore:
    """Implements `meshd.nodes.store.NodeStore`."""

    def __init__(self, database: Database, timings: NodeTimings) -> None:
        self._database = database
        self._timings = timings

    async def join(self, profile: NodeProfile, vitals: Vitals) -> Membership:
        def join(transaction: Transaction) -> Membership:
            member = Membership(node_id=profile.id, incarnation=transaction.next_token())
            now_ms = transaction.now_ms
            transaction.connection.execute(
                "INSERT OR REPLACE INTO nodes (mesh, id, incarnation, joined_ms, beat_ms, status, profile, vitals)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    transaction.mesh,
                    profile.id,
                    member.incarnation,
                    now_ms,
                    now_ms,
                    vitals.status.value,
                    encode(profile),
                    encode(vitals),
                ),
            )
            _index(transaction, profile)
            _note(transaction, member, "joined", status=vitals.status)
            return member

        return await self._database.write(join)

    async def announce(self, membership: Membership, profile: NodeProfile) -> None:
        def announce(transaction: Transaction) -> None:
            _status(transaction, membership)
            transaction.connection.execute(
                "UPDATE nodes SET profile = ? WHERE mesh = ? AND id = ?",
                (encode(profile), transaction.mesh, membership.node_id),
            )
            _index(transaction, profile)
            _note(transaction, membership, "announced")

        await self._database.write(announce)

    async def heartbeat(self, membership: Membership, vitals: Vitals) -> Beat:
        def heartbeat(transaction: Transaction) -> Beat:
            connection, mesh = transaction.connection, transaction.mesh
            status = _status(transaction, membership)
            _tick(transaction, self._timings)
            drain = connection.execute(
                "UPDATE nodes SET beat_ms = ?, status = ?, vitals = ? WHERE mesh = ? AND id = ? RETURNING drain",
                (transaction.now_ms, vitals.status.value, encode(vitals), mesh, membership.node_id),
            ).fetchall()[0][0]
            if status != vitals.status:
                _note(transaction, membership, "status", status=vitals.status)
            nodes, live_nodes = connection.execute(
                "SELECT count(*), count(*) FILTER (WHERE beat_ms >= ?) FROM nodes WHERE mesh = ? AND dead_ms IS NULL",
                (transaction.now_ms - self._timings.timeout_ms, mesh),
            ).fetchone()
            return Beat(live_nodes=live_nodes, silent_nodes=nodes - live_nodes, drain_requested=bool(drain))

        return await self._database.write(heartbeat)

    async def leave(self, membership: Membership) -> None:
        def leave(transaction: Transaction) -> None:
            node_id = membership.node_id
            gone = transaction.connection.execute(
                "DELETE FROM nodes WHERE mesh = ? AND id = ? AND incarnation = ? RETURNING dead_ms",
                (transaction.mesh, node_id, membership.incarnation),
            ).fetchall()
            if gone:
                _unindex(transaction, [node_id])
                _note(transaction, membership, "left")

        await self._database.write(leave)

    async def request_drain(self, node_id: str, *, requested: bool = True) -> None:
        def request_drain(transaction: Transaction) -> None:
            asked = transaction.connection.execute(
                "UPDATE nodes SET drain = ? WHERE mesh = ? AND id = ? AND dead_ms IS NULL RETURNING incarnation",
                (int(requested), transaction.mesh, node_id),
            ).fetchall()
            if not asked:
                raise NotFoundError(f"no live node {node_id!r}; `mesh nodes list` shows who is here")
            verb = "drain" if requested else "resume"
            _note(transaction, Membership(node_id=node_id, incarnation=asked[0][0]), verb)

        await self._database.write(request_drain)

    async def get(self, node_id: str) -> Node | None:
        def get(reader: Reader) -> Node | None:
            row = reader.connection.execute(
                f"{SELECT} WHERE n.mesh = ? AND n.id = ?", (reader.mesh, node_id)
            ).fetchone()
            if row is None:
                return None
            return read_node(row, now_ms=reader.now_ms(), timeout_ms=self._timings.timeout_ms)

        return await self._database.read(get)

    async def list(self, where: NodeFilter | None = None) -> list[Node]:
        return await self._database.read(lambda reader: _list(reader, where or NodeFilter(), self._timings.timeout_ms))

    async def holders(self, capabilities: frozenset[str]) -> Sequence[Holder]:
        def holders(reader: Reader) -> list[Holder]:
            if not capabilities:
                nodes = _list(reader, NodeFilter(), self._timings.timeout_ms)
                return sorted(
                    Holder(node_id=node.id, agent_id=agent_id)
                    for node in nodes
                    for agent_id in ("", *(agent.id for agent in node.profile.agents))
                )
            rows = reader.connection.execute(
                _HOLDERS,
                {
                    "mesh": reader.mesh,
                    "capabilities": array(capabilities),
                    "wanted": len(capabilities),
                    "current": reader.now_ms() - self._timings.timeout_ms,
                },
            )
            return sorted(Holder(node_id=node_id, agent_id=agent_id) for node_id, agent_id in rows)

        return await self._database.read(holders)

    async def sweep(self) -> Sequence[Membership]:
        return await self._database.write(lambda transaction: _sweep(transaction, self._timings))


def _list(reader: Reader, where: NodeFilter, timeout_ms: int) -> list[Node]:
    now_ms = reader.now_ms()
    among = f" AND n.id IN {_HOLD_ALL}" if where.capabilities else ""
    living = "" if where.include_dead else " AND n.dead_ms IS NULL AND n.beat_ms >= :current"
    rows = reader.connection.execute(
        f"{SELECT} WHERE n.mesh = :mesh{among}{living} ORDER BY n.id",
        {
            "mesh": reader.mesh,
            "capabilities": array(where.capabilities),
            "wanted": len(where.capabilities),
            "current": now_ms - timeout_ms,
        },
    )
    nodes = [read_node(row, now_ms=now_ms, timeout_ms=timeout_ms) for row in rows]
    return [node for node in nodes if not where.types or node.profile.type in where.types]


def _status(transaction: Transaction, membership: Membership) -> str:
    """Return the status a member last reported; raise unless the membership is current."""
    row = transaction.connection.execute(
        "SELECT incarnation, status, dead_ms FROM nodes WHERE mesh = ? AND id = ?",
        (transaction.mesh, membership.node_id),
    ).fetchone()
    subject = f"node {membership.node_id}"
    if row is not None and row[0] > membership.incarnation:
        raise FencedError(subject, token=membership.incarnation, current=row[0])
    if row is None or row[0] != membership.incarnation or row[2] is not None:
        raise NotFoundError(f"{subject}: incarnation {membership.incarnation} is no longer a member; join again")
    return str(row[1])


def _note(transaction: Transaction, member: Membership, event: str, **more: str) -> None:
    transaction.log(NODES_LOG, {"event": event, "node": member.node_id, "incarnation": member.incarnation, **more})


def _index(transaction: Transaction, profile: NodeProfile) -> None:
    mesh = transaction.mesh
    transaction.connection.execute("DELETE FROM capabilities WHERE mesh = ? AND node_id = ?", (mesh, profile.id))
    execute_rows(
        transaction.connection,
        "INSERT INTO capabilities (mesh, capability, node_id, agent_id) VALUES {rows} ON CONFLICT DO NOTHING",
        [(mesh, capability, profile.id, agent_id) for capability, agent_id in holdings(profile)],
    )


def _unindex(transaction: Transaction, node_ids: Sequence[str]) -> None:
    for node_id in node_ids:
        transaction.connection.execute(
            "DELETE FROM capabilities WHERE mesh = ? AND node_id = ?", (transaction.mesh, node_id)
        )
        forget_waiting(transaction.connection, mesh=transaction.mesh, node_id=node_id)


def _tick(transaction: Transaction, timings: NodeTimings) -> int:
    """Note that somebody beat or swept; return until when silence proves nothing: the store may have been away."""
    connection, mesh, now_ms = transaction.connection, transaction.mesh, transaction.now_ms
    tick_ms, grace_ms = connection.execute(
        "SELECT nodes_swept_ms, nodes_grace_ms FROM meshes WHERE id = ?", (mesh,)
    ).fetchone()
    if now_ms - tick_ms > timings.gap_ms:
        grace_ms = max(grace_ms, now_ms + min(now_ms - tick_ms, timings.timeout_ms))
    connection.execute(
        "UPDATE meshes SET nodes_swept_ms = ?, nodes_grace_ms = ? WHERE id = ?", (now_ms, grace_ms, mesh)
    )
    return int(grace_ms)


def _sweep(transaction: Transaction, timings: NodeTimings) -> list[Membership]:
    connection, mesh, now_ms = transaction.connection, transaction.mesh, transaction.now_ms
    judged: list[Membership] = []
    if now_ms > _tick(transaction, timings):
        rows = connection.execute(
            "UPDATE nodes SET dead_ms = ? WHERE mesh = ? AND dead_ms IS NULL AND beat_ms < ? RETURNING id, incarnation",
            (now_ms, mesh, now_ms - timings.timeout_ms),
        ).fetchall()
        judged = [Membership(node_id=node_id, incarnation=incarnation) for node_id, incarnation in sorted(rows)]
    for member in judged:
        forget_waiting(connection, mesh=mesh, node_id=member.node_id)
        _note(transaction, member, "dead")
    forgotten = connection.execute(
        "DELETE FROM nodes WHERE mesh = ? AND dead_ms < ? RETURNING id", (mesh, now_ms - timings.dead_retention_ms)
    ).fetchall()
    _unindex(transaction, [node_id for (node_id,) in forgotten])
    return judged
