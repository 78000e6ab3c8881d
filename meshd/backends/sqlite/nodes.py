"""The node port on SQLite."""

from collections.abc import Collection, Sequence
from typing import Any

from meshd.backends.sqlite.bulk import array, execute_rows
from meshd.backends.sqlite.database import Database, Reader
from meshd.backends.sqlite.node_judging import judge, missed, note, pace_after, returned, tick, vouch
from meshd.backends.sqlite.node_rows import NO_FLAPS, SELECT, encode, holdings, read_node
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
    Sightings,
    Vitals,
)
from meshd.nodes.phi import Pace, patience_of
from meshd.nodes.store import MAX_SUSPECTS

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
    " WHERE n.dead_ms IS NULL AND n.doubt_ms >= :now"
    " GROUP BY c.node_id, c.agent_id HAVING count(*) = :wanted"
)


class SqliteNodeStore:
    """Implements `meshd.nodes.store.NodeStore`."""

    def __init__(self, database: Database, timings: NodeTimings) -> None:
        self._database = database
        self._timings = timings
        self._patience = patience_of(timings)

    async def join(self, profile: NodeProfile, vitals: Vitals) -> Membership:
        def join(transaction: Transaction) -> Membership:
            connection, mesh, now_ms = transaction.connection, transaction.mesh, transaction.now_ms
            member = Membership(node_id=profile.id, incarnation=transaction.next_token())
            before = connection.execute(
                "SELECT flaps, dead_ms IS NOT NULL OR mark IS NOT NULL FROM nodes WHERE mesh = ? AND id = ?",
                (mesh, profile.id),
            ).fetchone() or (NO_FLAPS, False)
            flaps = returned(transaction, before[0]) if before[1] else before[0]
            pace = Pace(mean_ms=self._patience.heartbeat)
            doubt_ms = now_ms + self._patience.doubted_after(pace)
            connection.execute(
                "INSERT OR REPLACE INTO nodes (mesh, id, incarnation, joined_ms, beat_ms, status, profile, vitals,"
                " mean_ms, doubt_ms, bound_ms, look_ms, flaps) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(mesh, profile.id, member.incarnation, now_ms, now_ms),
                    *(vitals.status.value, encode(profile), encode(vitals)),
                    *(pace.mean_ms, doubt_ms, now_ms + self._patience.bound_after(pace), doubt_ms, flaps),
                ),
            )
            _index(transaction, profile)
            note(transaction, member, "joined", status=vitals.status)
            return member

        return await self._database.write(join)

    async def announce(self, membership: Membership, profile: NodeProfile) -> None:
        def announce(transaction: Transaction) -> None:
            _current(transaction, membership)
            transaction.connection.execute(
                "UPDATE nodes SET profile = ? WHERE mesh = ? AND id = ?",
                (encode(profile), transaction.mesh, membership.node_id),
            )
            _index(transaction, profile)
            note(transaction, membership, "announced")

        await self._database.write(announce)

    async def heartbeat(self, membership: Membership, vitals: Vitals) -> Beat:
        return await self._database.write(lambda transaction: self._beat(transaction, membership, vitals))

    def _beat(self, transaction: Transaction, membership: Membership, vitals: Vitals) -> Beat:
        connection, mesh, now_ms = transaction.connection, transaction.mesh, transaction.now_ms
        status, beat_ms, mean_ms, variance, mark, flaps = _current(
            transaction, membership, ", status, beat_ms, mean_ms, variance, mark, flaps"
        )
        is_graced = now_ms <= tick(transaction, self._timings)
        patience = self._patience
        before = Pace(mean_ms=mean_ms or patience.heartbeat, variance=variance)
        pace = pace_after(before, now_ms - beat_ms, patience=patience, is_graced=is_graced)
        doubt_ms = now_ms + patience.doubted_after(pace)
        (drain,) = connection.execute(
            "UPDATE nodes SET beat_ms = ?, status = ?, vitals = ?, mean_ms = ?, variance = ?, doubt_ms = ?,"
            " bound_ms = ?, look_ms = ?, mark = NULL, flaps = ? WHERE mesh = ? AND id = ? RETURNING drain",
            (
                *(now_ms, vitals.status.value, encode(vitals), pace.mean_ms, pace.variance, doubt_ms),
                *(now_ms + patience.bound_after(pace), doubt_ms, returned(transaction, flaps) if mark else flaps),
                *(mesh, membership.node_id),
            ),
        ).fetchall()[0]
        if mark is not None:
            note(transaction, membership, "recovered")
        if status != vitals.status:
            note(transaction, membership, "status", status=vitals.status)
        pause_ms = int(patience.pause)
        nodes, live_nodes, regular = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE look_ms >= ?), count(*) FILTER (WHERE look_ms >= ?)"
            " FROM nodes WHERE mesh = ? AND dead_ms IS NULL",
            (now_ms, now_ms + pause_ms, mesh),
        ).fetchone()
        suspects = missed(transaction, pause_ms=pause_ms, limit=MAX_SUSPECTS) if regular < nodes else ()
        return Beat(
            live_nodes=live_nodes,
            silent_nodes=nodes - live_nodes,
            drain_requested=bool(drain),
            suspects=tuple(suspects),
        )

    async def sight(self, membership: Membership, sightings: Sightings) -> None:
        def sight(transaction: Transaction) -> None:
            _current(transaction, membership)
            transaction.connection.execute(
                "UPDATE nodes SET sightings = ?, sighted_ms = ? WHERE mesh = ? AND id = ?",
                (encode(sightings), transaction.now_ms, transaction.mesh, membership.node_id),
            )

        await self._database.write(sight)

    async def vouch(self, membership: Membership, node_ids: Collection[str]) -> None:
        def vouch_for(transaction: Transaction) -> None:
            _current(transaction, membership)
            vouch(transaction, membership.node_id, node_ids, timings=self._timings, patience=self._patience)

        await self._database.write(vouch_for)

    async def leave(self, membership: Membership) -> None:
        def leave(transaction: Transaction) -> None:
            node_id = membership.node_id
            gone = transaction.connection.execute(
                "DELETE FROM nodes WHERE mesh = ? AND id = ? AND incarnation = ? RETURNING dead_ms",
                (transaction.mesh, node_id, membership.incarnation),
            ).fetchall()
            if gone:
                _unindex(transaction, [node_id])
                note(transaction, membership, "left")

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
            note(transaction, Membership(node_id=node_id, incarnation=asked[0][0]), verb)

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
                    "now": reader.now_ms(),
                },
            )
            return sorted(Holder(node_id=node_id, agent_id=agent_id) for node_id, agent_id in rows)

        return await self._database.read(holders)

    async def sweep(self) -> Sequence[Membership]:
        return await self._database.write(lambda transaction: _sweep(transaction, self._timings))


