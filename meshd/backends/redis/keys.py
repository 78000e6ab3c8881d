"""Every key and channel of one mesh on Redis: spelled here, with type, life and owner.

A key is `mesh:{<mesh>:<partition>}:<kind>[:<name>]`; the braces are the hash tag, so the keys of one partition share a
slot and a script may touch them all. Partition `c` holds nodes, records and event logs, `p0` the tasks. A script gets
its partition's `clock` as `KEYS[1]` and derives the other keys from it by the kinds of `KINDS`, never by others.
"""

from dataclasses import dataclass

from meshd.ids import check_name

COMMON = "c"
TASKS = "p0"

KINDS = frozenset(
    {
        "clock", "ev",
        "t", "q", "front", "ready", "routes", "profiles", "prof", "cursors", "lease", "held", "sched", "dl", "counts",
        "ids", "ended", "idem", "idle", "idling", "bell",
        "node", "beats", "dead", "cap", "rec", "recs", "recx",
    }
)  # fmt: skip
"""Kinds of key a script may spell; a test holds the scripts to them."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one mesh that Python names itself."""

    mesh: str

    def __post_init__(self) -> None:
        check_name("mesh", self.mesh)

    def clock(self, partition: str) -> str:
        """Hash, permanent, one per partition: `now`, `fence`, event numbers, sweep ticks; every script's `KEYS[1]`."""
        return f"mesh:{{{self.mesh}:{partition}}}:clock"

    def log(self, name: str) -> str:
        """Stream, permanent and trimmed at `LOG_CAPACITY`, written by scripts: the events of one log.

        The log `tasks` lives with the tasks. An entry's id is the number of its last event.
        """
        return f"mesh:{{{self.mesh}:{partition_of(name)}}}:ev:{name}"

    def bell(self, claimer: str) -> str:
        """List, TTL of seconds, pushed by scripts and popped by its claimer: one element when it should look."""
        return f"mesh:{{{self.mesh}:{TASKS}}}:bell:{claimer}"

    def held(self, node_id: str) -> str:
        """Set, lives while the node holds tasks, kept by scripts: ids of the tasks it holds."""
        return f"mesh:{{{self.mesh}:{TASKS}}}:held:{node_id}"

    def task(self, task_id: str) -> str:
        """Hash, TTL from the task's end on, kept by scripts: the whole truth about one task (`task_codec`)."""
        return f"mesh:{{{self.mesh}:{TASKS}}}:t:{task_id}"

    def idempotency(self, key: str) -> str:
        """String, TTL from its task's end on, kept by scripts: id of the task an idempotency key belongs to."""
        return f"mesh:{{{self.mesh}:{TASKS}}}:idem:{key}"

    def queue(self, route: str, priority: str) -> str:
        """Stream with group `GROUP`, removed with its route: ready and held tasks; entry ids are virtual times."""
        return f"mesh:{{{self.mesh}:{TASKS}}}:q:{route}:{priority}"

    def beats(self) -> str:
        """Zset, TTL refreshed by heartbeats, kept by scripts: node id to its last beat, of nodes not judged."""
        return f"mesh:{{{self.mesh}:{COMMON}}}:beats"

    def dead(self) -> str:
        """Zset, TTL of the retention, kept by scripts: id of a dead node to when it is forgotten."""
        return f"mesh:{{{self.mesh}:{COMMON}}}:dead"

    def channel(self, topic: str) -> str:
        """Pub/sub channel: hints of one topic."""
        return f"mesh:{{{self.mesh}}}:hint:{topic}"


GROUP = "mesh"
"""The one consumer group of every queue; a consumer is a node id."""


def partition_of(log: str) -> str:
    """Return the partition an event log lives in."""
    return TASKS if log == "tasks" else COMMON


_TASK_KEYS = r"mesh:\{[^{}]+:p\d+\}:"
_COMMON_KEYS = r"mesh:\{[^{}]+:c\}:"

PERMANENT: tuple[str, ...] = (
    r"mesh:\{[^{}]+\}:clock",
    r"mesh:\{[^{}]+\}:ev:.+",
    _TASK_KEYS + r"(ready|routes|profiles|cursors|lease|sched|dl|counts|ids)",
    _TASK_KEYS + r"ended:(completed|dead|cancelled|expired)",
    _TASK_KEYS + r"(q|front):.+",
    _TASK_KEYS + r"(t|idem|held):.+",
    _COMMON_KEYS + r"(recs|recx|rec:.+)",
)
"""Patterns (full match) of keys that may stand without a TTL.

`t` and `idem` get one when their task ends, `held` and `front` vanish when empty, `q` goes with its route, `rec` lives
as long as its writer asked. All other indexes shrink with what they index.
"""
