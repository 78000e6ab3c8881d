"""What a graph says: strongest paths, neighbours, repairs."""

from collections.abc import Mapping
from random import Random

import pytest

from meshd.errors import InvalidArgumentError, NotFoundError
from meshd.nodes.model import Node, NodeProfile, Sightings, Verdict, Vitals
from meshd.topology.graph import Path, neighbours, node_weights, repairs, strongest_path, weights_from
from meshd.topology.model import Edge, Graph
from meshd.topology.recorded import graph_from, snapshot_of
from meshd.topology.service import length_by


def a_graph(weights: Mapping[str, float], *, alone: str = "") -> Graph:
    """Return a graph from `{"ab": 0.5}`: an edge from a to b of that weight."""
    edges = [Edge(source=pair[0], target=pair[1], weight=weight, touched_ms=1) for pair, weight in weights.items()]
    agents = sorted({*"".join(weights), *alone})
    return Graph(agents=agents, edges=edges, at_ms=1, homes={agent: f"on-{agent}" for agent in agents})


def test_a_strong_detour_beats_a_thin_direct_edge() -> None:
    path = strongest_path(a_graph({"ac": 0.25, "ab": 1.0, "bc": 1.0}), "a", "c")
    assert path == Path(agents=("a", "b", "c"), weights=(1.0, 1.0), cost=2.0)
    assert path is not None
    assert path.weakest == 1.0


def test_a_direct_edge_beats_a_detour_that_costs_more() -> None:
    path = strongest_path(a_graph({"ac": 0.6, "ab": 1.0, "bc": 1.0}), "a", "c")
    assert path is not None
    assert path.agents == ("a", "c")


def test_a_path_goes_over_many_hops_and_only_with_the_edges() -> None:
    chain = a_graph({"ab": 0.9, "bc": 0.8, "cd": 0.7, "de": 0.6})
    path = strongest_path(chain, "a", "e")
    assert path is not None
    assert path.agents == ("a", "b", "c", "d", "e")
    assert path.weakest == 0.6
    assert strongest_path(chain, "e", "a") is None


def test_there_is_no_path_where_the_graph_is_cut() -> None:
    cut = a_graph({"ab": 1.0, "ba": 1.0, "cd": 1.0})
    assert strongest_path(cut, "a", "d") is None
    assert strongest_path(a_graph({"ab": 1.0, "bc": 1.0}), "a", "c", avoid=frozenset("b")) is None


def test_the_way_to_oneself_is_no_way_at_all() -> None:
    assert strongest_path(a_graph({"ab": 1.0}), "a", "a") == Path(agents=("a",), weights=(), cost=0.0)


def test_a_path_to_a_stranger_is_refused() -> None:
    with pytest.raises(NotFoundError, match="'z' is not in the topology"):
        strongest_path(a_graph({"ab": 1.0}), "a", "z")


def test_the_length_of_an_edge_counts_against_it() -> None:
    graph = a_graph({"ab": 1.0, "bd": 1.0, "ac": 0.5, "cd": 0.5})
    far = {("a", "b"): 9.0, ("b", "d"): 9.0}
    path = strongest_path(graph, "a", "d", length=lambda one, other: far.get((one, other), 1.0))
    assert path is not None
    assert path.agents == ("a", "c", "d")


def test_lengths_are_the_round_trips_nodes_measured() -> None:
    def a_node(name: str, trips: Mapping[str, float]) -> Node:
        return Node(
            profile=NodeProfile(id=name),
            incarnation=1,
            verdict=Verdict.ALIVE,
            vitals=Vitals(),
            joined_ms=0,
            beat_ms=0,
            read_ms=0,
            sightings=Sightings(round_trip_ms=trips),
        )

    length = length_by([a_node("n1", {"n2": 12.0, "n3": 0.2}), a_node("n2", {})], {"a": "n1", "b": "n2", "c": "n3"})
    assert (length("a", "b"), length("b", "a"), length("a", "c")) == (12.0, 12.0, 1.0)
    assert length("b", "c") == pytest.approx(6.1)


def test_neighbours_are_the_eight_thickest_and_one_by_lot() -> None:
    weights = {f"a{number}": number / 20 for number in range(1, 21)}
    found = neighbours(weights, weights, rng=Random(3))
    assert found[:8] == tuple(f"a{number}" for number in range(20, 12, -1))
    assert len(found) == 9
    assert found[8] in {f"a{number}" for number in range(1, 13)}
    assert found == neighbours(weights, weights, rng=Random(3))
    assert len({neighbours(weights, weights, rng=Random(seed))[8] for seed in range(100)}) == 12


def test_few_others_are_all_neighbours() -> None:
    assert sorted(neighbours({}, "abc", rng=Random(1))) == ["a", "b", "c"]
    assert neighbours({}, "", rng=Random(1)) == ()


def test_a_new_mesh_does_not_look_to_the_same_few() -> None:
    others = [f"a{number:02}" for number in range(40)]
    looked_to = {other for seed in range(40) for other in neighbours({}, others, rng=Random(seed))[:8]}
    assert len(looked_to) == 40


def test_weights_between_nodes_are_the_thickest_of_their_agents() -> None:
    graph = a_graph({"ac": 0.4, "bc": 0.9, "ab": 1.0, "ca": 0.2})
    homes = {"a": "n1", "b": "n1", "c": "n2"}
    graph = Graph(agents=graph.agents, edges=graph.edges, homes=homes)
    assert node_weights(graph, "n1") == {"n2": 0.9}
    assert node_weights(graph, "n2") == {"n1": 0.2}
    assert weights_from(graph, "a") == {"c": 0.4, "b": 1.0}


def test_repairs_join_the_pieces_and_nothing_more() -> None:
    graph = a_graph({"ab": 1.0, "cd": 1.0, "ef": 1.0, "fg": 1.0}, alone="h")
    found = repairs(graph, rng=Random(5))
    assert len(found) == 3
    mended = [*graph.edges, *(Edge(source=one, target=other, weight=0.5) for one, other in found)]
    assert repairs(Graph(agents=graph.agents, edges=mended, homes=graph.homes), rng=Random(5)) == ()


def test_repairs_prefer_the_short() -> None:
    graph = a_graph({"ab": 1.0, "cd": 1.0})
    found = repairs(
        graph, rng=Random(1), length=lambda one, other: 1.0 if {one, other} == {"c", "b"} else 50.0, tries=64
    )
    assert [set(pair) for pair in found] == [{"b", "c"}]


def test_a_snapshot_read_back_is_the_same_graph() -> None:
    graph = a_graph({"ab": 0.7, "ba": 0.3}, alone="c")
    assert graph_from(snapshot_of(graph)) == Graph(
        agents=("a", "b", "c"), edges=tuple(graph.edges), at_ms=1, homes=graph.homes
    )


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"format": "other"}, "no topology snapshot"),
        ({"agents": 5}, "cannot be read"),
        ({"edges": [{"source": "a"}]}, "cannot be read"),
        ({"agents": {}}, "both ends must be agents"),
    ],
)
def test_what_is_no_snapshot_is_refused(change: Mapping[str, object], fact: str) -> None:
    with pytest.raises(InvalidArgumentError, match=fact):
        graph_from({**snapshot_of(a_graph({"ab": 0.7})), **change})
