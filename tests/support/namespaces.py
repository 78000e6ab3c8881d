"""A network of the test's own: each machine is a network namespace, and one switch in this process joins them.

Nothing outside is touched: the machines see each other and nobody else. Making them needs root; `why_not` says what is
missing where they cannot be made.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import combinations
from pathlib import Path
from uuid import uuid4

from tests.support.switch import Switch, Weather

TUN = Path("/dev/net/tun")
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
HUB = 1
"""Number of the machine with the store; the others follow."""


@cache
def why_not() -> str:
    """Return why no network can be made here; empty if one can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the `ip` command (iproute2)"
    if not os.access(TUN, os.R_OK | os.W_OK):
        return f"the switch between network namespaces needs {TUN}"
    try:
        with network(1):
            return ""
    except (subprocess.CalledProcessError, OSError) as exc:
        said = exc.stderr.strip() if isinstance(exc, subprocess.CalledProcessError) else str(exc)
        return f"network namespaces are not permitted here: {said}"


class Network:
    """Machines 1 to n, each reaching each, until something is cut."""

    def __init__(self, prefix: str, machines: Sequence[int], switch: Switch) -> None:
        self._prefix = prefix
        self.machines = machines
        self._switch = switch

    def inside(self, machine: int) -> list[str]:
        """Return what a command line begins with to run on this machine, as the very process that is started."""
        return ["ip", "netns", "exec", self.name(machine)]

    def name(self, machine: int) -> str:
        """Return the name of the machine's namespace."""
        return f"{self._prefix}n{machine}"

    @staticmethod
    def address(machine: int) -> str:
        return f"10.77.0.{machine}"

    @property
    def is_whole(self) -> bool:
        return not self._switch.cuts

    def cut(self, one: int, other: int) -> None:
        """Let nothing pass between two machines."""
        self._switch.cut([(one, other), (other, one)])

    def cut_one_way(self, source: int, target: int) -> None:
        """Let nothing pass from `source` to `target`; the other way stays open."""
        self._switch.cut([(source, target)])

    def split(self, *sides: Iterable[int]) -> None:
        """Let nothing pass between machines of different sides."""
        for one_side, other_side in combinations([list(side) for side in sides], 2):
            for one in one_side:
                for other in other_side:
                    self.cut(one, other)

    def cuts(self) -> list[tuple[int, int]]:
        """Return the directions in which nothing passes, in order."""
        return sorted(self._switch.cuts)

    def mend(self, one: int, other: int) -> None:
        """Let everything pass between two machines again."""
        self._switch.mend([(one, other), (other, one)])

    def heal(self) -> None:
        """Let everything pass again everywhere."""
        self._switch.mend(self._switch.cuts)

    def weather(self, weather: Weather) -> None:
        """Delay and lose from now on what passes."""
        self._switch.weather = weather


@contextmanager
def network(machines: int) -> Generator[Network]:
    """A network of that many machines, for the length of the block; processes in it are the caller's to end.

    Raises:
        subprocess.CalledProcessError: it is not permitted; `stderr` has what was said.
    """
    prefix = f"m{uuid4().hex[:6]}"
    switch = Switch()
    found = Network(prefix, range(1, machines + 1), switch)
    try:
        for machine in found.machines:
            _make(found, machine, switch)
        switch.start()
        yield found
    finally:
        switch.close()
        for machine in found.machines:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", found.name(machine))


def _make(found: Network, machine: int, switch: Switch) -> None:
    """Make one machine: a namespace with one device, whose neighbours are known for good, so that nobody asks for them.

    The device is made here and moved: the switch keeps its other end.
    """
    name = found.name(machine)
    _ip("netns", "add", name)
    device = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
    switch.plug(machine, device)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    _ip("link", "set", name, "netns", name)
    _ip("-n", name, "link", "set", "lo", "up")
    _ip("-n", name, "link", "set", name, "address", _hardware(machine))
    _ip("-n", name, "addr", "add", f"{Network.address(machine)}/24", "dev", name)
    _ip("-n", name, "link", "set", name, "up")
    for other in found.machines:
        if other != machine:
            neighbour = [Network.address(other), "lladdr", _hardware(other), "nud", "permanent", "dev", name]
            _ip("-n", name, "neigh", "replace", *neighbour)


def _hardware(machine: int) -> str:
    return f"02:00:00:00:00:{machine:02x}"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=10)
