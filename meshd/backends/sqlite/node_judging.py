"""Silent nodes on SQLite: when a sweep has to judge each, what it concludes, and who vouches for whom.

`nodes.look_ms` is when that is next: where the node becomes doubtful, then where its bound is, or where a vouch ends.
`nodes.mark` is what the last sweep or vouch concluded, until the node beats again.
"""

from collections.abc import Collection, Sequence

from meshd.backends.sqlite.bulk import array
from meshd.backends.sqlite.node_rows import decode_flaps, encode
from meshd.backends.sqlite.transaction import Transaction
from meshd.nodes.model import Membership, NodeTimings, Verdict
from meshd.nodes.phi import Pace, Patience
from meshd.nodes.store import NODES_LOG
from meshd.nodes.verdicts import with_flap


def note(transaction: Transaction, member: Membership, event: str, **more: str) -> None:
    """Append a transition of a node to the log."""
    transaction.log(NODES_LOG, {"event": event, "node": member.node_id, "incarnation": member.incarnation, **more})


def tick(transaction: Transaction, timings: NodeTimings) -> int:
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


def pace_after(pace: Pace, interval_ms: int, *, patience: Patience, is_graced: bool) -> Pace:
    """Return the pace of a node that beats after `interval_ms`; what an outage made late is not counted."""
    return pace.counting(interval_ms) if not is_graced and patience.tells(interval_ms, pace) else pace


def returned(transaction: Transaction, flaps: str) -> str:
    """Return when a node came back, now too."""
    return encode(with_flap(decode_flaps(flaps), now_ms=transaction.now_ms)).decode()


def vouch(
    transaction: Transaction, by: str, node_ids: Collection[str], *, timings: NodeTimings, patience: Patience
) -> None:
    """Note that `by` reaches those just now."""
    connection, mesh, now_ms = transaction.connection, transaction.mesh, transaction.now_ms
    among = array(node_id for node_id in node_ids if node_id != by)
    rows = connection.execute(
        "UPDATE nodes SET vouched_ms = :now, vouched_by = :by,"
        " look_ms = CASE WHEN :now > doubt_ms - :pause THEN max(look_ms, :now + :timeout) ELSE look_ms END"
        " WHERE mesh = :mesh AND dead_ms IS NULL AND id IN (SELECT value FROM json_each(:among))"
        " RETURNING id, incarnation, doubt_ms, mark",
        {
            "now": now_ms,
            "by": by,
            "pause": int(patience.pause),
            "timeout": timings.timeout_ms,
            "mesh": mesh,
            "among": among,
        },
    ).fetchall()
    for node_id, incarnation, doubt_ms, mark in sorted(rows):
        if now_ms > doubt_ms:
            _mark(transaction, Membership(node_id=node_id, incarnation=incarnation), Verdict.PARTITIONED, mark, by=by)


def judge(transaction: Transaction, timings: NodeTimings) -> list[Membership]:
    """Judge every silent node whose time has come; return those that are dead."""
    connection, mesh, now_ms = transaction.connection, transaction.mesh, transaction.now_ms
    silent = connection.execute(
        "SELECT id, incarnation, bound_ms, vouched_ms, vouched_by, mark FROM nodes"
        " WHERE mesh = ? AND dead_ms IS NULL AND look_ms < ? ORDER BY id",
        (mesh, now_ms),
    ).fetchall()
    dead: list[Membership] = []
    for node_id, incarnation, bound_ms, vouched_ms, vouched_by, mark in silent:
        member = Membership(node_id=node_id, incarnation=incarnation)
        trusted_ms = vouched_ms + timings.timeout_ms if vouched_ms else 0
        if now_ms <= trusted_ms:
            _mark(transaction, member, Verdict.PARTITIONED, mark, by=vouched_by)
            _look(transaction, node_id, trusted_ms)
        elif now_ms <= bound_ms:
            _mark(transaction, member, Verdict.SUSPECT, mark)
            _look(transaction, node_id, bound_ms)
        else:
            dead.append(member)
            note(transaction, member, "dead")
    connection.execute(
        "UPDATE nodes SET dead_ms = ? WHERE mesh = ? AND id IN (SELECT value FROM json_each(?))",
        (now_ms, mesh, array(member.node_id for member in dead)),
    )
    return dead


def _mark(transaction: Transaction, member: Membership, verdict: Verdict, before: str | None, **more: str) -> None:
    if before != verdict.value:
        transaction.connection.execute(
            "UPDATE nodes SET mark = ? WHERE mesh = ? AND id = ?", (verdict.value, transaction.mesh, member.node_id)
        )
        note(transaction, member, verdict.value, **more)


def _look(transaction: Transaction, node_id: str, at_ms: int) -> None:
    transaction.connection.execute(
        "UPDATE nodes SET look_ms = ? WHERE mesh = ? AND id = ?", (at_ms, transaction.mesh, node_id)
    )


def missed(transaction: Transaction, *, pause_ms: int, limit: int) -> Sequence[str]:
    """Return nodes that have missed beats and for whom nobody has just vouched."""
    rows = transaction.connection.execute(
        "SELECT id FROM nodes WHERE mesh = ? AND dead_ms IS NULL AND look_ms < ? ORDER BY look_ms LIMIT ?",
        (transaction.mesh, transaction.now_ms + pause_ms, limit),
    )
    return [node_id for (node_id,) in rows]
