"""What it costs to know who is there: a prober's CPU and datagrams per second, and one judgement by phi.

`python -m benchmarks.probes [--nodes 10,100,1000] [--seconds 10]`; links are simulated, so the figures are those of one
node's prober with everything but sealing and the system's sockets, which are measured apart.
"""

import argparse
import asyncio
import time
from dataclasses import dataclass

from benchmarks.lab.report import Row, Section, markdown
from meshd.nodes.model import NodeTimings
from meshd.nodes.phi import Pace, patience_of
from meshd.peers.in_memory import Weather
from meshd.peers.sealing import Kind, Seal
from meshd.peers.sockets import Place, open_links
from tests.peers.simulated import SimulatedMesh

NAMES = "meshd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """Per node and second."""

    cpu_micros: float
    datagrams: float
    payload_bytes: float


def probes(count: int, *, seconds: float) -> Probes:
    """Run a mesh of so many probers for so many virtual seconds."""
    mesh = SimulatedMesh(count, seed=1, weather=Weather(delay_ms=1, jitter_ms=0.5))
    mesh.run(3)
    sent, carried, cpu = mesh.network.datagrams, mesh.network.sent_bytes, time.process_time()
    mesh.run(seconds)
    each = 1 / (count * seconds)
    return Probes(
        cpu_micros=(time.process_time() - cpu) * 1e6 * each,
        datagrams=(mesh.network.datagrams - sent) * each,
        payload_bytes=(mesh.network.sent_bytes - carried) * each,
    )


def micros_per_call(count: int, began: float) -> float:
    return (time.process_time() - began) * 1e6 / count


def phi(count: int = 100_000) -> float:
    """Return the CPU of counting one interval and finding both thresholds, in microseconds."""
    patience, pace = patience_of(NodeTimings()), Pace(mean_ms=1_000.0)
    began = time.process_time()
    for number in range(count):
        pace = pace.counting(990.0 + number % 20)
        patience.doubted_after(pace)
        patience.bound_after(pace)
    return micros_per_call(count, began)


def sealing(count: int = 50_000) -> float:
    """Return the CPU of sealing and opening one datagram, in microseconds."""
    mine, yours, payload = Seal(b"k" * 32), Seal(b"k" * 32), b"x" * 48
    began = time.process_time()
    for _ in range(count):
        data, _ = mine.close(Kind.DATAGRAM, payload, sender="10.0.0.1:9900", receiver="10.0.0.2:9900")
        yours.open(Kind.DATAGRAM, data, receiver="10.0.0.2:9900")
    return micros_per_call(count, began)


async def sockets(count: int = 5_000) -> float:
    """Return the CPU of sending and receiving one sealed datagram over loopback, in microseconds."""
    one, other = [await open_links(Place(), b"k" * 32) for _ in range(2)]
    heard = asyncio.Event()
    other.listen(lambda _address, _payload: heard.set())
    began = time.process_time()
    for _ in range(count):
        heard.clear()
        one.send(other.address, b"x" * 48)
        await heard.wait()
    micros = micros_per_call(count, began)
    await one.aclose()
    await other.aclose()
    return micros


def measure(counts: list[int], *, seconds: float) -> Section:
    rows: list[Row] = []
    for count in counts:
        found = probes(count, seconds=seconds)
        rows += [
            Row(name=f"{count} nodes: prober's CPU per node", unit="µs/s", values={NAMES: [found.cpu_micros]}),
            Row(name=f"{count} nodes: datagrams sent per node", unit="/s", values={NAMES: [found.datagrams]}),
            Row(name=f"{count} nodes: payload sent per node", unit="B/s", values={NAMES: [found.payload_bytes]}),
        ]
    rows += [
        Row(name="sealing and opening a datagram", unit="µs", values={NAMES: [sealing()]}),
        Row(name="a sealed datagram over loopback, both ends", unit="µs", values={NAMES: [asyncio.run(sockets())]}),
        Row(name="phi: one interval, both thresholds", unit="µs", values={NAMES: [phi()]}),
    ]
    return Section(title="probes", rows=rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.probes")
    parser.add_argument("--nodes", default="10,100,1000")
    parser.add_argument("--seconds", type=float, default=10.0)
    wanted = parser.parse_args()
    print(markdown([measure([int(count) for count in wanted.nodes.split(",")], seconds=wanted.seconds)]))


if __name__ == "__main__":
    main()
