"""What a supervisor says about its processes, kept in the state folder so that any other process can read it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from meshd.runtime.state_dir import StateDir


class ChildState(StrEnum):
    """Where a supervised process stands."""

    RUNNING = "running"
    BACKOFF = "backoff"
    """It crashed, and starts again when its wait is over."""
    STOPPED = "stopped"
    """It ended and stays down: on purpose, because its settings are wrong, or because the supervisor stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildReport:
    """One supervised process, as of its latest change."""

    name: str
    state: ChildState
    pid: int = 0
    """0 while it does not run."""
    restarts: int = 0
    started_at: float = 0.0
    """Unix time of its latest start."""
    exit_code: int | None = None
    """Of its latest exit; negative for a signal."""
    wait_seconds: float = 0.0
    """Length of the back-off it is in."""


def write_reports(state: StateDir, reports: Iterable[ChildReport]) -> None:
    """Replace what is on file, in one step."""
    state.root.mkdir(parents=True, exist_ok=True)
    draft = state.fleet.with_name(f".{state.fleet.name}.{os.getpid()}")
    draft.write_bytes(msgspec.json.encode(list(reports)))
    draft.replace(state.fleet)


def read_reports(state: StateDir) -> list[ChildReport]:
    """Return what is on file; nothing when no supervisor runs or the file is not one of ours."""
    try:
        return msgspec.json.decode(state.fleet.read_bytes(), type=list[ChildReport])
    except (FileNotFoundError, msgspec.DecodeError, msgspec.ValidationError):
        return []
