"""What was measured, as rows; and a table a README can take."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from benchmarks.lab.contenders import BARE, BULLMQ, MESHD, TASKIQ

REFERENCES = (BULLMQ, TASKIQ, BARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A bar and whether it was met; `met` is `None` where one of the two figures was not measured."""

    text: str
    ours: float | None
    bound: float | None
    met: bool | None

    @property
    def verdict(self) -> str:
        return "not measured" if self.met is None else "met" if self.met else "MISSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure of every system that has it: a value per round."""

    name: str
    unit: str
    values: Mapping[str, Sequence[float]]
    goals: Sequence[Goal] = ()

    def judged(self, *goals: Goal) -> "Row":
        """Return the row with these goals."""
        return replace(self, goals=goals)

    def middle(self, contender: str = MESHD) -> float | None:
        values = self.values.get(contender)
        return median(values) if values else None

    def against(self, reference: str) -> float | None:
        """Return meshd's median over that of the reference."""
        ours, theirs = self.middle(), self.middle(reference)
        return ours / theirs if ours is not None and theirs else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One kind of measurement."""

    title: str
    rows: Sequence[Row]
    notes: Sequence[str] = field(default_factory=tuple[str, ...])


def at_least(ours: float | None, bound: float | None, text: str) -> Goal:
    return Goal(text=text, ours=ours, bound=bound, met=None if ours is None or bound is None else ours >= bound)


def at_most(ours: float | None, bound: float | None, text: str) -> Goal:
    return Goal(text=text, ours=ours, bound=bound, met=None if ours is None or bound is None else ours <= bound)


def times(factor: float, reference: float | None) -> float | None:
    return None if reference is None else factor * reference


def goals(sections: Iterable[Section]) -> str:
    """Return a table with a line for each goal."""
    lines = [["measured", "here", "goal", "that is", ""], ["---", "---:", "---", "---:", "---"]]
    for section in sections:
        lines += [
            [f"{section.title}: {row.name}, {row.unit}", _short(goal.ours), goal.text, _short(goal.bound), goal.verdict]
            for row in section.rows
            for goal in row.goals
        ]
    return _table(lines)


def markdown(sections: Iterable[Section]) -> str:
    """Return a table for each section: every row, every system."""
    return "\n\n".join(map(_section, sections))


def _section(section: Section) -> str:
    names = list(dict.fromkeys(name for row in section.rows for name in row.values))
    references = [name for name in REFERENCES if name in names]
    head = [section.title, *names, *([f"meshd ÷ {', '.join(references)}"] if references else [])]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for row in section.rows:
        ratios = [_short(row.against(name)) for name in references]
        cells = [_spread(row.values.get(name, ())) for name in names]
        lines.append([f"{row.name}, {row.unit}", *cells, *([", ".join(ratios)] if references else [])])
    return "\n\n".join((_table(lines), *section.notes))


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return _short(values[0])
    return f"{_short(median(values))} ({_short(min(values))}–{_short(max(values))})"


def _short(value: float | None) -> str:
    if value is None:
        return "–"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3
    return f"{value:,.{digits}f}"
