"""What the parts of a node's participation share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from meshd.events import EventBus
from meshd.groups.announcements import Announcements
from meshd.groups.behaviour import Behaviour
from meshd.groups.books import Books
from meshd.groups.scoring import ScoreRules
from meshd.groups.steps import Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Vicinity:
    """One node, its agents, and the mesh as they see it."""

    books: Books
    announcements: Announcements
    events: EventBus
    behaviours: Mapping[str, Behaviour]
    """By agent; all that live here."""
    node: str
    rules: Rules
    scores: ScoreRules
    rng: Random
    on_sent: Callable[[str, str], None]
    """Called with sender and addressee of every message; it must not block."""
