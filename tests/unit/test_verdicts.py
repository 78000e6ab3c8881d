"""What the mesh concludes about a node, why, and how long it was there."""

from dataclasses import replace

import pytest

from meshd.nodes.model import Node, NodeProfile, Sightings, Verdict, Vitals
from meshd.nodes.uptime import uptime_of
from meshd.nodes.verdicts import Condition, conclude, evidence_of

NOW_MS = 1_700_000_000_000
SINCE_MS = NOW_MS - 13_000


def a_node(name: str, *, verdict: Verdict = Verdict.ALIVE, silent_ms: int = 200) -> Node:
    return Node(
        profile=NodeProfile(id=name),
        incarnation=1,
        verdict=verdict,
        vitals=Vitals(),
        joined_ms=0,
        beat_ms=NOW_MS - silent_ms,
        read_ms=NOW_MS,
        doubt_ms=NOW_MS - silent_ms + 3_716,
        bound_ms=NOW_MS - silent_ms + 4_000,
    )


def watching(name: str, *reached: str, lost: str = "") -> Node:
    sightings = Sightings(
        reached=frozenset(reached),
        unreached={lost: SINCE_MS} if lost else {},
        round_trip_ms=dict.fromkeys(reached, 0.4),
        at_ms=NOW_MS,
    )
    return replace(a_node(name), sightings=sightings)


@pytest.mark.parametrize(
    ("hub_hears", "peers_reach", "condition"),
    [
        (True, True, Condition.ALIVE),
        (True, None, Condition.ALIVE),
        (True, False, Condition.EDGE_FAULT),
        (False, True, Condition.PARTITIONED),
        (False, False, Condition.DEAD),
        (False, None, Condition.DEAD),
    ],
)
def test_the_table(hub_hears: bool, peers_reach: bool | None, condition: Condition) -> None:
    assert conclude(hub_hears=hub_hears, peers_reach=peers_reach) is condition


def test_a_node_the_hub_hears_and_some_do_not_reach_has_an_edge_fault() -> None:
    mesh = [a_node("n1"), watching("n3", lost="n1"), watching("n5", lost="n1"), watching("n2", "n1")]
    found = evidence_of(mesh[0], mesh)
    assert (found.condition, dict(found.unreached_by)) == (Condition.EDGE_FAULT, {"n3": SINCE_MS, "n5": SINCE_MS})
    assert (found.reached_by, found.round_trip_ms) == (("n2",), 0.4)
    assert found.lines == (
        "last beat 0.2 s ago, phi 0",
        "n3, n5 do not reach it since 22:13:07 UTC",
        "n2 reaches it",
    )


def test_a_partitioned_node_names_who_vouches_for_it() -> None:
    cut = a_node("n1", verdict=Verdict.PARTITIONED, silent_ms=6_100)
    cut = replace(cut, vouched_by="n2", vouched_ms=NOW_MS - 800, flaps=2)
    found = evidence_of(cut, [cut, watching("n2", "n1")])
    assert found.condition is Condition.PARTITIONED
    assert found.lines == (
        "last beat 6.1 s ago, phi 69",
        "n2 reaches it and vouched for it 0.8 s ago",
        "n2 reaches it",
        "went and came back 2 times in the last hour",
    )


def test_what_dead_nodes_and_the_node_itself_probed_counts_for_nothing() -> None:
    gone = replace(watching("n2", lost="n1"), verdict=Verdict.DEAD)
    own = watching("n1", "n1")
    found = evidence_of(own, [own, gone])
    assert (found.condition, found.unreached_by, found.reached_by) == (Condition.ALIVE, {}, ())
    assert found.lines[-1] == "no other node probes it"


@pytest.mark.parametrize("verdict", [Verdict.SUSPECT, Verdict.DEAD])
def test_a_silent_node_is_suspect_until_it_is_judged_dead(verdict: Verdict) -> None:
    node = a_node("n1", verdict=verdict, silent_ms=4_100)
    assert evidence_of(node, [node]).condition.value == verdict.value


def test_many_witnesses_are_counted() -> None:
    mesh = [a_node("n1"), *(watching(f"w{number}", lost="n1") for number in range(9))]
    assert evidence_of(mesh[0], mesh).lines[1].startswith("w0, w1, w2, w3, w4 and 4 more do not reach it since ")


def test_the_share_of_uptime_counts_what_was_observed_only() -> None:
    life = [(100, "joined"), (150, "status"), (300, "suspect"), (350, "recovered"), (500, "left"), (700, "joined")]
    found = uptime_of(life, now_ms=1_100, window_ms=10_000)
    assert (found.up_ms, found.observed_ms, found.share) == (200 + 150 + 400, 1_000, 0.75)
    assert (found.joins, found.failures, found.departures) == (2, 0, 1)


def test_a_window_cuts_what_happened_before_it() -> None:
    life = [(100, "joined"), (600, "dead"), (800, "joined")]
    found = uptime_of(life, now_ms=1_000, window_ms=500)
    assert (found.up_ms, found.observed_ms, found.failures) == (300, 500, 1)
    assert uptime_of(life[:1], now_ms=9_000, window_ms=500).share == 1
    assert uptime_of([], now_ms=9_000, window_ms=500).share is None
