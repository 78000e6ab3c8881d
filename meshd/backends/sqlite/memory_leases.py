"""Who may write as whom, who is a member, and who is kept out. Each function is one step of a transaction.

Tokens and epochs come from the mesh's fencing tokens, so one that was handed out is never handed out again, also if
the store lost its newest writes.
"""

import msgspec

from meshd.backends.sqlite.database import Reader
from meshd.backends.sqlite.memory_taking import decode_reasons
from meshd.backends.sqlite.transaction import Transaction
from meshd.errors import FencedError
from meshd.ids import new_id
from meshd.memory.model import LENT, ActorLease, Mastery, Member, MemoryLimits

_encode = msgspec.json.encode
_decode_state = msgspec.json.Decoder(dict[str, int | str]).decode


def lease_actor(transaction: Transaction, *, owner: str, ttl_ms: int) -> ActorLease:
    """Lend an actor that is free, or a new one."""
    connection, mesh = transaction.connection, transaction.mesh
    row = connection.execute(
        "SELECT actor FROM memory_leases WHERE mesh = ? AND until_ms <= ? ORDER BY until_ms, actor LIMIT 1",
        (mesh, transaction.now_ms),
    ).fetchone()
    actor = row[0] if row else f"{LENT}{new_id()[-10:].lower()}"
    token, until_ms = transaction.next_token(), transaction.now_ms + ttl_ms
    connection.execute(
        "INSERT OR REPLACE INTO memory_leases (mesh, actor, owner, token, until_ms) VALUES (?, ?, ?, ?, ?)",
        (mesh, actor, owner, token, until_ms),
    )
    seq = connection.execute("SELECT seq FROM memory_actors WHERE mesh = ? AND name = ?", (mesh, actor)).fetchone()
    return ActorLease(actor=actor, seq=seq[0] if seq else 0, token=token, until_ms=until_ms)


def renew_actor(transaction: Transaction, lease: ActorLease, *, ttl_ms: int) -> ActorLease:
    """Prolong the lease unless somebody else has the actor."""
    connection, key = transaction.connection, (transaction.mesh, lease.actor)
    row = connection.execute(
        "SELECT leases.token, coalesce(actors.seq, 0) FROM memory_leases AS leases LEFT JOIN memory_actors AS actors"
        " ON actors.mesh = leases.mesh AND actors.name = leases.actor WHERE leases.mesh = ? AND leases.actor = ?",
        key,
    ).fetchone()
    current = row[0] if row else 0
    if current != lease.token:
        raise FencedError(f"memory actor {lease.actor}", token=lease.token, current=current)
    until_ms = transaction.now_ms + ttl_ms
    connection.execute("UPDATE memory_leases SET until_ms = ? WHERE mesh = ? AND actor = ?", (until_ms, *key))
    return ActorLease(actor=lease.actor, seq=row[1], token=lease.token, until_ms=until_ms)


def return_actor(transaction: Transaction, lease: ActorLease) -> None:
    """Free the actor, and fence whoever still holds this lease."""
    transaction.connection.execute(
        "UPDATE memory_leases SET until_ms = 0, token = ?, owner = '' WHERE mesh = ? AND actor = ? AND token = ?",
        (transaction.next_token(), transaction.mesh, lease.actor, lease.token),
    )


def take_mastery(transaction: Transaction, prefix: str, *, holder: str, ttl_ms: int) -> Mastery:
    """Return who is the master of a prefix, once `holder` has tried."""
    connection, mesh, now_ms = transaction.connection, transaction.mesh, transaction.now_ms
    row = connection.execute(
        "SELECT holder, epoch, until_ms FROM memory_masters WHERE mesh = ? AND prefix = ?", (mesh, prefix)
    ).fetchone()
    if row is not None and row[0] != holder and row[2] > now_ms:
        return Mastery(prefix=prefix, holder=row[0], epoch=row[1], until_ms=row[2])
    epoch: int = row[1] if row is not None and row[0] == holder else transaction.next_token()
    connection.execute(
        "INSERT OR REPLACE INTO memory_masters (mesh, prefix, holder, epoch, until_ms) VALUES (?, ?, ?, ?, ?)",
        (mesh, prefix, holder, epoch, now_ms + ttl_ms),
    )
    return Mastery(prefix=prefix, holder=holder, epoch=epoch, until_ms=now_ms + ttl_ms)


def resign(transaction: Transaction, mastery: Mastery) -> None:
    """Leave the prefix without a master, if this is its master."""
    transaction.connection.execute(
        "UPDATE memory_masters SET holder = '', until_ms = 0, epoch = ? WHERE mesh = ? AND prefix = ? AND holder = ?"
        " AND epoch = ?",
        (transaction.next_token(), transaction.mesh, mastery.prefix, mastery.holder, mastery.epoch),
    )


def report(transaction: Transaction, member: Member, *, limits: MemoryLimits) -> bool:
    """Note how far a member is; return whether it was one."""
    connection, key = transaction.connection, (transaction.mesh, member.node)
    row = connection.execute("SELECT seen_ms FROM memory_members WHERE mesh = ? AND node = ?", key).fetchone()
    connection.execute(
        "INSERT OR REPLACE INTO memory_members (mesh, node, actor, revision, seen_ms, state) VALUES (?, ?, ?, ?, ?, ?)",
        (*key, member.actor, member.revision, transaction.now_ms, _encode(dict(member.state))),
    )
    return row is not None and row[0] > transaction.now_ms - limits.evict_after_ms


def members(reader: Reader, *, evict_after_ms: int) -> list[Member]:
    """Return who reported lately, by node."""
    rows = reader.connection.execute(
        "SELECT node, actor, revision, seen_ms, state FROM memory_members WHERE mesh = ? AND seen_ms > ? ORDER BY node",
        (reader.mesh, reader.now_ms() - evict_after_ms),
    ).fetchall()
    return [
        Member(node=node, actor=actor, revision=revision, seen_ms=seen_ms, state=_decode_state(state))
        for node, actor, revision, seen_ms, state in rows
    ]


def quarantine(transaction: Transaction, node: str, reason: str | None) -> bool:
    """Keep a node out for a reason, or take it back without one; return whether it was kept out."""
    connection, mesh = transaction.connection, transaction.mesh
    stored = connection.execute("SELECT quarantined FROM memories WHERE mesh = ?", (mesh,)).fetchone()[0]
    reasons = decode_reasons(stored)
    was = reasons.pop(node, None) is not None
    if reason is not None:
        reasons[node] = reason
    connection.execute("UPDATE memories SET quarantined = ? WHERE mesh = ?", (_encode(reasons).decode(), mesh))
    return was


def read_quarantined(reader: Reader) -> dict[str, str]:
    """Return the nodes that are kept out, and why."""
    stored = reader.connection.execute("SELECT quarantined FROM memories WHERE mesh = ?", (reader.mesh,)).fetchone()
    return decode_reasons(stored[0])
