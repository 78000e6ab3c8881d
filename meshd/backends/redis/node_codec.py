"""A node as a Redis hash, and back."""

from collections.abc import Sequence

import msgspec
from pydantic import TypeAdapter

from meshd.errors import CorruptDataError
from meshd.nodes.model import Node, NodeProfile, NodeStatus, TypeHistory, Verdict, Vitals

NODE_FIELDS = (
    "inc", "profile", "joined", "beat", "died", "drain", "status", "open_tasks", "tasks_completed", "tasks_failed",
    "average_response_ms", "memory_mb", "cpu_percent", "history",
)  # fmt: skip
"""What a script returns of a node, in this order."""

_PROFILE = TypeAdapter(NodeProfile)
_encode_history = msgspec.json.Encoder().encode
_decode_history = msgspec.json.Decoder(dict[str, TypeHistory]).decode

Values = Sequence[bytes | None]
Fields = list[str | bytes | int]


def profile_json(profile: NodeProfile) -> bytes:
    """Return the whole profile as one JSON object."""
    return _PROFILE.dump_json(profile)


def visible_fields(profile: NodeProfile) -> Fields:
    """Return what a person looking at the hash wants to see beside the JSON."""
    return [
        "type", profile.type, "host", profile.host, "port", profile.port, "capacity", profile.capacity,
        "capabilities", ",".join(sorted(profile.all_capabilities)),
    ]  # fmt: skip


def vitals_fields(vitals: Vitals) -> Fields:
    """Return the measured fields; the status goes separately."""
    return [
        "open_tasks", vitals.open_tasks, "tasks_completed", vitals.tasks_completed, "tasks_failed", vitals.tasks_failed,
        "average_response_ms", repr(vitals.average_response_ms), "memory_mb", repr(vitals.memory_mb),
        "cpu_percent", repr(vitals.cpu_percent), "history", _encode_history(vitals.history),
    ]  # fmt: skip


def holdings(profile: NodeProfile) -> str:
    """Return who on this node holds what: lines of capability, tab, holder."""
    lines = [f"{capability}\t{profile.id}" for capability in sorted(profile.all_capabilities)]
    for agent in profile.agents:
        lines += [f"{capability}\t{profile.id}/{agent.id}" for capability in sorted(agent.capabilities)]
    return "\n".join(lines)


def node_of(node_id: str, values: Values, *, read_ms: int, timeout_ms: int) -> Node:
    """Return the node whose `NODE_FIELDS` are `values`.

    Raises:
        CorruptDataError: the hash is not one that meshd wrote.
    """
    incarnation, profile, joined, beat, died, drain, *measured = values
    try:
        beat_ms = int(beat or b"")
        return Node(
            profile=_PROFILE.validate_json(profile or b""),
            incarnation=int(incarnation or b""),
            verdict=_verdict(died, read_ms - beat_ms > timeout_ms),
            vitals=_vitals(measured),
            joined_ms=int(joined or b""),
            beat_ms=beat_ms,
            read_ms=read_ms,
            drain_requested=drain == b"1",
        )
    except (ValueError, TypeError, msgspec.DecodeError) as exc:
        raise CorruptDataError(f"node {node_id} cannot be read from its hash: {exc!r}") from exc


def _verdict(died: bytes | None, is_silent: bool) -> Verdict:
    if died:
        return Verdict.DEAD
    return Verdict.SUSPECT if is_silent else Verdict.ALIVE


def _vitals(measured: Values) -> Vitals:
    status, open_tasks, completed, failed, response, memory, cpu, history = measured
    return Vitals(
        status=NodeStatus((status or b"").decode()),
        open_tasks=int(open_tasks or 0),
        tasks_completed=int(completed or 0),
        tasks_failed=int(failed or 0),
        average_response_ms=float(response or 0),
        memory_mb=float(memory or 0),
        cpu_percent=float(cpu or 0),
        history=_decode_history(history or b"{}"),
    )
