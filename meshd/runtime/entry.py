"""A node as a whole process: its log, its tie to whoever started it, its life, its end."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from meshd.runtime.node import Node
from meshd.runtime.tether import take_lifeline, tether
from meshd.settings import LoggingSettings, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Ties:
    """What ties the process to its starter."""

    log: Path | None = None
    """The file its output goes to, which it keeps short."""
    lifeline: bool = False
    """Its standard input is held open by its starter, and ends with it."""


def run_node(node: Node, *, settings: Settings, ties: Ties, verbose: bool = False) -> None:
    """Run the node until it is told to end.

    Raises:
        MeshError: the store cannot be used, or another process took the node's name.
    """
    configure_logging(settings.logging, verbose=verbose)
    if ties.lifeline or ties.log is not None:
        tether(lifeline=take_lifeline() if ties.lifeline else None, log=ties.log)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(node.run(settings=settings))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the node's loop: uvloop where it is installed (extra `uvloop`), else asyncio's own, `None`."""
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 -- the extra may be missing
    except ImportError:
        return None
    return new_event_loop


def end_process(code: int) -> NoReturn:
    """End now, with everything said so far on file.

    The interpreter's own end waits for the threads of handlers that do not stop; this one does not.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def configure_logging(settings: LoggingSettings, *, verbose: bool = False) -> None:
    """Send log records to standard error, as text for people or as one JSON object per line for machines."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonFormatter() if settings.format == "json" else _TextFormatter())
    logging.basicConfig(level="DEBUG" if verbose else settings.level, handlers=[handler], force=True)


class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - its base's name
        del datefmt
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at_ms": round(record.created * 1000),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
