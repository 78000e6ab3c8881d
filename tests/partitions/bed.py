"""Machines in a network of their own: one with the store, the others with a node each, this process beside them all.

This process reads the store through a Unix socket, which no cut touches, so it sees what the hub sees.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from meshd import Mesh
from meshd.nodes.model import Verdict
from meshd.nodes.store import NODES_LOG
from tests.chaos.effects import read_effects
from tests.chaos.history import Effect
from tests.partitions.node_process import settings_of
from tests.support.namespaces import HUB, Network, network
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
MESH = "partitions"
PATIENCE_S = 30.0


class HubServer(RedisServer):
    """A redis-server on the machine of the hub."""

    def __init__(self, directory: Path, net: Network) -> None:
        super().__init__(directory, port=6379)
        self._net = net
        self._socket = directory / "redis.sock"

    @property
    def url(self) -> str:
        """Where nodes on other machines find it."""
        return f"redis://{Network.address(HUB)}:{self.port}/0"

    @property
    def url_beside(self) -> str:
        """Where this process finds it, whatever is cut."""
        return f"unix://{self._socket}"

    def _command(self) -> list[str]:
        options = ["--bind", Network.address(HUB), "--protected-mode", "no", "--unixsocket", str(self._socket)]
        return [*self._net.inside(HUB), *super()._command(), *options]

    def _ping(self) -> bytes:
        answer = subprocess.run(
            ["redis-cli", "-s", str(self._socket), "ping"], capture_output=True, timeout=5, check=False
        )
        return b"+" + answer.stdout


class Bed:
    """Nodes `n2`, `n3`, … on the machines of these numbers; machine 1 is the hub."""

    def __init__(self, net: Network, server: HubServer, mesh: Mesh, folder: Path) -> None:
        self.net = net
        self.server = server
        self.mesh = mesh
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @staticmethod
    def name(machine: int) -> str:
        return f"n{machine}"

    @property
    def machines(self) -> list[int]:
        """Numbers of the machines with a node."""
        return [machine for machine in self.net.machines if machine != HUB]

    def start(self, machine: int) -> "subprocess.Popen[bytes]":
        """Start the node of this machine."""
        name = self.name(machine)
        arguments = [self.server.url, MESH, name, Network.address(machine), str(self.folder)]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*self.net.inside(machine), sys.executable, "-m", "tests.partitions.node_process", *arguments],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=REPOSITORY,
            )
        return self.processes[name]

    async def verdict(self, machine: int) -> Verdict | None:
        """Return what the hub concludes about a node, `None` if it does not know it."""
        node = await self.mesh.backend.nodes.get(self.name(machine))
        return None if node is None else node.verdict

    async def until(self, machine: int, verdict: Verdict, *, timeout: float = PATIENCE_S) -> None:
        """Return once the hub concludes this about the node."""

        async def is_so() -> bool:
            return await self.verdict(machine) is verdict

        await wait_until(is_so, timeout=timeout, pause=0.05)

    async def until_all_alive(self) -> None:
        for machine in self.machines:
            await self.until(machine, Verdict.ALIVE)

    async def ask(self, machine: int, ask: str, **question: object) -> dict[str, Any]:
        """Have the node's own process try something, and return what came of it."""
        reader, writer = await asyncio.open_unix_connection(self.folder / f"{self.name(machine)}.sock")
        try:
            writer.write(json.dumps({"ask": ask, **question}).encode() + b"\n")
            return cast("dict[str, Any]", json.loads(await reader.readline()))
        finally:
            writer.close()

    async def node_events(self) -> list[tuple[str, str]]:
        """Return what happened to nodes so far: the event and the node."""
        events = await self.mesh.events.read(NODES_LOG, limit=10_000)
        return [(event.body["event"], event.body["node"]) for event in events]

    def effects(self) -> list[Effect]:
        """Return what the handlers of all nodes did."""
        return list(read_effects(self.folder))

    def stop(self) -> None:
        """End every node, by force after a while."""
        self.net.heal()
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@asynccontextmanager
async def bed_of(nodes: int, folder: Path) -> AsyncGenerator[Bed]:
    """A bed with that many nodes, all alive."""
    with network(nodes + 1) as net:
        server = HubServer(folder / "redis", net)
        server.start(aof=True)
        try:
            async with Mesh(server.url_beside, settings=settings_of(MESH, folder=folder)) as mesh:
                bed = Bed(net, server, mesh, folder)
                try:
                    for machine in bed.machines:
                        bed.start(machine)
                    await bed.until_all_alive()
                    yield bed
                finally:
                    await asyncio.to_thread(bed.stop)
        finally:
            server.stop()
