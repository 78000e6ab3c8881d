"""What happened in one run, as values: what the client was told, what the log and the handlers say, what is left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from meshd.tasks.audit import Finding

STORE = "store"
"""The name a kill of the store's server carries instead of a life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """A receipt the client holds."""

    number: int
    """Which of the run's tasks it asked for; its idempotency key is made from this."""
    task_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the event log `tasks`, in log order."""

    verb: str
    task_id: str
    state: str
    token: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEntry:
    """One entry of the event log `nodes`, in log order."""

    verb: str
    node_id: str
    incarnation: int
    at_ms: int


class Phase(StrEnum):
    """Which side of its effect a handler reports."""

    START = "start"
    FINISH = "finish"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What a handler wrote to its process's own file; survives the process."""

    phase: Phase
    task_id: str
    token: int
    attempt: int
    life: str
    """Which process: a node's name and how often that name was started."""
    pid: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """A SIGKILL of our own; the time was taken before it was sent."""

    life: str
    """A node process's life, or `STORE`."""
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """A SIGSTOP of our own and the SIGCONT that ended it; a node judged dead meanwhile comes back as a zombie."""

    life: str
    at_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """A task's record after everything ended."""

    state: str
    token: int
    generation: int
    result_number: int | None
    result_token: int | None
    """What the handler whose result was kept had as its own number and token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What the store counts and indexes after everything ended and every node left."""

    counts: Mapping[str, int]
    open_counts: Mapping[str, int]
    indexes: Mapping[str, int]
    """Entries left in places where only unfinished work may be, by the name of the place."""
    audited: int
    """Tasks the store's own audit looked at."""
    findings: Sequence[Finding] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything the checker looks at."""

    acknowledged: Sequence[Acknowledged]
    finals: Mapping[str, Final | None]
    entries: Sequence[Entry]
    node_entries: Sequence[NodeEntry] = ()
    effects: Sequence[Effect] = ()
    kills: Sequence[Kill] = ()
    freezes: Sequence[Freeze] = ()
    leaves: int = 0
    """Nodes asked to leave in the middle of the run."""
    lost_answers: int = 0
    """Answers of the store that never reached the node."""
    exits: Mapping[str, int] = field(default_factory=dict[str, int])
    """Lives that ended although nobody killed them, or not with 0 when asked to leave; with their exit codes."""
    last_words: Mapping[str, str] = field(default_factory=dict[str, str])
    """The end of the log of each of those."""
    remains: Remains | None = None


class Rule(StrEnum):
    """What a history must never show."""

    LOST = "P1 lost"
    """A task was acknowledged and did not end completed."""
    DOUBLE = "P3 double completion"
    """A task has more than one completion in one generation."""
    STALE = "P4 stale completion"
    """A completion bears another token than the claim before it."""
    ABSORB = "I3 change after the end"
    """An ended task changed, and it was no redrive."""
    TOKEN = "I4 token"
    """A token did not rise where it must, or changed where it must not."""
    KEY = "I7 idempotency"
    """A task exists that nobody was told of, or one request has two tasks."""
    STEP = "I10 impossible step"
    """A step is not possible from the state before it, or leads where it cannot."""
    RERUN = "needless re-run"
    """A task was taken from a process that nobody had killed or frozen."""
    EFFECT = "effects disagree"
    """A handler ran unrecorded, ran twice under one token, or was recorded without having run."""
    RECORD = "record disagrees"
    """The record is not what the log's last entry or the handler says."""
    FALSE_DEATH = "false death"
    """A node was judged dead that nobody had killed or frozen."""
    EXIT = "P5 process ended"
    """A node process did not survive what it must survive, or did not leave when asked to."""
    AUDIT = "audit"
    """The store's own audit found something."""
    REMAINS = "indexes left over"
    """Something still says there is work after all work ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    rule: Rule
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}: {self.detail}"