def _list(reader: Reader, where: NodeFilter, timeout_ms: int) -> list[Node]:
    now_ms = reader.now_ms()
    among = f" AND n.id IN {_HOLD_ALL}" if where.capabilities else ""
    living = "" if where.include_dead else " AND n.dead_ms IS NULL AND n.doubt_ms >= :now"
    rows = reader.connection.execute(
        f"{SELECT} WHERE n.mesh = :mesh{among}{living} ORDER BY n.id",
        {
            "mesh": reader.mesh,
            "capabilities": array(where.capabilities),
            "wanted": len(where.capabilities),
            "now": now_ms,
        },
    )
    nodes = [read_node(row, now_ms=now_ms, timeout_ms=timeout_ms) for row in rows]
    return [node for node in nodes if not where.types or node.profile.type in where.types]


def _current(transaction: Transaction, membership: Membership, columns: str = "") -> list[Any]:
    """Return columns of a member's row; raise unless the membership is current."""
    row = transaction.connection.execute(
        f"SELECT incarnation, dead_ms{columns} FROM nodes WHERE mesh = ? AND id = ?",
        (transaction.mesh, membership.node_id),
    ).fetchone()
    subject = f"node {membership.node_id}"
    if row is not None and row[0] > membership.incarnation:
        raise FencedError(subject, token=membership.incarnation, current=row[0])
    if row is None or row[0] != membership.incarnation or row[1] is not None:
        raise NotFoundError(f"{subject}: incarnation {membership.incarnation} is no longer a member; join again")
    return list(row[2:])


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


def _sweep(transaction: Transaction, timings: NodeTimings) -> list[Membership]:
    connection, mesh, now_ms = transaction.connection, transaction.mesh, transaction.now_ms
    judged = judge(transaction, timings) if now_ms > tick(transaction, timings) else []
    for member in judged:
        forget_waiting(connection, mesh=mesh, node_id=member.node_id)
    forgotten = connection.execute(
        "DELETE FROM nodes WHERE mesh = ? AND dead_ms < ? RETURNING id", (mesh, now_ms - timings.dead_retention_ms)
    ).fetchall()
    _unindex(transaction, [node_id for (node_id,) in forgotten])
    return judged
