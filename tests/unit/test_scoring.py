"""The scorer does what its module says, term by term; the order it gives is total."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.nodes.model import Level, Node, NodeProfile, NodeStatus, TypeHistory, Verdict, Vitals
from meshd.scoring import Scored
from meshd.tasks.routing import claimer_of, preference, route_of
from meshd.tasks.scoring import (
    POLICY_WEIGHTS,
    RoutingPolicy,
    Term,
    Wish,
    history_term,
    lasting_terms,
    moving_terms,
    scored,
    weights_of,
)

units = st.floats(0, 1)


def a_node(
    *capabilities: str,
    levels: dict[str, Level] | None = None,
    labels: dict[str, str] | None = None,
    node_type: str = "general",
    status: NodeStatus = NodeStatus.ACTIVE,
    history: TypeHistory | None = None,
) -> Node:
    return Node(
        profile=NodeProfile(
            id="n1",
            type=node_type,
            capabilities=frozenset(capabilities),
            task_types=frozenset({"work"}),
            levels=levels or {},
            labels=labels or {},
        ),
        incarnation=1,
        verdict=Verdict.ALIVE,
        vitals=Vitals(status=status, history={"work": history} if history else {}),
        joined_ms=0,
        beat_ms=0,
        read_ms=0,
    )


def terms_of(node: Node, wish: Wish, *, completed_by_all: float = 0.0) -> dict[Term, float]:
    return lasting_terms(wish, node, claimer_of(node.profile), completed_by_all=completed_by_all, doubt_ms=2_000)


def wish(*requires: str, types: tuple[str, ...] = (), prefers: tuple[str, ...] = ()) -> Wish:
    return Wish(route=route_of("work", requires), preferred_types=types, preferences=tuple(map(preference, prefers)))


@pytest.mark.parametrize(
    ("node", "requires", "fit"),
    [
        (a_node("gpu"), ("gpu",), 1.0),
        (a_node("gpu", "pdf"), ("gpu",), 1 / 2),
        (a_node("gpu", "pdf", "ocr"), (), 1 / 4),
        (a_node("gpu", levels={"gpu": Level.EXPERT}), ("gpu>=intermediate",), 1 / 3),
        (a_node("gpu", levels={"gpu": Level.ADVANCED}), ("gpu>=advanced",), 1.0),
        (a_node(labels={"zone": "eu"}), ("zone=eu",), 1.0),
    ],
)
def test_the_fit_falls_with_what_the_task_did_not_ask_for(node: Node, requires: tuple[str, ...], fit: float) -> None:
    assert terms_of(node, wish(*requires))[Term.FIT] == pytest.approx(fit)


def test_a_capability_the_task_prefers_is_no_surplus() -> None:
    assert terms_of(a_node("gpu"), wish(prefers=("gpu",)))[Term.FIT] == 1.0


def test_preferences_count_by_their_weights() -> None:
    node = a_node("gpu", labels={"zone": "eu", "memory_gb": "32"})
    asked = wish(prefers=("zone=eu:2", "memory_gb>=64", "gpu", "!n1:0.5"))
    assert terms_of(node, asked)[Term.PREFERENCES] == pytest.approx(3 / 4.5)


def test_a_preferred_type_is_all_or_nothing() -> None:
    asked = wish(types=("hub", "general"))
    assert terms_of(a_node(), asked)[Term.TYPE] == 1.0
    assert terms_of(a_node(node_type="other"), asked)[Term.TYPE] == 0.0


def test_history_starts_at_a_half_and_is_seven_parts_success_and_three_parts_affinity() -> None:
    assert history_term(TypeHistory(), completed_by_all=0) == 0.5
    one_of_two = history_term(TypeHistory(completed=8, failed=0), completed_by_all=10)
    assert one_of_two == pytest.approx(0.7 * 9 / 10 + 0.3 * 9 / 12)
    assert history_term(TypeHistory(failed=3), completed_by_all=0) == pytest.approx(0.7 * 1 / 5 + 0.3 * 1 / 2)


@given(completed=st.floats(0, 1e6), failed=st.floats(0, 1e6), others=st.floats(0, 1e6))
def test_history_stays_between_0_and_1_and_success_never_lowers_it(
    completed: float, failed: float, others: float
) -> None:
    before = history_term(TypeHistory(completed=completed, failed=failed), completed_by_all=completed + others)
    after = history_term(TypeHistory(completed=completed + 1, failed=failed), completed_by_all=completed + 1 + others)
    assert 0 <= before <= after <= 1


def test_load_is_the_free_share_of_the_slots() -> None:
    assert [moving_terms(open_tasks=n, slots=4)[Term.LOAD] for n in (0, 1, 4, 9)] == [1.0, 0.75, 0.0, 0.0]
    assert moving_terms(open_tasks=0, slots=0)[Term.LOAD] == 0.0


def test_the_score_is_the_weighted_mean() -> None:
    weights = {Term.LOAD: 1.0, Term.HISTORY: 3.0}
    terms = {Term.LOAD: 0.0, Term.HISTORY: 0.8, Term.FIT: 1.0}
    result = scored("n1", terms, weights)
    assert result.score == pytest.approx(0.6)
    assert result.terms == {Term.LOAD: 0.0, Term.HISTORY: 0.8}


def test_without_history_no_policy_weighs_it() -> None:
    for policy in RoutingPolicy:
        assert Term.HISTORY not in weights_of(policy, wish(), counts_history=False)


@given(policy=st.sampled_from(RoutingPolicy), data=st.data())
def test_a_wish_outweighs_the_policy_and_health_outweighs_both(policy: RoutingPolicy, data: st.DataObject) -> None:
    weights = weights_of(policy, wish(types=("general",), prefers=("gpu",)))
    drawn = {term: data.draw(units) for term in Term}
    well, ill = {**drawn, Term.HEALTH: 1.0}, dict.fromkeys(Term, 1.0) | {Term.HEALTH: 0.0}
    assert scored("a", well, weights).score > scored("b", ill, weights).score
    own = dict.fromkeys(POLICY_WEIGHTS[policy], 1.0)
    liked = dict.fromkeys(Term, 0.0) | {Term.TYPE: 1.0}
    disliked = dict.fromkeys(Term, 0.0) | own
    assert scored("a", liked, weights).score > scored("b", disliked, weights).score


def test_equal_scores_are_told_apart_by_history_then_load_then_name() -> None:
    def one(node_id: str, history: float, load: float) -> Scored[Term]:
        return Scored(name=node_id, score=0.5, terms={}, tie=(history, load))

    worst_first = [one("b", 0.1, 0.9), one("d", 0.5, 0.1), one("c", 0.5, 0.2), one("a", 0.5, 0.2)]
    assert [each.name for each in sorted(worst_first, key=lambda each: each.order)] == ["a", "c", "d", "b"]


def test_a_degraded_node_has_no_health_and_one_slot() -> None:
    ill = a_node(status=NodeStatus.DEGRADED)
    assert terms_of(ill, wish())[Term.HEALTH] == 0.0
    assert ill.slots == 1


def test_a_node_that_missed_its_beats_has_no_health() -> None:
    late = replace(a_node(), read_ms=2_001)
    assert terms_of(late, wish())[Term.HEALTH] == 0.0
    assert terms_of(replace(late, read_ms=2_000), wish())[Term.HEALTH] == 1.0
