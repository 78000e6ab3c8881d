"""What a memory must hold once every write has reached everybody, worked out from who had seen what.

It knows nothing of vectors, clocks or joins: it keeps, for every version made, the whole set of versions of its key
that its writer had seen, directly or through others.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshd.memory.model import Dot, Kind, Version

Changes = Mapping[str, Any]
"""Part → what a write made of it; `GONE`: it removed the part. Of a counter: what was added."""
GONE = "(gone)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One write, and what its writer had seen."""

    version: Version
    past: frozenset[Dot]
    changes: Changes


@dataclass(slots=True)
class Oracle:
    """Every version ever made."""

    made: dict[Dot, Made] = field(default_factory=dict[Dot, Made])
    keys: dict[str, list[Made]] = field(default_factory=lambda: defaultdict(list[Made]))

    def note(self, version: Version, over: Iterable[Version], changes: Changes) -> None:
        """Learn of a version, written by somebody who saw `over` and all that its actor wrote before."""
        past = {each.dot for each in over}
        past |= {each.version.dot for each in self.keys[version.key] if each.version.header.actor == version.dot.actor}
        past |= {dot for each in list(past) for dot in self.made[each].past}
        made = Made(version=version, past=frozenset(past), changes=changes)
        self.made[version.dot] = made
        self.keys[version.key].append(made)

    def live(self, key: str, *, now_ms: int) -> set[Dot]:
        """Return the versions nobody has superseded that are values now."""
        seen = {dot for made in self.keys[key] for dot in made.past}
        return {
            made.version.dot for made in self.keys[key] if made.version.dot not in seen and made.version.is_live(now_ms)
        }

    def value(self, key: str, kind: Kind) -> Any:
        """Return what a key that merges must read as, if nobody ever deleted it."""
        if kind is Kind.COUNTER:
            return sum(made.changes["by"] for made in self.keys[key])
        parts = {part for made in self.keys[key] for part in made.changes}
        shown = {part: self._part(key, part) for part in sorted(parts)}
        fields = {part: value for part, value in shown.items() if value != GONE}
        return fields if kind is Kind.MAP else list(fields)

    def _part(self, key: str, part: str) -> Any:
        touching = [made for made in self.keys[key] if part in made.changes]
        seen = {dot for made in touching for dot in made.past}
        edits = [made for made in touching if made.version.dot not in seen and made.changes[part] != GONE]
        return max(edits, key=lambda made: made.version.header.time).changes[part] if edits else GONE
