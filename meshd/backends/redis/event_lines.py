"""Transitions of tasks as lines of the event log: short, since each task leaves at least four.

A line is a letter for the verb, the task's id, then after tabs its token, if it has one, and its new state, if that is
not the verb's usual one.
"""

from collections.abc import Mapping
from typing import Any

VERBS: Mapping[str, tuple[str, str]] = {
    "submitted": ("s", "ready"),
    "claimed": ("c", "claimed"),
    "started": ("r", "running"),
    "completed": ("d", "completed"),
    "failed": ("f", "scheduled"),
    "released": ("b", "ready"),
    "stopped": ("p", "cancelled"),
    "promoted": ("m", "ready"),
    "opened": ("o", "ready"),
    "reprioritized": ("y", "ready"),
    "reclaimed": ("t", "ready"),
    "cancel_requested": ("q", "running"),
    "cancelled": ("x", "cancelled"),
    "expired": ("e", "expired"),
    "redriven": ("v", "ready"),
    "purged": ("g", "dead"),
    "unblocked": ("u", "ready"),
}
"""Letter and usual new state of each verb. Logs keep lines for long: a letter never gets another meaning."""

_READ = {letter: (verb, usual) for verb, (letter, usual) in VERBS.items()}


def transitions(lines: bytes) -> list[dict[str, Any]]:
    """Return the event bodies that the lines of one entry stand for."""
    return [_transition(line) for line in lines.decode().split("\n")]


def _transition(line: str) -> dict[str, Any]:
    task, *rest = line[1:].split("\t")
    verb, state = _READ[line[0]]
    token = int(rest.pop(0)) if rest and rest[0].isdecimal() else 0
    return {"event": verb, "task": task, "state": rest[0] if rest else state, "token": token}
