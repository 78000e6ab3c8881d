"""Lua scripts as files: loaded once, their shared parts included, called by hash with the text as fallback.

A line `-- #include "name"` stands for `lua/shared/name.lua`, included once per script; `-- #include "constants"` stands
for the values of `constants()`, so that a number lives in one language only, and `-- #include "tables"` for those that
are tables.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from meshd.backends.redis.event_lines import VERBS
from meshd.backends.redis.keys import GROUP
from meshd.backends.redis.node_codec import NODE_FIELDS
from meshd.backends.redis.record_codec import HEAD
from meshd.backends.redis.task_codec import GUARD_FIELDS, USUAL_POLICY
from meshd.events import LOG_CAPACITY
from meshd.memory.model import LOCAL, MAX_KEY_BYTES
from meshd.nodes.model import FLAP_WINDOW_MS, MAX_FLAPS
from meshd.nodes.phi import WEIGHT, Z_BOUND, Z_DOUBT
from meshd.nodes.store import MAX_SUSPECTS
from meshd.tasks.model import Priority, TaskState
from meshd.tasks.routing import OFFSETS_MS
from meshd.tasks.states import FORGOTTEN, GONE, LAPSED, MAX_CLAIMS
from meshd.tasks.store import DUE_TOPIC, MAX_BATCH, TOLD_RESULT

SLACK_MS = 60_000
"""A record with a retention is deleted by a sweep; this much later Redis does it alone."""
PROFILE_TTL_MS = 3_600_000
"""A claimer's profile is forgotten this long after its last claim."""
ROUTE_REFRESH_MS = 600_000
"""How often the use of a route is noted."""
BELL_MS = 10_000
"""How long a bell that nobody answers is kept."""
ROUTE_LOOKS = 64
"""Of so many submits of one task, one looks whether the use of its route is to be noted."""
IDS_PER_CHUNK = 64
"""Task ids listed together; Redis keeps up to 128 in compact form, by default."""

PACKAGE = "meshd.backends.redis"
_CONSTANTS_GO_HERE = {"constants": "-- constants", "tables": "-- tables"}
_INCLUDE = re.compile(r'^-- #include "(\w+)"$', re.MULTILINE)
_SILENT = re.compile(r"^ *(?:--.*)?\n|^ +", re.MULTILINE)
"""What says nothing to the server: comments on lines of their own, empty lines, indentation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One script, ready to be sent."""

    name: str
    text: str
    sha: str


_GROWING = frozenset({"task_submit", "record_write", "event_append", "node_join", "memory_push", "memory_absorb"})
"""Scripts that add data; with the memory full they are refused and nothing else is."""
_READING = frozenset(
    {
        "task_get", "task_list", "task_counts", "node_list", "node_read", "record_read", "record_count",
        "memory_get", "memory_list", "memory_newer", "memory_changes", "memory_clock", "memory_history",
        "memory_members",
    }
)  # fmt: skip
"""Scripts that write nothing: they run while the server takes no writes, on a full disk for example."""


