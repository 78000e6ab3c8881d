"""Who has which skill at which level, found without looking at anybody else. Pure.

An announcement asks so many holders of each skill at most, beginning at a place its id tells: each is about as likely
to be among them, the best of 64 is among the best fiftieth of 10,000 most of the time, and choosing costs the same
however large the mesh is.
"""

from collections.abc import Iterable, Iterator, Sequence
from zlib import crc32

from meshd.groups.model import Candidate, SkillNeed
from meshd.groups.scoring import DEFAULT_RULES, ScoreRules, has_room, meets
from meshd.nodes.model import Level

MOST_ASKED = 64
"""Holders of each skill one announcement asks."""


class _Ring:
    """Names in some order; adding, removing and reading one at a place take the same time however many there are."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._places: dict[str, int] = {}

    def add(self, name: str) -> None:
        if name not in self._places:
            self._places[name] = len(self.names)
            self.names.append(name)

    def discard(self, name: str) -> None:
        place = self._places.pop(name, None)
        if place is None:
            return
        last = self.names.pop()
        if last != name:
            self.names[place] = last
            self._places[last] = place


class Holders:
    """Agents by the skills they declare; each as it was last put."""

    def __init__(self) -> None:
        self._agents: dict[str, Candidate] = {}
        self._rings: dict[tuple[str, Level], _Ring] = {}

    def __len__(self) -> int:
        return len(self._agents)

    def __getitem__(self, agent: str) -> Candidate:
        return self._agents[agent]

    def put(self, candidate: Candidate) -> None:
        """Take the agent as it is now in place of what it was."""
        before = self._agents.get(candidate.agent)
        had = {} if before is None else {name: skill.level for name, skill in before.skills.items()}
        has = {name: skill.level for name, skill in candidate.skills.items()}
        self._agents[candidate.agent] = candidate
        if had == has:
            return
        self._leave(candidate.agent, had.items() - has.items())
        for place in has.items() - had.items():
            self._rings.setdefault(place, _Ring()).add(candidate.agent)

    def drop(self, agent: str) -> None:
        """Forget the agent, if it is known."""
        before = self._agents.pop(agent, None)
        if before is not None:
            self._leave(agent, [(name, skill.level) for name, skill in before.skills.items()])

    def of(
        self, need: SkillNeed, now_ms: int, *, rules: ScoreRules = DEFAULT_RULES, salt: str = ""
    ) -> Iterator[Candidate]:
        """Yield everybody who has the skill at the level asked for; the salt tells with whom it begins.

        To be read to its end before anybody is put or dropped.
        """
        rings = self._rings_of(need, rules)
        count = sum(map(len, rings))
        first = crc32(salt.encode()) % count if salt and count else 0
        for place in range(count):
            candidate = self._agents[_at(rings, (first + place) % count)]
            if meets(candidate.skills.get(need.name), need, now_ms, rules):
                yield candidate

    def asked(
        self,
        needs: Iterable[SkillNeed],
        now_ms: int,
        *,
        rules: ScoreRules = DEFAULT_RULES,
        salt: str = "",
        most: int = MOST_ASKED,
    ) -> list[Candidate]:
        """Return whom an announcement asks: of each skill up to `most` holders that have room, each agent once."""
        found: dict[str, Candidate] = {}
        for need in needs:
            left = most
            for candidate in self.of(need, now_ms, rules=rules, salt=salt and f"{salt}/{need.name}"):
                if left == 0:
                    break
                if has_room(candidate, rules):
                    found[candidate.agent] = candidate
                    left -= 1
        return list(found.values())

    def _rings_of(self, need: SkillNeed, rules: ScoreRules) -> list[Sequence[str]]:
        """Return the names at each declared level that may do; evidence may be worth one level more."""
        least = need.level - (rules.evidence is not None)
        rings = (self._rings.get((need.name, level)) for level in Level if level >= least)
        return [ring.names for ring in rings if ring is not None]

    def _leave(self, agent: str, places: Iterable[tuple[str, Level]]) -> None:
        for place in places:
            ring = self._rings[place]
            ring.discard(agent)
            if not ring.names:
                del self._rings[place]


def _at(rings: Iterable[Sequence[str]], place: int) -> str:
    for names in rings:
        if place < len(names):
            return names[place]
        place -= len(names)
    raise IndexError(place)
