"""The registry: who has a skill at a level, found by looking at holders only, and a bounded number of them asked."""

from collections import Counter
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from meshd.groups.holders import Holders
from meshd.groups.model import Candidate, Skill, SkillNeed
from meshd.groups.scoring import ScoreRules
from meshd.groups.skills import EvidenceRule
from meshd.nodes.model import Level

NOW = 1_700_000_000_000
NAMES = ("python", "sql", "art")


def able(agent: str, *, taken: int = 0, **levels: Level) -> Candidate:
    skills = {name: Skill(name=name, level=level) for name, level in levels.items()}
    return Candidate(agent=agent, skills=skills, taken=taken)


def registry(*candidates: Candidate) -> Holders:
    holders = Holders()
    for candidate in candidates:
        holders.put(candidate)
    return holders


def names_of(holders: Holders, name: str, level: Level = Level.NOVICE, rules: ScoreRules | None = None) -> list[str]:
    need = SkillNeed(name=name, level=level)
    return sorted(one.agent for one in holders.of(need, NOW, rules=rules or ScoreRules()))


def test_a_lookup_finds_who_has_the_skill_at_the_level() -> None:
    holders = registry(
        able("ada", python=Level.EXPERT, sql=Level.NOVICE),
        able("bob", python=Level.NOVICE),
        able("eve", art=Level.EXPERT),
    )
    assert names_of(holders, "python") == ["ada", "bob"]
    assert names_of(holders, "python", Level.ADVANCED) == ["ada"]
    assert names_of(holders, "sql", Level.INTERMEDIATE) == []
    assert names_of(holders, "nothing") == []


def test_an_agent_put_again_is_found_as_it_is_now() -> None:
    holders = registry(able("ada", python=Level.NOVICE))
    holders.put(able("ada", sql=Level.EXPERT, python=Level.ADVANCED))
    assert names_of(holders, "python", Level.ADVANCED) == names_of(holders, "sql") == ["ada"]
    holders.put(able("ada", taken=3, sql=Level.EXPERT))
    assert names_of(holders, "python") == []
    assert holders["ada"].taken == 3


def test_a_dropped_agent_is_found_no_more() -> None:
    holders = registry(able("ada", python=Level.EXPERT), able("bob", python=Level.EXPERT))
    holders.drop("ada")
    holders.drop("ada")
    assert names_of(holders, "python") == ["bob"]
    assert len(holders) == 1


def test_evidence_is_looked_for_one_level_lower() -> None:
    proven = Skill(name="python", level=Level.INTERMEDIATE, completed=20.0, at_ms=NOW)
    holders = registry(Candidate(agent="ada", skills={"python": proven}), able("bob", python=Level.INTERMEDIATE))
    assert names_of(holders, "python", Level.ADVANCED) == []
    assert names_of(holders, "python", Level.ADVANCED, ScoreRules(evidence=EvidenceRule())) == ["ada"]


def test_an_announcement_asks_so_many_of_each_skill_that_have_room() -> None:
    busy = [able(f"busy-{n}", taken=5, python=Level.EXPERT) for n in range(50)]
    free = [able(f"free-{n}", python=Level.EXPERT) for n in range(20)]
    both = [able(f"both-{n}", python=Level.EXPERT, sql=Level.EXPERT) for n in range(3)]
    holders = registry(*busy, *free, *both)
    needs = [SkillNeed(name="python"), SkillNeed(name="sql")]
    asked = holders.asked(needs, NOW, salt="work-1", most=8)
    assert not any(one.agent.startswith("busy") for one in asked)
    assert 8 <= len(asked) == len({one.agent for one in asked}) <= 11
    assert {f"both-{n}" for n in range(3)} <= {one.agent for one in asked}
    assert len(holders.asked(needs, NOW)) == 23


def test_every_holder_is_asked_as_often_as_another() -> None:
    holders = registry(*(able(f"agent-{n:03}", python=Level(1 + n % 4)) for n in range(200)))
    need = [SkillNeed(name="python")]
    asked = Counter(one.agent for n in range(2_000) for one in holders.asked(need, NOW, salt=f"w{n}", most=20))
    assert len(asked) == 200
    assert min(asked.values()) > 120
    assert max(asked.values()) < 290


class Registry(RuleBasedStateMachine):
    """Agents come, change and go; a lookup always finds what looking at everybody would."""

    def __init__(self) -> None:
        super().__init__()
        self.holders = Holders()
        self.agents: dict[str, Candidate] = {}

    @rule(
        agent=st.sampled_from("abcdef"),
        levels=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(Level)),
        n=st.integers(0, 5),
    )
    def put(self, agent: str, levels: dict[str, Level], n: int) -> None:
        self.agents[agent] = replace(able(agent, **levels), taken=n)
        self.holders.put(self.agents[agent])

    @rule(agent=st.sampled_from("abcdef"))
    def drop(self, agent: str) -> None:
        self.agents.pop(agent, None)
        self.holders.drop(agent)

    @invariant()
    def finds_what_looking_at_everybody_would(self) -> None:
        assert len(self.holders) == len(self.agents)
        for name in NAMES:
            for level in Level:
                having = [one for one in self.agents.values() if name in one.skills and one.skills[name].level >= level]
                assert names_of(self.holders, name, level) == sorted(one.agent for one in having)


TestRegistry = Registry.TestCase
