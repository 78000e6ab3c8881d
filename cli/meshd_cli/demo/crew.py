"""The demo's nodes: real processes that end with the demo, however it ends."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from meshd.errors import MeshError
from meshd.mesh import Mesh
from meshd.nodes.model import NodeType
from meshd.runtime.arrivals import wait_visible
from meshd.runtime.child import Child, Command
from meshd.runtime.state_dir import StateDir
from meshd_cli.node_process import NodeWords, start_command
from meshd_cli.session import Session

GRACE = timedelta(seconds=4)
START_TIMEOUT = timedelta(seconds=30)
CONCURRENCY = 4


@dataclass(frozen=True, slots=True)
class Member:
    name: str
    type: str


def line_up(count: int) -> list[Member]:
    """Return `count` nodes of mixed types; the last of several is the one that comes late."""
    types = [NodeType.LANGUAGE_EXPERT, NodeType.LANGUAGE_EXPERT, NodeType.GENERAL]
    members = [Member(f"node-{number + 1}", types[number % len(types)]) for number in range(count)]
    if count > 1:
        members[-1] = Member(f"late-{count}", NodeType.LANGUAGE_EXPERT)
    return members


@dataclass(slots=True)
class Crew:
    """Node processes by name."""

    session: Session
    folder: Path
    """Where they keep their logs."""
    _children: dict[str, Child] = field(default_factory=dict[str, Child])

    async def start(self, *members: Member) -> None:
        """Start the processes; they join when they are ready."""
        state = StateDir(self.folder)
        for member in members:
            self._children[member.name] = await Child.start(self._command(member), state)

    async def wait_joined(self, mesh: Mesh, *members: Member) -> None:
        """Return when the mesh sees all of them alive.

        Raises:
            MeshError: one of them ended first; the error says what it said.
            DeadlineError: they did not join in time.
        """
        await wait_visible(mesh, lambda: self._expected(*members), timeout=START_TIMEOUT)

    def kill(self, name: str) -> int:
        """End one with SIGKILL, without any warning to it; return the process id it had."""
        child = self._children[name]
        child.kill()
        return child.pid

    async def aclose(self) -> None:
        """Stop all: ask, wait `GRACE`, then kill. Returns when none is left."""
        children = list(self._children.values())
        for child in children:
            child.terminate()
        try:
            async with asyncio.timeout(GRACE.total_seconds()):
                await asyncio.gather(*(child.process.wait() for child in children))
        except TimeoutError:
            pass
        finally:
            for child in children:
                child.kill()
            await asyncio.gather(*(child.wait() for child in children))

    def _expected(self, *members: Member) -> dict[str, int]:
        for member in members:
            child = self._children[member.name]
            if child.process.returncode is not None:
                log = child.state.log_file(member.name).read_text(errors="replace").strip().splitlines()
                raise MeshError(f"{member.name} ended before it joined: {' / '.join(log[-3:]) or 'it said nothing'}")
        return {member.name: self._children[member.name].pid for member in members}

    def _command(self, member: Member) -> Command:
        words = NodeWords(name=member.name, type=member.type, concurrency=CONCURRENCY, grace=GRACE.total_seconds() / 2)
        return start_command(words, self.session, "--lifeline", env={"MESHD_STATE_DIR": str(self.folder)}, enabled=True)


@asynccontextmanager
async def crew(session: Session, *, folder: Path) -> AsyncGenerator[Crew, None]:
    """Have a crew for the length of the block; afterwards no process of it is left."""
    members = Crew(session=session, folder=folder)
    try:
        yield members
    finally:
        closing = asyncio.create_task(members.aclose())
        await asyncio.shield(closing)
