"""Around one run of the demo: a place to run in, what is printed afterwards, and what is cleared away."""

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from meshd.backends import redact
from meshd.exit_codes import ExitCode
from meshd.ids import new_id
from meshd.nodes.model import NodeType
from meshd.specialists.registry import check_buildable
from meshd_cli import render
from meshd_cli.demo import report
from meshd_cli.demo.corpus import collect
from meshd_cli.demo.run import Outcome, Plan, run
from meshd_cli.demo.view import open_view
from meshd_cli.session import Session

T = TypeVar("T")

TERMINATED = 143
"""Exit code of a program ended by SIGTERM, as a shell reports it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What was asked for on the command line."""

    folder: Path | None
    nodes: int
    limit: int
    seed: int
    keep: bool
    report: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the demo runs: a folder of its own, and a mesh that nobody else uses."""

    folder: Path
    session: Session
    """Leads to that mesh."""
    is_own_file: bool
    """The store is a fresh SQLite file in the folder."""

    @property
    def options(self) -> str:
        """The options that lead other commands to this mesh."""
        url = f"--url {redact(self.session.settings.store_url)}"
        return url if self.is_own_file else f"{url} --mesh {self.session.settings.mesh}"


def perform(session: Session, wishes: Wishes) -> int:
    """Run the demo, print its report, and return the exit code.

    Raises:
        InvalidArgumentError: the folder or the report file cannot be used.
        ConfigurationError: the language specialist's libraries are not installed.
        MeshError: the store cannot be used, or a node did not start.
    """
    check_buildable(NodeType.LANGUAGE_EXPERT)
    if wishes.report is not None:
        report.check_writable(wishes.report)
    place = _prepare(session)
    keep = wishes.keep
    try:
        outcome = _play(place, wishes)
        keep = keep or not outcome.facts.is_clean
        _print(session, outcome, wishes, place)
    except asyncio.CancelledError:
        return TERMINATED
    except Exception:
        keep = any(place.folder.iterdir())
        raise
    finally:
        if keep:
            render.note(f"store and logs are kept in {place.folder}")
        else:
            shutil.rmtree(place.folder, ignore_errors=True)
    return ExitCode.OK if outcome.facts.is_clean else ExitCode.FAILED


def _play(place: Place, wishes: Wishes) -> Outcome:
    session = place.session
    corpus = collect(wishes.folder, limit=wishes.limit, max_payload_bytes=session.settings.max_payload_bytes)
    plan = Plan(
        session=session,
        corpus=corpus,
        nodes=wishes.nodes,
        seed=wishes.seed,
        folder=place.folder,
        show_screens=not session.json,
    )
    with open_view(render.console(session, sys.stderr)) as view:
        return asyncio.run(_until_told(run(plan, view)))


async def _until_told(work: Coroutine[Any, Any, T]) -> T:
    """Do the work; SIGTERM cancels it as Ctrl-C does, so that no node is left behind."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


def _prepare(session: Session) -> Place:
    folder = Path(tempfile.mkdtemp(prefix="meshd-demo-"))
    url = session.url or f"sqlite:///{folder / 'mesh.db'}"
    mesh = session.mesh or (f"demo-{new_id()[-8:].lower()}" if session.url else None)
    there = replace(session, url=url, mesh=mesh)
    return Place(folder=folder, session=replace(there, mesh=there.settings.mesh), is_own_file=session.url is None)


def _print(session: Session, outcome: Outcome, wishes: Wishes, place: Place) -> None:
    if not session.json:
        for screen in outcome.screens:
            render.line(f"$ {screen.command}\n{screen.text}\n")
    render.show(session, outcome.facts.as_dict(), lambda _: report.view(outcome))
    if wishes.report is not None:
        report.write(wishes.report, outcome.facts)
        render.note(f"report written to {wishes.report}")
    for command in _next_commands(wishes, place):
        render.hint(command)


def _next_commands(wishes: Wishes, place: Place) -> list[str]:
    if place.is_own_file and not wishes.keep:
        return ["`mesh demo --keep` keeps the store to look into; `mesh demo FOLDER` reads your own files"]
    here = f"mesh {place.options}"
    return [f"type `{here} status`, `{here} agents` or `{here} tasks list`: the nodes have left, the tasks are kept"]