@cache
def load(name: str, *, flagged: bool, is_split: bool = False) -> Script:
    """Return the script `lua/<name>.lua` with its includes in place.

    With `flagged`, for Redis 7 and later, it says whether it may run with the memory full; the server then refuses it
    before its first step or not at all. With `is_split`, for a mesh of several partitions, it rings by publishing.
    Comments stay here: a server keeps each script for as long as it runs, and is sent each once.
    """
    text = _SILENT.sub("", expanded(_read(f"{name}.lua"), is_split=is_split))
    if flagged:
        flag = "" if name in _GROWING else " flags=no-writes" if name in _READING else " flags=allow-oom"
        text = f"#!lua{flag}\n{text}"
    # Redis identifies a script by the SHA-1 of its text; nothing here depends on its strength.
    return Script(name=name, text=text, sha=hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def expanded(text: str, *, is_split: bool = False) -> str:
    """Return a script's text with its includes in place."""
    return _with_constants(_expand(text, set()), is_split=is_split)


def names() -> list[str]:
    """Return the names of all scripts."""
    folder = files(PACKAGE) / "lua"
    return sorted(entry.name.removesuffix(".lua") for entry in folder.iterdir() if entry.name.endswith(".lua"))


def source(name: str) -> str:
    """Return a script's own text, includes not expanded."""
    return _read(f"{name}.lua")


def constants(*, is_split: bool = False) -> Mapping[str, str]:
    """Return the Lua literals the scripts share with Python."""
    priorities = [str(priority) for priority in Priority]
    terminal = {str(state): True for state in TaskState if state.is_terminal}
    return {
        "LOG_CAPACITY": str(LOG_CAPACITY),
        "MAX_CLAIMS": str(MAX_CLAIMS),
        "MAX_BATCH": str(MAX_BATCH),
        "MAX_KEY_BYTES": str(MAX_KEY_BYTES),
        "LOCAL": f"'{LOCAL}'",
        "SLACK_MS": str(SLACK_MS),
        "RECORD_HEAD": f"'{HEAD.format}'",
        "RECORD_HEAD_END": f"'{HEAD.size - 1}'",
        "MAX_SUSPECTS": str(MAX_SUSPECTS),
        "MAX_FLAPS": str(MAX_FLAPS),
        "FLAP_WINDOW_MS": str(FLAP_WINDOW_MS),
        "PACE_WEIGHT": repr(WEIGHT),
        "Z_DOUBT": repr(Z_DOUBT),
        "Z_BOUND": repr(Z_BOUND),
        "PROFILE_TTL_MS": str(PROFILE_TTL_MS),
        "ROUTE_REFRESH_MS": str(ROUTE_REFRESH_MS),
        "BELL_MS": str(BELL_MS),
        "ROUTE_LOOKS": str(ROUTE_LOOKS),
        "TOLD_RESULT": str(TOLD_RESULT),
        "IDS_PER_CHUNK": str(IDS_PER_CHUNK),
        "PUBLISHES_RINGS": "true" if is_split else "false",
        "GROUP": f"'{GROUP}'",
        "PRIORITIES": _lua_list(priorities),
        "OFFSETS": _lua_table({str(priority): str(offset) for priority, offset in OFFSETS_MS.items()}),
        "TERMINAL": _lua_table(dict.fromkeys(terminal, "true")),
        "USUAL_POLICY": f"'{USUAL_POLICY}'",
        "GUARD_FIELDS": _lua_list(GUARD_FIELDS),
        "NODE_FIELDS": _lua_list(NODE_FIELDS),
        "VERBS": _lua_table({verb: f"{{'{letter}', '{state}'}}" for verb, (letter, state) in VERBS.items()}),
        "DUE_TOPIC": f"'{DUE_TOPIC}'",
        "LAPSED": f"'{LAPSED}'",
        "GONE": f"'{GONE}'",
        "FORGOTTEN": f"'{FORGOTTEN}'",
    }


def _lua_list(items: "tuple[str, ...] | list[str]") -> str:
    return "{" + ", ".join(f"'{item}'" for item in items) + "}"


def _lua_table(items: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key} = {value}" for key, value in items.items()) + "}"


def _read(path: str) -> str:
    return (files(PACKAGE) / "lua" / path).read_text(encoding="utf-8")


def _expand(text: str, included: set[str]) -> str:
    def replacement(match: re.Match[str]) -> str:
        name = match[1]
        if name in included:
            return ""
        included.add(name)
        if name in _CONSTANTS_GO_HERE:
            return _CONSTANTS_GO_HERE[name]
        return _expand(_read(f"shared/{name}.lua"), included)

    return _INCLUDE.sub(replacement, text)


def _with_constants(text: str, *, is_split: bool) -> str:
    """Put in the constants that the script uses: each costs a little at every call, and a table costs more."""
    used = set(re.findall(r"\b[A-Z][A-Z_]+\b", text))
    values = {name: value for name, value in constants(is_split=is_split).items() if name in used}
    for kind, place in _CONSTANTS_GO_HERE.items():
        lines = [f"local {name} = {value}" for name, value in values.items() if (kind == "tables") == (value[0] == "{")]
        text = text.replace(place, "\n".join(lines))
    return text
