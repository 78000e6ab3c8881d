"""The outcome of a run: the numbers people ask for, and every violation."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.history import STORE, Entry, History, Rule, Violation

SHOWN_VIOLATIONS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """How fast tasks came back from killed holders: p50 and p99 in milliseconds, from the kill on."""

    taken_back_ms: tuple[int, int]
    """… to the moment the task may be claimed again."""
    completed_ms: tuple[int, int]
    """… to its completion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run's result."""

    backend: str
    durability: str
    seed: int
    submitted: int
    completed: int
    rerun: int
    """Tasks taken back from a holder at least once."""
    lost: int
    double: int
    node_kills: int
    store_kills: int
    freezes: int
    leaves: int
    lost_answers: int
    repeated_submits: int
    recovery: Recovery
    seconds: float
    violations: tuple[Violation, ...]
    audited: int
    """Tasks the store's own audit looked at after the run."""
    last_words: Mapping[str, str]
    """The end of the log of each process that ended by itself, by its life."""

    def rows(self) -> Mapping[str, object]:
        """Return the outcome as names and values."""
        return {
            "backend": self.backend,
            "durability": self.durability,
            "seed": self.seed,
            "submitted": self.submitted,
            "completed": self.completed,
            "re-run": self.rerun,
            "lost": self.lost,
            "double completions": self.double,
            "node kills": self.node_kills,
            "store kills": self.store_kills,
            "node freezes": self.freezes,
            "nodes sent away": self.leaves,
            "answers lost on the way": self.lost_answers,
            "submits repeated": self.repeated_submits,
            "taken back p50/p99": _seconds(self.recovery.taken_back_ms),
            "recovery p50/p99": _seconds(self.recovery.completed_ms),
            "tasks audited": self.audited,
            "seconds": f"{self.seconds:.1f}",
            "violations": len(self.violations),
        }

    def table(self) -> str:
        """Return the outcome for people."""
        lines = [f"{name:<25}{value}" for name, value in self.rows().items()]
        lines += [f"  {violation}" for violation in self.violations[:SHOWN_VIOLATIONS]]
        if len(self.violations) > SHOWN_VIOLATIONS:
            lines.append(f"  … and {len(self.violations) - SHOWN_VIOLATIONS} more")
        for life, words in self.last_words.items():
            lines += [f"  {life} ended by itself; its log ends:", *(f"    {line}" for line in words.splitlines())]
        return "\n".join(lines)


def markdown(outcomes: Sequence[Outcome]) -> str:
    """Return outcomes side by side, as a table for a document."""
    columns = [outcome.rows() for outcome in outcomes]
    lines = [[name, *(str(column[name]) for column in columns)] for name in columns[0]]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _seconds(times_ms: tuple[int, int]) -> str:
    return " / ".join(f"{time_ms / 1000:.2f}" for time_ms in times_ms) + " s"


def subjects(violations: Iterable[Violation], rule: Rule) -> int:
    """Return how many tasks (or whatever else) break this rule."""
    return len({violation.subject for violation in violations if violation.rule is rule})


def rerun(entries: Iterable[Entry]) -> int:
    """Return how many tasks were taken back at least once."""
    return len({entry.task_id for entry in entries if entry.verb == "reclaimed"})


def recovery(history: History, *, of: Collection[str]) -> Recovery:
    """Return how fast these tasks came back from dead holders; zeros when no kill met one."""
    kill_of = {kill.life: kill.at_ms for kill in history.kills if kill.life != STORE}
    holder = {(effect.task_id, effect.token): effect.life for effect in history.effects}
    by_task: dict[str, list[Entry]] = defaultdict(list)
    for entry in history.entries:
        if entry.task_id in of:
            by_task[entry.task_id].append(entry)
    taken_back: list[int] = []
    completed: list[int] = []
    for entries in by_task.values():
        end = next((entry.at_ms for entry in entries if entry.verb == "completed"), None)
        for killed_ms, reclaimed_ms in _rescues(entries, kill_of=kill_of, holder=holder):
            taken_back.append(reclaimed_ms - killed_ms)
            if end is not None:
                completed.append(end - killed_ms)
    return Recovery(taken_back_ms=_p50_p99(taken_back), completed_ms=_p50_p99(completed))


def _rescues(
    entries: Sequence[Entry], *, kill_of: Mapping[str, int], holder: Mapping[tuple[str, int], str]
) -> Iterator[tuple[int, int]]:
    """Yield when a holder was killed and when the task was taken back; the last kill counts if no handler had begun."""
    claim: Entry | None = None
    for entry in entries:
        if entry.verb == "claimed":
            claim = entry
        if entry.verb != "reclaimed" or claim is None:
            continue
        life = holder.get((claim.task_id, claim.token))
        if life is None:
            between = (at_ms for at_ms in kill_of.values() if claim.at_ms <= at_ms <= entry.at_ms)
            killed_ms = max(between, default=None)
        else:
            killed_ms = kill_of.get(life)
        if killed_ms is not None:
            yield killed_ms, entry.at_ms


def _p50_p99(times: Iterable[int]) -> tuple[int, int]:
    ordered = sorted(times)
    if not ordered:
        return 0, 0
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
