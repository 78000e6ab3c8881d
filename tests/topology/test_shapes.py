"""The shapes: how many links, and who is cut off by a loss."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.errors import InvalidArgumentError
from meshd.topology.builders import (
    BRANCHES,
    Link,
    components,
    hybrid,
    link_count,
    links,
    links_with,
    mesh,
    ring,
    star,
    tree,
)
from meshd.topology.model import Shape
from meshd.topology.selection import Communication, Need, Tolerance, max_degree, max_hops, shape_for, suggest

SIX = ["a", "b", "c", "d", "e", "f"]
sizes = st.integers(min_value=1, max_value=60)
shapes = st.sampled_from(Shape)


def named(count: int) -> list[str]:
    return [f"agent-{number:03}" for number in range(count)]


def degrees(given_links: frozenset[Link]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one, other in given_links:
        found[one] = found.get(one, 0) + 1
        found[other] = found.get(other, 0) + 1
    return found


def furthest(agents: list[str], given_links: frozenset[Link]) -> int:
    """Return the most hops between any two, by breadth-first search from each."""
    worst = 0
    for start in agents:
        seen, edge, hops = {start}, {start}, 0
        while edge:
            edge = {o for a, b in given_links for o in ((b,) if a in edge else (a,) if b in edge else ())} - seen
            seen |= edge
            hops += bool(edge)
        worst = max(worst, hops)
    return worst


def isolated_by(shape: Shape, lost: str | Link, *, agents: list[str]) -> frozenset[str]:
    """Return who is cut off from the largest group left, everybody where nobody is connected, by a loss."""
    left = [agent for agent in agents if agent != lost]
    groups = components(left, (link for link in links(shape, agents) if link != lost and lost not in link))
    largest = groups[0] if groups and len(groups[0]) > 1 else []
    return frozenset(left).difference(largest)


def test_a_star_has_a_link_to_each_from_the_hub_whose_loss_isolates_all() -> None:
    assert star(SIX) == {("a", other) for other in SIX[1:]}
    assert isolated_by(Shape.STAR, "a", agents=SIX) == set(SIX[1:])
    assert isolated_by(Shape.STAR, "c", agents=SIX) == frozenset()
    assert star(SIX, hub="d") == {("a", "d"), ("b", "d"), ("c", "d"), ("d", "e"), ("d", "f")}


def test_a_mesh_links_everybody_and_no_loss_isolates_anybody() -> None:
    assert len(mesh(SIX)) == 15
    assert isolated_by(Shape.MESH, "a", agents=SIX) == frozenset()
    assert isolated_by(Shape.MESH, ("a", "b"), agents=SIX) == frozenset()


def test_a_ring_has_as_many_links_as_agents_and_one_cut_leaves_it_connected() -> None:
    assert ring(SIX) == {("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("e", "f"), ("a", "f")}
    losses: list[str | Link] = [*SIX, *ring(SIX)]
    for lost in losses:
        assert isolated_by(Shape.RING, lost, agents=SIX) == frozenset()


def test_a_tree_loses_what_is_below_a_lost_parent() -> None:
    agents = named(21)
    below = {agent for parent, agent in tree(agents) if parent == agents[1]}
    assert len(tree(agents)) == 20
    assert below == set(agents[5:9])
    assert isolated_by(Shape.TREE, agents[1], agents=agents) == below
    assert isolated_by(Shape.TREE, (agents[0], agents[1]), agents=agents) == {agents[1], *below}
    assert isolated_by(Shape.TREE, agents[20], agents=agents) == frozenset()


def test_a_hybrid_is_the_union_of_two_shapes() -> None:
    assert hybrid(SIX) == ring(SIX) | tree(SIX)
    assert hybrid(SIX, parts=(Shape.STAR, Shape.RING)) == star(SIX) | ring(SIX)
    for parts in ((Shape.STAR,), (Shape.HYBRID, Shape.RING)):
        with pytest.raises(InvalidArgumentError, match="two other shapes"):
            hybrid(SIX, parts=parts)


@given(shapes, sizes)
def test_a_shape_has_the_links_its_count_says(shape: Shape, count: int) -> None:
    built = links(shape, named(count))
    assert len(built) == link_count(shape, count)
    expected = {Shape.STAR: count - 1, Shape.TREE: count - 1, Shape.MESH: count * (count - 1) // 2}
    assert shape not in expected or len(built) == expected[shape]
    assert shape is not Shape.RING or count < 3 or len(built) == count


@given(shapes, sizes)
def test_a_shape_is_in_one_piece_and_within_its_bounds(shape: Shape, count: int) -> None:
    agents, built = named(count), links(shape, named(count))
    assert len(components(agents, built)) == 1
    assert all(one < other for one, other in built)
    assert max(degrees(built).values(), default=0) <= max_degree(shape, count)
    assert furthest(agents, built) <= max_hops(shape, count)


@given(st.sampled_from([Shape.RING, Shape.HYBRID, Shape.MESH]), st.integers(min_value=3, max_value=30), st.data())
def test_whichever_one_is_lost_the_others_stay_connected(shape: Shape, count: int, data: st.DataObject) -> None:
    losses: list[str | Link] = [*named(count), *sorted(links(shape, named(count)))]
    lost = data.draw(st.sampled_from(losses))
    left = count - 1 if isinstance(lost, str) else count
    isolated = isolated_by(shape, lost, agents=named(count))
    assert len(isolated) == 0 or left == 1


@given(shapes, sizes, st.data())
def test_the_links_of_newcomers_are_those_of_the_shape_that_touch_them(
    shape: Shape, count: int, data: st.DataObject
) -> None:
    agents = named(count)
    new = data.draw(st.sets(st.sampled_from(agents)))
    assert list(links_with(shape, agents, new)) == sorted(
        link for link in links(shape, agents) if link[0] in new or link[1] in new
    )


def test_a_hub_or_a_number_of_branches_that_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="hub 'z'"):
        star(SIX, hub="z")
    with pytest.raises(InvalidArgumentError, match="branches 0"):
        tree(SIX, branches=0)


@pytest.mark.parametrize(
    ("need", "shape"),
    [
        (Need(agents=4), Shape.MESH),
        (Need(agents=200), Shape.HYBRID),
        (Need(agents=10, communication=Communication.CENTRAL, tolerance=Tolerance.NONE), Shape.STAR),
        (Need(agents=10, communication=Communication.CHAIN), Shape.RING),
        (Need(agents=100, communication=Communication.LEVELS, tolerance=Tolerance.NONE), Shape.TREE),
        (Need(agents=100, communication=Communication.LEVELS), Shape.HYBRID),
        (Need(agents=100, tolerance=Tolerance.MANY), Shape.MESH),
        (Need(agents=12, max_links=12), Shape.RING),
        (Need(agents=12, max_degree=2), Shape.RING),
    ],
)
def test_the_shape_suggested_follows_from_the_need(need: Need, shape: Shape) -> None:
    suggestion = suggest(need)
    assert suggestion.shape is shape
    assert suggestion.links == link_count(shape, need.agents)
    assert [reason.partition(":")[0] for reason in suggestion.reasons] == [
        "communication",
        "fault tolerance",
        "scale",
        "constraints",
    ]
    assert set(suggestion.rejected) == set(Shape) - {shape}


def test_what_breaks_a_limit_is_rejected_by_name_and_number() -> None:
    rejected = suggest(Need(agents=40, max_links=100)).rejected
    assert rejected[Shape.MESH] == "780 links are over 100"
    assert rejected[Shape.STAR] == "the loss of its hub isolates all, and one may"


def test_limits_no_shape_keeps_are_refused_with_all_reasons() -> None:
    with pytest.raises(InvalidArgumentError, match="mesh: 45 links are over 20"):
        suggest(Need(agents=10, tolerance=Tolerance.MANY, max_links=20))
    with pytest.raises(InvalidArgumentError, match="agents 0"):
        suggest(Need(agents=0))


def test_by_default_a_mesh_up_to_32_agents_and_a_hybrid_above() -> None:
    assert [shape_for(count) for count in (1, 32, 33, 1_000)] == [Shape.MESH, Shape.MESH, Shape.HYBRID, Shape.HYBRID]
    assert link_count(Shape.HYBRID, 1_000) == 1_998
    assert max_degree(Shape.HYBRID, 1_000) == BRANCHES + 3
