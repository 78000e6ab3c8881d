"""Every key and channel of one mesh on Redis: spelled here, with type, life and owner.

A key is `mesh:{<mesh>:<partition>}:<kind>[:<name>]`; the braces are the hash tag, so the keys of one partition share a
slot and a script may touch them all. Partition `c` holds nodes, records and event logs; `p0`, `p1`, … the tasks. A
script gets its partition's `clock` as `KEYS[1]` and derives the other keys from it by the kinds of `KINDS`.
"""

from dataclasses import dataclass

from meshd.ids import check_name

COMMON = "c"
TASKS = "p0"

KINDS = frozenset(
    {
        "clock", "ev",
        "t", "q", "front", "ready", "routes", "profiles", "prof", "cursors", "lease", "held", "sched", "dl", "counts",
        "ids", "ended", "idem", "idle", "idling", "wait", "bell", "placed", "backs", "paused",
        "kids", "outbox",
        "shape", "node", "beats", "dead", "cap", "rec", "recs", "recx",
        "m", "mh", "mem", "mkeys", "mrev", "mexp", "mcf", "mgone", "mdg", "mmem", "mseen", "mstate", "mact", "mlent",
        "mlead", "mq",
    }
)  # fmt: skip
"""Kinds of key a script may spell; a test holds the scripts to them."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one mesh that Python names itself."""

    mesh: str
    tasks: str = TASKS
    """The partition whose tasks are meant."""

    def __post_init__(self) -> None:
        check_name("mesh", self.mesh)

    def clock(self, partition: str) -> str:
        """Hash, permanent, one per partition: `now`, `fence`, event numbers, sweep ticks; every script's `KEYS[1]`."""
        return f"mesh:{{{self.mesh}:{partition}}}:clock"

    def log(self, name: str) -> str:
        """Stream, permanent and trimmed at `LOG_CAPACITY`, written by scripts: the events of one log.

        The log `tasks` lives with the tasks. An entry's id is the number of its last event.
        """
        return f"mesh:{{{self.mesh}:{self.partition_of(name)}}}:ev:{name}"

    def partition_of(self, log: str) -> str:
        """Return the partition an event log lives in."""
        return self.tasks if log == "tasks" else COMMON

    def gate(self, key: str) -> str:
        """Never written: what a script on a cluster names beside its clock, so that it runs in a whole slot only."""
        return f"{key[: key.index('}') + 1]}:gate"

    def shape(self) -> str:
        """Hash, permanent, written at the first opening: `partitions`, the number of task partitions."""
        return f"mesh:{{{self.mesh}:{COMMON}}}:shape"

    def bell(self, claimer: str) -> str:
        """List, TTL of seconds, pushed and emptied by scripts, read by its claimer: an element when it should look."""
        return f"mesh:{{{self.mesh}:{self.tasks}}}:bell:{claimer}"

    def counts(self) -> str:
        """Hash, permanent, kept by scripts: how many tasks are in each state that is not an end."""
        return f"mesh:{{{self.mesh}:{self.tasks}}}:counts"

    def held(self, node_id: str) -> str:
        """Set, lives while the node holds tasks, kept by scripts: ids of the tasks it holds."""
        return f"mesh:{{{self.mesh}:{self.tasks}}}:held:{node_id}"

    def paused(self) -> str:
        """Set, permanent, kept by scripts: task types that are not handed out, `*` for all."""
        return f"mesh:{{{self.mesh}:{self.tasks}}}:paused"

    def task(self, task_id: str) -> str:
        """Hash, TTL from the task's end on, kept by scripts: the whole truth about one task (`task_codec`)."""
        return f"mesh:{{{self.mesh}:{self.tasks}}}:t:{task_id}"

    def idempotency(self, key: str) -> str:
        """String, TTL from its task's end on, kept by scripts: id of the task an idempotency key belongs to."""
        return f"mesh:{{{self.mesh}:{self.tasks}}}:idem:{key}"

    def queue(self, route: str, priority: str) -> str:
        """Stream with group `GROUP`, removed with its route: ready and held tasks; entry ids are virtual times."""
        return f"mesh:{{{self.mesh}:{self.tasks}}}:q:{route}:{priority}"

    def index(self, kind: str, name: str = "") -> str:
        """One of the indexes that scripts keep from the tasks' hashes, as an audit walks them."""
        return f"mesh:{{{self.mesh}:{self.tasks}}}:{kind}" + (f":{name}" if name else "")

    def beats(self) -> str:
        """Zset, TTL refreshed by heartbeats, kept by scripts: node id to when a sweep has to judge its silence."""
        return f"mesh:{{{self.mesh}:{COMMON}}}:beats"

    def dead(self) -> str:
        """Zset, TTL of the retention, kept by scripts: id of a dead node to when it is forgotten."""
        return f"mesh:{{{self.mesh}:{COMMON}}}:dead"

    def item(self, key: str) -> str:
        """String, permanent until collected, kept by scripts: the siblings of one key of the memory."""
        return f"mesh:{{{self.mesh}:{COMMON}}}:m:{key}"

    def quarantine(self) -> str:
        """Hash, permanent, gone when empty, kept by scripts: nodes whose versions are refused, and why."""
        return f"mesh:{{{self.mesh}:{COMMON}}}:mq"

    def feed(self) -> str:
        """Pub/sub channel: every change of the memory."""
        return f"mesh:{{{self.mesh}}}:mem"

    def channel(self, topic: str) -> str:
        """Pub/sub channel: hints of one topic."""
        return f"mesh:{{{self.mesh}}}:hint:{topic}"


GROUP = "mesh"
"""The one consumer group of every queue; a consumer is a node id."""


_TASK_KEYS = r"mesh:\{[^{}]+:p\d+\}:"
_COMMON_KEYS = r"mesh:\{[^{}]+:c\}:"

PERMANENT: tuple[str, ...] = (
    r"mesh:\{[^{}]+\}:clock",
    r"mesh:\{[^{}]+\}:ev:.+",
    _TASK_KEYS + r"(ready(:.+)?|routes|profiles|cursors|lease|sched|dl|counts|ids(:.+)?|backs|paused|outbox)",
    _TASK_KEYS + r"ended:(completed|dead|cancelled|expired)",
    _TASK_KEYS + r"(q|front):.+",
    _TASK_KEYS + r"(t|idem|held|placed|kids):.+",
    _COMMON_KEYS + r"(shape|recs|recx|rec:.+)",
    _COMMON_KEYS + r"(mem|mkeys|mrev|mexp|mcf|mgone|mdg|mact|mlent|mq|m:.+)",
)
"""Patterns (full match) of keys that may stand without a TTL.

`t` and `idem` get one when their task ends, `held`, `placed`, `kids` and `front` vanish when empty, `q` goes with its
route, `rec` lives as long as its writer asked. All other indexes shrink with what they index.
"""
