"""How a node is written in its row, and back; and which capabilities it and its agents hold."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import sqrt
from typing import Any

import msgspec

from meshd.nodes.model import Node, NodeProfile, Sightings, Verdict, Vitals
from meshd.nodes.verdicts import flaps_since, verdict_of

SELECT = (
    "SELECT n.incarnation, n.joined_ms, n.beat_ms, n.dead_ms, n.drain, n.profile, n.vitals, n.mean_ms, n.variance,"
    " n.doubt_ms, n.bound_ms, n.vouched_ms, n.vouched_by, n.flaps, n.sightings, n.sighted_ms FROM nodes n"
)

NO_FLAPS = "[]"

encode = msgspec.json.Encoder().encode
decode_flaps = msgspec.json.Decoder(list[int]).decode
_decode_profile = msgspec.json.Decoder(NodeProfile).decode
_decode_vitals = msgspec.json.Decoder(Vitals).decode
_decode_sightings = msgspec.json.Decoder(Sightings).decode


def read_node(row: Sequence[Any], *, now_ms: int, timeout_ms: int) -> Node:
    """Return the node in a row of `SELECT`, as it stands at `now_ms`."""
    incarnation, joined_ms, beat_ms, dead_ms, drain, profile, vitals, mean_ms, variance, *judged = row
    doubt_ms, bound_ms, vouched_ms, vouched_by, flaps, sightings, sighted_ms = judged
    verdict = verdict_of(
        is_dead=dead_ms is not None, now_ms=now_ms, doubt_ms=doubt_ms, vouched_ms=vouched_ms, timeout_ms=timeout_ms
    )
    seen = Sightings()
    if sightings is not None and verdict is Verdict.ALIVE:
        seen = replace(_decode_sightings(sightings), at_ms=sighted_ms)
    return Node(
        profile=_decode_profile(profile),
        incarnation=incarnation,
        verdict=verdict,
        vitals=_decode_vitals(vitals),
        joined_ms=joined_ms,
        beat_ms=beat_ms,
        read_ms=now_ms,
        drain_requested=bool(drain),
        sightings=seen,
        vouched_ms=vouched_ms,
        vouched_by=vouched_by,
        flaps=0 if flaps == NO_FLAPS else flaps_since(decode_flaps(flaps), now_ms=now_ms),
        doubt_ms=doubt_ms,
        bound_ms=bound_ms,
        mean_beat_ms=mean_ms,
        beat_deviation_ms=sqrt(variance),
    )


def holdings(profile: NodeProfile) -> Iterator[tuple[str, str]]:
    """Yield each capability with the id of the agent that holds it, empty for the node itself."""
    for capability in profile.all_capabilities:
        yield capability, ""
    for agent in profile.agents:
        for capability in agent.capabilities:
            yield capability, agent.id
