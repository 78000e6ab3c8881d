"""How work is shared: in turn among equals, more to the better, something to everybody, and no load left unseen."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.groups.covering import cover
from meshd.groups.happenings import OffersGathered
from meshd.groups.model import GIVEN_HALF_LIFE_MS, Announcement, Candidate, Member, Offer, Skill, SkillNeed
from meshd.groups.outcomes import outcome_of, recorded
from meshd.groups.protocol import apply
from meshd.groups.scoring import has_room, offer_of
from meshd.groups.shares import ShareRules, given_at, invited, is_even, price
from meshd.nodes.model import Level
from meshd.settings_groups import GroupsSettings

START = 1_700_000_000_000
HOUR = 3_600_000
WEEK = 7 * 24 * HOUR
X = SkillNeed(name="x")
FOUR = ("collect", "clean", "model", "plot")

Agents = dict[str, Candidate]


def expert(agent: str, *skills: str, success: float = 0.8) -> Candidate:
    held = {name: Skill(name=name, level=Level.EXPERT, success_rate=success) for name in skills or ("x",)}
    return Candidate(agent=agent, skills=held)


def formed(agents: Agents, needs: Iterable[SkillNeed], *, salt: str, now_ms: int) -> Mapping[str, tuple[str, ...]]:
    """Return the roles of the group that is chosen, its slots taken."""
    needs = tuple(needs)
    offers = [offer for agent in agents.values() if (offer := offer_of(agent, needs, now_ms))]
    group = cover([need.name for need in needs], offers, max_size=5, salt=salt)
    assert group is not None
    for agent in group.roles:
        agents[agent] = invited(agents[agent], at_ms=now_ms)
    return group.roles


def ended(agents: Agents, agent: str, *roles: str, salt: str, is_success: bool, now_ms: int) -> None:
    """Record the end of a membership, its slot free again."""
    member = Member(agent=agent, incarnation=0, roles=roles)
    work = Announcement(id=salt, initiator="boss", epoch=1, members={agent: member})
    outcome = outcome_of(work, agent, incarnation=0, epoch=1, is_success=is_success, at_ms=now_ms)
    agents[agent] = recorded(replace(agents[agent], taken=agents[agent].taken - 1), outcome)


def worked_off(
    agents: Agents, chances: Mapping[str, float], *, tasks: int, apart_ms: int, start_ms: int = START, seed: int = 7
) -> Counter[str]:
    """Return how many of the tasks, one after another, each agent was given; it succeeds with its own chance."""
    rng, shares = Random(seed), Counter[str]()
    for number in range(tasks):
        now_ms, salt = start_ms + number * apart_ms, f"work-{number}"
        for agent in formed(agents, [X], salt=salt, now_ms=now_ms):
            shares[agent] += 1
            ended(agents, agent, "x", salt=salt, is_success=rng.random() < chances[agent], now_ms=now_ms)
    return shares


def test_a_price_can_be_computed_by_hand() -> None:
    offer = Offer(agent="a", incarnation=1, skills=("x",), score=0.8, availability=1.0, given=2.0)
    assert price(offer) == pytest.approx(3 / 0.512)
    assert price(offer, even=True) == 3.0
    assert price(replace(offer, score=0.0)) == pytest.approx(3 / 0.01**3)
    assert price(replace(offer, score=1.0, given=0.0)) == 1.0


def test_what_was_given_fades_by_half_in_ten_minutes() -> None:
    once = invited(expert("a"), at_ms=START)
    assert (once.taken, once.given, once.given_ms) == (1, 1.0, START)
    assert given_at(once, START + GIVEN_HALF_LIFE_MS) == 0.5
    twice = invited(once, at_ms=START + GIVEN_HALF_LIFE_MS)
    assert (twice.taken, twice.given) == (2, 1.5)
    assert invited(twice, at_ms=START).given == 2.5


def test_equals_are_asked_in_turn() -> None:
    agents = {name: expert(name) for name in "abcde"}
    shares = Counter(agent for number in range(25) for agent in formed(agents, [X], salt=f"i{number}", now_ms=START))
    assert set(shares.values()) == {5}


def test_the_better_agent_gets_more_of_a_thousand_tasks_and_nobody_starves() -> None:
    chances = {"good": 0.98, "fair": 0.8, "poor": 0.5}
    shares = worked_off({name: expert(name) for name in chances}, chances, tasks=1_000, apart_ms=1_000)
    assert shares["good"] > 1.15 * shares["fair"] > 1.3 * shares["poor"]
    assert shares["poor"] > 100


def test_where_there_is_little_to_do_the_best_does_most_of_it_and_nobody_starves() -> None:
    chances = {"good": 0.98, "fair": 0.8, "poor": 0.5}
    shares = worked_off({name: expert(name) for name in chances}, chances, tasks=1_000, apart_ms=HOUR)
    assert shares["good"] > 600
    assert min(shares["fair"], shares["poor"]) > 5


def test_a_newcomer_among_the_proven_gets_work_and_earns_its_name() -> None:
    chances = dict.fromkeys(["a", "b", "c", "new"], 1.0)
    agents = {name: expert(name) for name in "abc"}
    worked_off(agents, chances, tasks=300, apart_ms=1_000)
    agents["new"] = expert("new")
    shares = worked_off(agents, chances, tasks=400, apart_ms=HOUR, seed=8)
    assert shares["new"] > 5
    assert agents["new"].reputation.completed > 0


def test_who_fails_is_chosen_less_and_who_mends_is_chosen_again() -> None:
    agents = {name: expert(name) for name in "ab"}
    failing = worked_off(agents, {"a": 0.0, "b": 1.0}, tasks=200, apart_ms=1_000)
    assert failing["a"] < 0.5 * failing["b"]
    mended = worked_off(agents, {"a": 1.0, "b": 1.0}, tasks=200, apart_ms=1_000, start_ms=START + 10 * WEEK)
    assert mended["a"] > 2 * failing["a"]


def test_fifty_groups_at_once_load_a_hundred_agents_evenly() -> None:
    agents = {f"agent-{n:03}": expert(f"agent-{n:03}", FOUR[n // 25]) for n in range(100)}
    needs = [SkillNeed(name=name, level=Level.ADVANCED) for name in FOUR]
    for number in range(50):
        roles = formed(agents, needs, salt=f"work-{number}", now_ms=START)
        assert len(roles) == 4
        assert {role for held in roles.values() for role in held} == set(FOUR)
    assert {agent.taken for agent in agents.values()} == {2}


def test_nobody_capable_is_idle_while_another_is_full_until_all_are() -> None:
    agents = {f"agent-{n}": expert(f"agent-{n}", success=0.5 + n / 20) for n in range(10)}
    for number in range(50):
        before = dict(agents)
        (agent,) = formed(agents, [X], salt=f"work-{number}", now_ms=START)
        assert has_room(before[agent])
        loads = [one.taken for one in agents.values()]
        assert not (max(loads) == 5 and min(loads) == 0)
    assert {agent.taken for agent in agents.values()} == {5}


def test_a_thousand_cycles_leave_availability_where_it_began() -> None:
    agents = {name: expert(name) for name in "abc"}
    before = {name: agent.availability for name, agent in agents.items()}
    worked_off(agents, dict.fromkeys("abc", 1.0), tasks=1_000, apart_ms=50)
    assert {name: agent.availability for name, agent in agents.items()} == before


@given(
    st.lists(st.sampled_from([1.0, 0.9, 0.6, 0.3]), min_size=2, max_size=6), st.integers(20, 60), st.integers(0, 9_999)
)
def test_nobody_gets_less_than_the_share_it_merits_rounded_down(rates: list[float], tasks: int, seed: int) -> None:
    merits = {f"a{place}": rate**3 for place, rate in enumerate(rates)}
    given_to = dict.fromkeys(merits, 0)
    for _ in range(tasks):
        offers = [
            Offer(agent=name, incarnation=1, skills=("x",), score=rates[place], availability=1.0, given=given_to[name])
            for place, name in enumerate(merits)
        ]
        Random(seed).shuffle(offers)
        group = cover(["x"], offers, max_size=1)
        assert group is not None
        given_to[next(iter(group.roles))] += 1
    for name, merit in merits.items():
        assert given_to[name] >= int(tasks * merit / sum(merits.values()) - 1e-9)


def test_how_much_merit_counts_is_a_rule() -> None:
    offer = Offer(agent="a", incarnation=1, skills=("x",), score=0.5, availability=1.0, given=1.0)
    assert price(offer, shares=ShareRules(emphasis=0)) == 2.0
    assert price(offer, shares=ShareRules(emphasis=1)) == 4.0
    none, all_ = ShareRules(even_one_in=0), ShareRules(even_one_in=1)
    assert {is_even(f"i{number}", none) for number in range(100)} == {False}
    assert {is_even(f"i{number}", all_) for number in range(100)} == {True}


@pytest.mark.parametrize(("emphasis", "kept"), [(3.0, "able"), (0.0, "idle")])
def test_which_offers_are_kept_where_there_are_too_many_is_told_by_the_setting(emphasis: float, kept: str) -> None:
    rules = GroupsSettings(emphasis=emphasis, even_one_in=0).rules()
    offers = [
        Offer(agent="able", incarnation=1, skills=("a",), score=0.9, availability=1.0, given=1.0),
        Offer(agent="idle", incarnation=1, skills=("a",), score=0.5, availability=1.0, given=0.0),
    ]
    work = Announcement(id="work-1", initiator="boss", needs=(SkillNeed(name="a"),), deadline_ms=START + 60_000)
    step = apply(work, OffersGathered(offers=offers), now_ms=START, rules=replace(rules, max_offers=1))
    assert list(step.announcement.offers) == [kept]
