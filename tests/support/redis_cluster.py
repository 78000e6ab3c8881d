"""A real Redis Cluster on loopback: a few redis-server processes that share the slots, met in a second or two."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import redis

from tests.support.redis_server import RedisServer, free_port

SLOTS = 16_384
READY_TIMEOUT_S = 20.0
HOST = "127.0.0.1"

Run = Callable[..., Any]


class RedisCluster:
    """Some primaries, each with a replica or none, and a hand for each server: `run(0)("PING")` asks the first one.

    The replica of server `n` is server `n + primaries`.
    """

    def __init__(self, directory: Path, *, primaries: int = 3, has_replicas: bool = False) -> None:
        count = 2 * primaries if has_replicas else primaries
        self.servers = [RedisServer(directory / f"node{number}") for number in range(count)]
        self._primaries = primaries
        self._clients: list[redis.Redis] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{HOST}:{server.port}" for server in self.servers)

    def start(self, *, aof: bool = False) -> None:
        """Start every server, share the slots evenly, and return once each sees the whole cluster.

        With `aof`, what is acknowledged is on disk.
        """
        bus_ports = [free_port() for _ in self.servers]
        for server, bus_port in zip(self.servers, bus_ports, strict=True):
            server.start(aof=aof, options=_options(bus_port))
            self._clients.append(redis.Redis(host=HOST, port=server.port, socket_timeout=10))
        share = SLOTS / self._primaries
        for number in range(self._primaries):
            self.run(number)("CLUSTER", "ADDSLOTSRANGE", round(number * share), round((number + 1) * share) - 1)
        for number in range(len(self.servers)):
            self.run(number)("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server, bus_port in zip(self.servers[1:], bus_ports[1:], strict=True):
            self.run(0)("CLUSTER", "MEET", HOST, server.port, bus_port)
        self.wait_whole()
        for number in range(self._primaries, len(self.servers)):
            self.run(number)("CLUSTER", "REPLICATE", self._id(number - self._primaries))
        for number in range(self._primaries, len(self.servers)):
            _wait(partial(self._follows, number), "a replica did not follow")

    def stop(self) -> None:
        """End every server. Idempotent."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        for server in self.servers:
            server.stop()

    def run(self, number: int) -> Run:
        """Return what runs one command on one primary."""
        run: Run = self._clients[number].execute_command  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return run

    def wait_whole(self) -> None:
        """Return once every server knows all others and an owner of every slot."""
        for number in range(len(self.servers)):
            _wait(partial(self._sees_all, number), "the cluster did not come together")

    def slot_of(self, key: str) -> int:
        return int(self.run(0)("CLUSTER", "KEYSLOT", key))

    def owner_of(self, slot: int) -> int:
        """Return the number of the primary that has the slot."""
        for first, last, primary, *_ in self.run(0)("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(at for at, server in enumerate(self.servers) if server.port == primary[1])
        raise LookupError(slot)

    def open_slot(self, slot: int, *, source: int, target: int) -> None:
        """Begin to move a slot: both sides now answer for some of its keys only."""
        self.run(target)("CLUSTER", "SETSLOT", slot, "IMPORTING", self._id(source))
        self.run(source)("CLUSTER", "SETSLOT", slot, "MIGRATING", self._id(target))

    def move_keys(self, slot: int, *, source: int, target: int, limit: int = 10) -> int:
        """Move some keys of an open slot; return how many."""
        found = cast("Sequence[bytes]", self.run(source)("CLUSTER", "GETKEYSINSLOT", slot, limit))
        if found:
            port = self.servers[target].port
            self.run(source)("MIGRATE", HOST, port, "", 0, 10_000, "KEYS", *found)
        return len(found)

    def close_slot(self, slot: int, *, target: int) -> None:
        """End the move: the slot is the target's, and every primary is told."""
        self.run(target)("CLUSTER", "SETSLOT", slot, "NODE", self._id(target))
        for number in range(len(self.servers)):
            self.run(number)("CLUSTER", "SETSLOT", slot, "NODE", self._id(target))

    def migrate(self, slot: int, *, target: int, batch: int = 10) -> int:
        """Move a slot as `redis-cli --cluster reshard` does; return how many keys it had."""
        source = self.owner_of(slot)
        self.open_slot(slot, source=source, target=target)
        moved = 0
        while step := self.move_keys(slot, source=source, target=target, limit=batch):
            moved += step
        self.close_slot(slot, target=target)
        return moved

    def _sees_all(self, number: int) -> bool:
        info = cast("bytes", self.run(number)("CLUSTER", "INFO")).decode()
        fields = dict(line.split(":") for line in info.split())
        known, state = int(fields["cluster_known_nodes"]), fields["cluster_state"]
        return known == len(self.servers) and state == "ok" and int(fields["cluster_slots_ok"]) == SLOTS

    def _follows(self, number: int) -> bool:
        role = cast("Sequence[bytes]", self.run(number)("ROLE"))
        return role[0] == b"slave" and role[3] == b"connected"

    def _id(self, number: int) -> str:
        return cast("bytes", self.run(number)("CLUSTER", "MYID")).decode()


def _wait(is_so: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + READY_TIMEOUT_S
    while not is_so():
        if time.monotonic() > end:
            raise RuntimeError(otherwise)
        time.sleep(0.02)


def _options(bus_port: int) -> dict[str, str]:
    return {
        "--appendfsync": "always",
        "--repl-diskless-sync-delay": "0",
        "--cluster-enabled": "yes",
        "--cluster-port": str(bus_port),
        "--cluster-config-file": "nodes.conf",
        "--cluster-node-timeout": "2000",
    }
