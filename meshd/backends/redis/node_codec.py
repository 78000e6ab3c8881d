"""A node as a Redis hash, and back."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import sqrt

import msgspec

from meshd.errors import CorruptDataError
from meshd.nodes.model import Node, NodeProfile, Sightings, Verdict, Vitals
from meshd.nodes.verdicts import flaps_since, verdict_of

NODE_FIELDS = (
    "inc", "profile", "joined", "beat", "died", "drain", "vitals", "doubt", "bound", "mean", "variance",
    "vouched", "vouched_by", "flaps", "sightings", "sighted",
)  # fmt: skip
"""What a script returns of a node, in this order."""

_encode = msgspec.json.Encoder(order="deterministic").encode
_PROFILES_KEPT = 2_048
"""A profile rarely changes, so what its JSON says is kept for the next list."""
_decode_profile = lru_cache(_PROFILES_KEPT)(msgspec.json.Decoder(NodeProfile).decode)
_decode_vitals = msgspec.json.Decoder(Vitals).decode
_decode_sightings = msgspec.json.Decoder(Sightings).decode

Values = Sequence[bytes | None]
Fields = list[str | bytes | int]


def profile_json(profile: NodeProfile) -> bytes:
    """Return the whole profile as one JSON object."""
    return _encode(profile)


def visible_fields(profile: NodeProfile) -> Fields:
    """Return what a person looking at the hash wants to see beside the JSON."""
    return [
        "type", profile.type, "host", profile.host, "port", profile.port, "capacity", profile.capacity,
        "capabilities", ",".join(sorted(profile.all_capabilities)),
    ]  # fmt: skip


def vitals_fields(vitals: Vitals) -> Fields:
    """Return what was measured, as one JSON object: a beat writes few fields. Scripts get the status beside it."""
    return ["vitals", _encode(vitals)]


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
    incarnation, profile, joined, beat, died, drain, vitals, doubt, bound, mean, variance, *others = values
    vouched, vouched_by, flaps, sightings, sighted = others
    try:
        vouched_ms, doubt_ms = int(vouched or 0), int(doubt or 0)
        verdict = verdict_of(
            is_dead=bool(died), now_ms=read_ms, doubt_ms=doubt_ms, vouched_ms=vouched_ms, timeout_ms=timeout_ms
        )
        return Node(
            profile=_decode_profile(profile or b""),
            incarnation=int(incarnation or b""),
            verdict=verdict,
            vitals=_decode_vitals(vitals or b""),
            joined_ms=int(joined or b""),
            beat_ms=int(beat or b""),
            read_ms=read_ms,
            drain_requested=drain == b"1",
            sightings=_sightings(sightings, sighted) if verdict is Verdict.ALIVE else Sightings(),
            vouched_ms=vouched_ms,
            vouched_by=(vouched_by or b"").decode(),
            flaps=flaps_since(map(int, flaps.split()), now_ms=read_ms) if flaps else 0,
            doubt_ms=doubt_ms,
            bound_ms=int(bound or 0),
            mean_beat_ms=float(mean or 0),
            beat_deviation_ms=sqrt(float(variance or 0)),
        )
    except (ValueError, TypeError, msgspec.DecodeError) as exc:
        raise CorruptDataError(f"node {node_id} cannot be read from its hash: {exc!r}") from exc


def sightings_json(sightings: Sightings) -> bytes:
    """Return what a node's probes say as one JSON object; the time of the report is written beside it."""
    return _encode(sightings)


def _sightings(stored: bytes | None, sighted: bytes | None) -> Sightings:
    if stored is None:
        return Sightings()
    return replace(_decode_sightings(stored), at_ms=int(sighted or 0))
