"""Agents in processes of their own, and the mesh as this process sees it: they share nothing but the store."""

import json
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from meshd import Mesh, Settings
from meshd.groups.enrolment import Enrolment
from meshd.groups.model import Announcement, AnnouncementState
from meshd.groups.registry import Registry
from meshd.teaming import registry_of
from tests.groups_processes.agents_process import Cast, Player
from tests.groups_processes.announcer_process import Work
from tests.groups_processes.trap import Trap
from tests.support.waiting import wait_until

SOON = timedelta(seconds=60)
START_S = 30.0
SPARE_MS = 5_000
"""How long after its deadline an announcement is over at the latest."""

QUICK: dict[str, Any] = {
    "heartbeat_interval_seconds": 0.2,
    "node_timeout_seconds": 2.0,
    "tasks": {"sweep_seconds": 0.2},
    "roles": {"interval_seconds": 0.2},
}
"""Deaths are noticed soon; nothing about groups differs from what everybody has."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal that all agents write."""

    event: str
    agent: str
    pid: int
    announcement: str
    roles: tuple[str, ...]


@dataclass(slots=True)
class Stage:
    """One mesh of processes."""

    url: str
    mesh: Mesh
    folder: Path
    settings: Mapping[str, Any]
    registry: Registry
    clock: str = ""
    """File that tells the nodes the time; the true time without one."""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    @property
    def journal_path(self) -> Path:
        return self.folder / "journal.jsonl"

    def begin(self, node: str, *players: Player, trap: Trap | None = None, grace_s: float = 30.0) -> "Process":
        """Start a node with these agents and do not wait for it."""
        cast = Cast(
            players=players,
            journal=str(self.journal_path),
            settings=dict(self.settings),
            grace_s=grace_s,
            trap=trap,
            clock=self.clock,
        )
        return self._popen("agents_process", node, cast.to_json())

    async def enter(self, node: str, *players: Player, trap: Trap | None = None, grace_s: float = 30.0) -> "Process":
        """Start a node with these agents; return once all of them are found by their skills in their new life."""
        before = await self._incarnations(players)
        process = self.begin(node, *players, trap=trap, grace_s=grace_s)
        await self.entered(players, before)
        return process

    async def entered(self, players: Sequence[Player], before: Mapping[str, int] | None = None) -> None:
        """Wait until the agents are found, in a later life than that."""
        lives = before or {}

        async def are_found() -> bool:
            assert not any((process.poll() or 0) > 0 for process in self.processes), "a process failed; see its stderr"
            found: dict[str, int] = {}
            for skill in {player.skills[0].partition("=")[0] for player in players}:
                holders = await self.mesh.groups.holders(skill, most=1_000)
                found.update({each.agent: each.incarnation for each in holders})
            return all(found.get(player.name, 0) > lives.get(player.name, 0) for player in players)

        await wait_until(are_found, timeout=START_S, pause=0.1)

    def announcer(self, work: Work) -> "Process":
        """Start a process that announces and leads."""
        return self._popen("announcer_process", replace(work, settings=dict(self.settings)).to_json())

    async def agent(self, name: str) -> Enrolment:
        """Return what the store says of an agent."""
        kept = await self.registry.find(name)
        assert kept is not None, f"agent {name} is not known"
        return kept.enrolment

    async def held(self, agents: Iterable[Player]) -> dict[str, int]:
        """Return the slots each agent holds, by the store."""
        return {player.name: len((await self.agent(player.name)).book.holds) for player in agents}

    async def until_free(self, agents: Collection[Player], *, timeout: float = 15.0) -> None:
        """Wait until no agent holds any slot."""

        async def are_free() -> bool:
            return not any((await self.held(agents)).values())

        await wait_until(are_free, timeout=timeout, pause=0.1)

    async def until(self, announcement: str, *states: AnnouncementState, timeout: float = 30.0) -> Announcement:
        """Wait until an announcement, by whomever it is made, is in one of these states."""
        seen: list[Announcement] = []

        async def is_there() -> bool:
            listed = await self.mesh.groups.list(limit=1_000)
            seen[:] = [each for each in listed if each.id == announcement]
            return bool(seen) and seen[0].state in states

        await wait_until(is_there, timeout=timeout, pause=0.05, seen=lambda: f"{announcement} is {seen}")
        return seen[0]

    async def over(self, announcement: str, *, timeout: float = 60.0) -> Announcement:
        """Return the announcement once it is over; it was in time."""
        ends = [state for state in AnnouncementState if state.is_over]
        found = await self.until(announcement, *ends, timeout=timeout)
        assert found.ended_ms <= found.deadline_ms + SPARE_MS, f"{announcement} ended late"
        return found

    def journal(self) -> list[Entry]:
        """Return what the agents have noted, in order."""
        if not self.journal_path.exists():
            return []
        rows = [json.loads(line) for line in self.journal_path.read_bytes().splitlines()]
        return [Entry(row["event"], row["agent"], row["pid"], row["announcement"], tuple(row["roles"])) for row in rows]

    def most_at_once(self) -> dict[str, int]:
        """Return in how many groups each agent was at work at once, at most, within one process."""
        now, most = Counter[tuple[str, int]](), defaultdict[str, int](int)
        for entry in self.journal():
            now[entry.agent, entry.pid] += 1 if entry.event == "start" else -1
            most[entry.agent] = max(most[entry.agent], now[entry.agent, entry.pid])
        return dict(most)

    async def _incarnations(self, players: Sequence[Player]) -> dict[str, int]:
        kept = {player.name: await self.registry.find(player.name) for player in players}
        return {name: 0 if one is None else one.enrolment.candidate.incarnation for name, one in kept.items()}

    def _popen(self, module: str, *words: str) -> "Process":
        command = [sys.executable, "-m", f"tests.groups_processes.{module}", self.url, self.mesh.name, *words]
        self.processes.append(subprocess.Popen(command))
        return self.processes[-1]


Process = subprocess.Popen[bytes]


@asynccontextmanager
async def stage_on(
    url: str, mesh_name: str, folder: Path, *, clock: str = "", **settings: Any
) -> AsyncGenerator[Stage]:
    """A stage with nobody on it; whoever is left on it at the end is killed."""
    wanted: dict[str, Any] = {**QUICK, **settings, "state_dir": str(folder / "state")}
    loaded = Settings.load(mesh=mesh_name, **wanted)
    async with Mesh(url, settings=loaded) as mesh:
        stage = Stage(url, mesh, folder, wanted, registry_of(mesh.backend, loaded.groups), clock)
        try:
            yield stage
        finally:
            for process in stage.processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGCONT)
                    process.kill()
                process.wait()


async def gone(process: Process, *, by: signal.Signals = signal.SIGKILL) -> None:
    """Wait until a process has ended by this signal."""
    await wait_until(lambda: process.poll() is not None, timeout=START_S)
    assert process.returncode == -by, process.returncode


def assert_covered(announcement: Announcement, *, size: int = 5) -> None:
    """The group has somebody for every skill, and is not too large."""
    roles = [role for member in announcement.members.values() for role in member.roles]
    assert sorted(roles) == sorted(need.name for need in announcement.needs)
    assert len(announcement.members) <= size
