"""How a node is written in its row, and back; and which capabilities it and its agents hold."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from meshd.nodes.model import Node, NodeProfile, Verdict, Vitals

SELECT = "SELECT n.incarnation, n.joined_ms, n.beat_ms, n.dead_ms, n.drain, n.profile, n.vitals FROM nodes n"

encode = msgspec.json.Encoder().encode
_decode_profile = msgspec.json.Decoder(NodeProfile).decode
_decode_vitals = msgspec.json.Decoder(Vitals).decode


def read_node(row: Sequence[Any], *, now_ms: int, timeout_ms: int) -> Node:
    """Return the node in a row of `SELECT`, as it stands at `now_ms`."""
    incarnation, joined_ms, beat_ms, dead_ms, drain, profile, vitals = row
    verdict = Verdict.ALIVE
    if dead_ms is not None:
        verdict = Verdict.DEAD
    elif now_ms - beat_ms > timeout_ms:
        verdict = Verdict.SUSPECT
    return Node(
        profile=_decode_profile(profile),
        incarnation=incarnation,
        verdict=verdict,
        vitals=_decode_vitals(vitals),
        joined_ms=joined_ms,
        beat_ms=beat_ms,
        read_ms=now_ms,
        drain_requested=bool(drain),
    )


def holdings(profile: NodeProfile) -> Iterator[tuple[str, str]]:
    """Yield each capability with the id of the agent that holds it, empty for the node itself."""
    for capability in profile.all_capabilities:
        yield capability, ""
    for agent in profile.agents:
        for capability in agent.capabilities:
            yield capability, agent.id
