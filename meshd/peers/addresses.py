"""Where a node is reached: the text form of an address, and the way this machine looks to another."""

import asyncio
import ipaddress
import socket
from functools import lru_cache

from meshd.errors import InvalidArgumentError

LOOPBACK = "127.0.0.1"


def joined(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@lru_cache(maxsize=4_096)
def parts_of(address: str) -> tuple[str, int]:
    """Return host and port of `host:port`.

    Raises:
        InvalidArgumentError: it is not of that form.
    """
    host, _, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or not port.isdecimal() or int(port) > 65_535 or (":" in bare and bare == host):
        raise InvalidArgumentError(f"address {address!r} is not host:port; write an IPv6 host in brackets")
    return bare, int(port)


def is_numeric(host: str) -> bool:
    """Whether it is an IP address, so that nobody has to be asked for it."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def resolved(host: str, port: int = 0) -> str:
    """Return an IP address of a host.

    Raises:
        OSError: it has none.
    """
    if is_numeric(host):
        return host
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    return str(found[0][4][0])


async def local_host(host: str, port: int) -> str:
    """Return the address of this machine from which it reaches `host`; loopback when there is no way to it now."""
    try:
        remote = await resolved(host, port)
        family = socket.AF_INET6 if ":" in remote else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((remote, port or 1))  # chooses a route, sends nothing
            return str(probe.getsockname()[0])
    except OSError:
        return LOOPBACK
