"""Terms and routes are canonical, and met by exactly those who can run the task."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from meshd.errors import InvalidArgumentError
from meshd.nodes.model import Level
from meshd.tasks.model import Claimer, Priority
from meshd.tasks.routing import (
    OFFSETS_MS,
    meets,
    offered,
    requirement,
    requirements_of,
    route_of,
    serves,
    unmet,
    virtual_time,
)

OPERATORS = ("=", "!=", ">=", "<=", ">", "<")
LEVEL_WORDS = [level.name.lower() for level in Level]

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,5}", fullmatch=True)
few = st.sampled_from(["a", "b", "c", "a.b", "a-b", "4"])
nodes = st.sampled_from(["n1", "n2", "n10"])
decimals = st.integers(-12, 12).map(str) | st.sampled_from(["1.5", "-0.5", "10.0", "007"])
words = st.sampled_from(["eu", "us", "eu-1", "1e3", "0x1f", "nan", "inf", "1_0", "-", "1.", ".5", "expert"])
values = decimals | words


@dataclass(frozen=True)
class Offer:
    """What a node has, apart from any spelling."""

    names: frozenset[str]
    levels: Mapping[str, Level]
    labels: Mapping[str, str]

    @classmethod
    def any(cls) -> st.SearchStrategy[Self]:
        return st.builds(
            cls,
            names=st.frozensets(few, max_size=3),
            levels=st.dictionaries(few, st.sampled_from(Level), max_size=3),
            labels=st.dictionaries(few, values, max_size=4),
        )

    @property
    def terms(self) -> frozenset[str]:
        return offered(self.names, levels=self.levels, labels=self.labels)


@dataclass(frozen=True)
class Asked:
    """One requirement, apart from any spelling."""

    name: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"!{self.name}" if self.operator == "!" else f"{self.name}{self.operator}{self.value}"

    def is_met(self, offer: Offer, node_id: str) -> bool:
        """Say so in the plainest way there is."""
        held = offer.labels.get(self.name)
        match self.operator:
            case "":
                return self.name in offer.names or self.name in offer.levels
            case "!":
                return self.name != node_id
            case "=":
                return held == self.value
            case "!=":
                return held != self.value
            case ">=" if self.value in LEVEL_WORDS:
                return offer.levels.get(self.name, 0) >= Level[self.value.upper()]
            case operator:
                if held is None or not (is_decimal(held) and is_decimal(self.value)):
                    return False
                return compare(float(held), operator, float(self.value))


def is_decimal(text: str) -> bool:
    whole, point, fraction = text.removeprefix("-").partition(".")
    return whole.isdecimal() and (fraction.isdecimal() if point else True)


def compare(held: float, operator: str, asked: float) -> bool:
    sign = (held > asked) - (held < asked)
    return {">=": sign >= 0, "<=": sign <= 0, ">": sign > 0, "<": sign < 0}[operator]


asked = (
    st.builds(Asked, name=few, operator=st.just(""), value=st.just(""))
    | st.builds(Asked, name=nodes, operator=st.just("!"), value=st.just(""))
    | st.builds(Asked, name=few, operator=st.just(">="), value=st.sampled_from(LEVEL_WORDS))
    | st.builds(Asked, name=few, operator=st.sampled_from(["=", "!="]), value=values)
    | st.builds(Asked, name=few, operator=st.sampled_from([">=", "<=", ">", "<"]), value=decimals)
)
terms = asked.map(str)


@given(term=terms, data=st.data())
def test_a_requirement_is_canonical_whatever_its_spaces(term: str, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(term)), max_size=3))
    spaced = "".join(" " * cuts.count(at) + mark for at, mark in enumerate(term)) + " " * cuts.count(len(term))
    assert requirement(spaced) == term


@given(text=st.text(alphabet="ab1.:-_+=<>! novicexprt", max_size=12))
def test_a_requirement_is_refused_or_canonical_at_once(text: str) -> None:
    try:
        term = requirement(text)
    except InvalidArgumentError:
        return
    assert requirement(term) == term
    assert "+" not in term
    assert " " not in term


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "!",
        "!!n1",
        "!-n1",
        "a+b",
        "a=",
        "=b",
        "a==b",
        "a=>1",
        "a<>1",
        "a=b=c",
        "a>b",
        "a>=guru",
        "a<=expert",
        "a>nan",
        "a>=inf",
        "a<1e3",
        "a<0x1f",
        "a>=1_000",
        "a>=.5",
        "a>=5.",
        "-a",
        "a\t",
        "ä",
        "a=ü",
        f"{'a' * 65}",
        f"{'a' * 65}=b",
        f"a={'b' * 65}",
    ],
)
def test_what_is_no_term_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        requirement(text)
    assert repr(text) in str(caught.value) or repr(text[1:]) in str(caught.value) or not text.strip()


@given(task_type=names, requirements=st.lists(terms, max_size=4), data=st.data())
def test_equal_sets_of_requirements_give_equal_routes(
    task_type: str, requirements: list[str], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations([*requirements, *requirements]))
    assert route_of(task_type, requirements) == route_of(task_type, shuffled)


@given(task_type=names, requirements=st.frozensets(terms | names, max_size=4))
def test_a_route_can_be_taken_apart_again(task_type: str, requirements: frozenset[str]) -> None:
    route = route_of(task_type, requirements)
    assert requirements_of(route) == (task_type, requirements - {task_type})
    assert route_of(*requirements_of(route)) == route


@given(one=st.tuples(names, st.frozensets(terms)), other=st.tuples(names, st.frozensets(terms)))
def test_different_requirements_give_different_routes(
    one: tuple[str, frozenset[str]], other: tuple[str, frozenset[str]]
) -> None:
    same = one[0] == other[0] and one[1] - {one[0]} == other[1] - {other[0]}
    assert (route_of(*one) == route_of(*other)) == same


@given(offer=Offer.any(), asked=asked, node_id=nodes)
def test_a_term_is_met_as_the_plainest_reading_says(offer: Offer, asked: Asked, node_id: str) -> None:
    assert meets(offer.terms, requirement(str(asked)), node_id=node_id) == asked.is_met(offer, node_id)


@given(
    offer=Offer.any(),
    task_type=few,
    types=st.frozensets(few, max_size=3),
    wanted=st.lists(asked, max_size=4),
    node_id=nodes,
)
def test_a_claimer_serves_what_it_handles_and_meets_in_full(
    offer: Offer, task_type: str, types: frozenset[str], wanted: list[Asked], node_id: str
) -> None:
    claimer = Claimer(node_id=node_id, incarnation=1, task_types=types, capabilities=offer.terms)
    route = route_of(task_type, map(str, wanted))
    able = Offer(offer.names | types, offer.levels, offer.labels)
    missing = {str(one) for one in wanted if not one.is_met(able, node_id)} - {task_type}
    assert set(unmet(claimer, route)) == missing | ({task_type} - types)
    assert serves(claimer, route) == (not missing and task_type in types)


@given(name=names, level=st.sampled_from(Level), asked=st.sampled_from(Level))
def test_each_level_includes_the_ones_below_and_no_other(name: str, level: Level, asked: Level) -> None:
    terms = offered([], levels={name: level})
    assert name in terms
    assert meets(terms, requirement(f"{name} >= {asked.name.lower()}"), node_id="n1") == (asked <= level)


@given(offer=Offer.any(), more=Offer.any(), asked=asked)
def test_more_to_offer_never_loses_a_task_that_asks_for_no_label(offer: Offer, more: Offer, asked: Asked) -> None:
    assume(asked.operator in ("", "!") or (asked.value in LEVEL_WORDS and asked.operator == ">="))
    if meets(offer.terms, str(asked), node_id="n1"):
        assert meets(offer.terms | more.terms, str(asked), node_id="n1")


@given(label=few, value=values, asked=values)
def test_equal_and_unequal_are_opposites(label: str, value: str, asked: str) -> None:
    terms = offered([], labels={label: value})
    equal, unequal = (meets(terms, f"{label}{operator}{asked}", node_id="n1") for operator in ("=", "!="))
    assert equal is not unequal
    assert equal == (value == asked)


@given(label=few, held=decimals, asked=decimals)
def test_of_less_equal_and_more_exactly_one_is_true_of_two_numbers(label: str, held: str, asked: str) -> None:
    terms = offered([], labels={label: held})
    less, more = (meets(terms, f"{label}{operator}{asked}", node_id="n1") for operator in ("<", ">"))
    at_most, at_least = (meets(terms, f"{label}{operator}{asked}", node_id="n1") for operator in ("<=", ">="))
    assert (less, more) == (not at_least, not at_most)
    assert at_most or at_least


@given(operator=st.sampled_from(OPERATORS), value=decimals)
def test_a_missing_label_is_unequal_and_nothing_else(operator: str, value: str) -> None:
    assert meets(frozenset({"other=1"}), f"label{operator}{value}", node_id="n1") == (operator == "!=")


def test_offsets_rise_from_critical_to_background() -> None:
    assert list(OFFSETS_MS) == list(Priority)
    assert list(OFFSETS_MS.values()) == sorted(set(OFFSETS_MS.values()))


@given(ready_ms=st.integers(0, 10**13), late_ms=st.integers(0, 10**6), priority=st.sampled_from(Priority))
def test_a_critical_task_overtakes_only_within_the_offset(ready_ms: int, late_ms: int, priority: Priority) -> None:
    overtakes = virtual_time(ready_ms + late_ms, Priority.CRITICAL) < virtual_time(ready_ms, priority)
    assert overtakes == (late_ms < OFFSETS_MS[priority])
