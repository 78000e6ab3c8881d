"""What random histories are made of.

Clock steps are multiples of ten, while leases, delays, hold-backs, deadlines and retentions end in other digits, so
nothing ever falls due at the very millisecond of a step.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypedDict

from hypothesis import strategies as st

from meshd.nodes.model import Level
from meshd.tasks.model import Claimer, NewTask, Placement, Priority, TaskPolicy
from meshd.tasks.routing import offered
from tests.support.builders import a_claimer, a_task, meant_for, pinned_to

LEASES_MS = (3_003, 20_003)
STEPS_MS = (10, 10, 500, 500, 7_000, 25_000, 130_000)
QUEUE_SIZE = 10
NODES = ("n1", "n2", "n3")
TYPES = ("work", "rank")


def _claimer(node_id: str, incarnation: int, types: Sequence[str], names: Sequence[str], zone: str) -> Claimer:
    terms = offered(names, levels={"gpu": Level.ADVANCED} if "gpu" in names else {}, labels={"zone": zone, "gb": "64"})
    return replace(a_claimer(node_id, types=types, incarnation=incarnation), capabilities=terms)


CLAIMERS = (
    _claimer("n1", 1, ["work"], ["gpu"], "eu"),
    _claimer("n1", 2, TYPES, [], "eu"),
    _claimer("n2", 1, TYPES, ["gpu", "fast"], "us"),
    _claimer("n2", 2, TYPES, ["gpu", "fast"], "us"),
    _claimer("n3", 1, ["rank"], [], "us"),
)
POLICIES = (
    TaskPolicy(jitter=False),
    TaskPolicy(jitter=False, max_attempts=1, max_crashes=1, result_ttl_ms=30_001, dead_ttl_ms=50_001),
    TaskPolicy(jitter=False, max_attempts=2, max_crashes=2, result_ttl_ms=600_001, progress_timeout_ms=7),
)
PLACEMENTS = (
    None,
    None,
    None,
    None,
    None,
    meant_for("n1", hold_back_ms=303),
    meant_for("n2", hold_back_ms=6_003),
    meant_for("nobody", hold_back_ms=703),
    pinned_to("n1"),
)


class Wish(TypedDict):
    """What a random submit asks for."""

    task_type: str
    requires: Sequence[str]
    priority: Priority
    delay_ms: int
    expires_in_ms: int | None
    key: str | None
    policy: TaskPolicy
    placement: Placement | None
    parents: Sequence[int]
    """Which of the tasks submitted lately it waits for."""
    runs_anyway: bool


WISHES = st.builds(
    Wish,
    task_type=st.sampled_from(["work", "work", "rank"]),
    requires=st.sampled_from([(), (), (), (), ("gpu",), ("gpu>=advanced", "fast"), ("zone!=us",), ("gb>=64", "!n1")]),
    priority=st.sampled_from(Priority),
    delay_ms=st.sampled_from([0, 0, 0, 0, 307, 40_007]),
    expires_in_ms=st.sampled_from([None, None, 605, 60_005]),
    key=st.sampled_from([None, None, None, "a", "b"]),
    policy=st.sampled_from(POLICIES),
    placement=st.sampled_from(PLACEMENTS),
    parents=st.one_of(st.just(()), st.just(()), st.lists(st.integers(0, 5), min_size=1, max_size=3)),
    runs_anyway=st.booleans(),
)


def wished(wish: Wish, *, task_id: str, after: Iterable[str]) -> NewTask:
    """Return the task that is asked for, under this id and with these parents."""
    return a_task(
        wish["task_type"],
        requires=wish["requires"],
        priority=wish["priority"],
        delay_ms=wish["delay_ms"],
        expires_in_ms=wish["expires_in_ms"],
        key=wish["key"],
        policy=wish["policy"],
        placement=wish["placement"],
        task_id=task_id,
        after=after,
        runs_anyway=wish["runs_anyway"],
    )


CLAIMING = st.sampled_from(CLAIMERS)
PICKS = st.integers(0, 59)
"""Which hold a step is about. What a history draws never depends on what the store answered, so it can be replayed
although ids, and with them the order of equals, are random."""
