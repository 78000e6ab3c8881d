"""A network switch in this process: carries frames between TAP devices, and cuts, delays and loses as a test says."""

import os
import select
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from time import monotonic

MAX_FRAME = 65_536
IPV4 = b"\x08\x00"
HEADER = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What befalls every frame that is carried at all."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    """Each frame's delay is drawn between `delay_s` minus and plus this, so frames overtake each other."""
    loss: float = 0.0
    """Share of frames lost, 0 to 1."""


class Switch:
    """Carries IPv4 frames to the port that their target address ends with, on a thread of its own.

    A direction is a pair of port numbers, source first. What is cut is dropped silently, as by a broken network: nobody
    is told, connections stay open, and what was sent is sent again by whoever sent it.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self._rng = Random(seed)
        self._ports: dict[int, int] = {}
        self._cut: frozenset[tuple[int, int]] = frozenset()
        self._due: list[tuple[float, int, int, bytes]] = []
        self._carried = 0
        self._wake_read, self._wake_write = os.pipe()
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name="switch", daemon=True)
        self.weather = Weather()

    def plug(self, port: int, device: int) -> None:
        """Connect the open TAP `device` as this port; all ports are plugged before `start`."""
        os.set_blocking(device, False)
        self._ports[port] = device

    def start(self) -> None:
        """Carry from now on."""
        self._thread.start()

    def cut(self, directions: Iterable[tuple[int, int]]) -> None:
        """Carry nothing more in these directions."""
        self._cut |= frozenset(directions)

    def mend(self, directions: Iterable[tuple[int, int]]) -> None:
        """Carry again in these directions."""
        self._cut -= frozenset(directions)

    @property
    def cuts(self) -> frozenset[tuple[int, int]]:
        """Directions in which nothing is carried now."""
        return self._cut

    def close(self) -> None:
        """Carry nothing more, and unplug everything."""
        self._is_open = False
        os.write(self._wake_write, b"x")
        if self._thread.is_alive():
            self._thread.join()
        for descriptor in (*self._ports.values(), self._wake_read, self._wake_write):
            os.close(descriptor)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        sources = {device: port for port, device in self._ports.items()}
        for device in sources:
            poll.register(device, select.POLLIN)
        while self._is_open:
            for device, _ in poll.poll(self._pause_ms()):
                if device in sources:
                    self._take(device, sources[device])
            self._deliver()

    def _pause_ms(self) -> float | None:
        return max(0.0, (self._due[0][0] - monotonic()) * 1000) if self._due else None

    def _take(self, device: int, source: int) -> None:
        with suppress(OSError):
            while True:
                frame = os.read(device, MAX_FRAME)
                if len(frame) >= HEADER and frame[12:14] == IPV4:
                    self._carry(source, frame[5], frame)

    def _carry(self, source: int, target: int, frame: bytes) -> None:
        weather = self.weather
        if target not in self._ports or (source, target) in self._cut or self._rng.random() < weather.loss:
            return
        delay = weather.delay_s + self._rng.uniform(-weather.jitter_s, weather.jitter_s)
        self._carried += 1
        heappush(self._due, (monotonic() + delay, self._carried, target, frame))

    def _deliver(self) -> None:
        now = monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, target, frame = heappop(self._due)
            with suppress(OSError):
                os.write(self._ports[target], frame)
