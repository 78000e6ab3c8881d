"""The way to a Redis Cluster: one `Connection` for each primary, and each call goes to the one that has its slot.

Invariant: a script runs only while its slot is whole. Every script is called with a second key that never exists; while
a slot is on its way to another primary the server refuses a call for two keys of which one is missing, so nothing is
read or written half here, half there (ADR 0009). Such a call waits, as all calls do that a cluster in change refuses:
they were not applied.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random
from time import monotonic
from typing import Any, ClassVar
from urllib.parse import urlunsplit

import redis.exceptions as broken
from redis.asyncio.connection import AbstractConnection

from meshd.backends import redact, split_url
from meshd.backends.port import BackendOptions
from meshd.backends.redis.connection import Connection
from meshd.backends.redis.footing import Footing
from meshd.backends.redis.generation import Generations
from meshd.backends.redis.keys import COMMON, Keys
from meshd.backends.redis.lane import Lane
from meshd.backends.redis.retries import FIRST_DELAY_S, MAX_DELAY_S
from meshd.backends.redis.slots import Address, SlotElsewhereError, SlotMap, address_of, elsewhere, slot_map, slot_of
from meshd.errors import ConfigurationError, MeshError, StoreReadOnlyError, StoreUnreachableError, UnavailableError
from meshd.tasks.model import Durability

CLUSTER_MARK = "+cluster"
"""What follows the scheme of a URL that names servers of a cluster."""
DEFAULT_PORT = 6379


class Primary(Connection):
    """One primary of a cluster."""

    is_whole_store: ClassVar[bool] = False

    def __init__(self, url: str, cluster: "ClusterConnection", address: Address) -> None:
        super().__init__(url, cluster.options)
        self.address = address
        self.announce = cluster.append
        self._generations = cluster.generations

    def script_keys(self, key: str) -> tuple[str, ...]:
        return (key, self.keys.gate(key))


class ClusterConnection:
    """One mesh's connections to one Redis Cluster. Calls end within the timeout, one way or the other."""

    def __init__(self, url: str, options: BackendOptions) -> None:
        self.url = redact(url)
        self.options = options
        self.keys = Keys(options.mesh)
        self._is_split = False
        self._plain_url, self._seeds = _seeds(url)
        self._timeout_s = options.timeout_ms / 1000
        self._closed = False
        self._chance = Random()
        self._primaries: dict[Address, Primary] = {}
        self._lenders: dict[AbstractConnection, Primary] = {}
        self.generations = Generations()
        """What is known of every partition, whichever primary has it."""
        self._map = SlotMap([])
        self._looks = 0
        self._looking = asyncio.Lock()

    async def open(self) -> None:
        """Learn which primary has which slots.

        Raises:
            StoreUnreachableError: no server of the URL answers within the timeout.
            ConfigurationError: it is no cluster, may evict tasks, or cannot give the durability asked for.
        """
        await self._look(self._looks)
        with suppress(UnavailableError):
            await self.footings()

    def now(self) -> str:
        """Return the clock argument of a script: empty means the server's clock."""
        return "" if self.options.clock is None else str(self.options.clock())

    @property
    def is_split(self) -> bool:
        """Whether the mesh has several partitions; known once the backend is open."""
        return self._is_split

    @is_split.setter
    def is_split(self, is_split: bool) -> None:
        self._is_split = is_split
        for primary in self._primaries.values():
            primary.is_split = is_split

    @property
    def primaries(self) -> int:
        """How many primaries have slots."""
        return len(self._map.primaries)

    async def run(
        self,
        name: str,
        *,
        key: str,
        args: Sequence[str | bytes | int],
        retry: bool = True,
        confirm: Durability | None = None,
        patience_s: float | None = None,
    ) -> Any:
        """Run a script on the partition of `key`, its clock argument first.

        Without `retry`, it is sent again only if the cluster said that it was not applied. With `patience_s`, a cluster
        in change is waited for no longer than that.

        Raises:
            UnconfirmedError: the script ran, and too few replicas said so in time.
        """

        def act(primary: Primary) -> Awaitable[Any]:
            return primary.run(name, key=key, args=args, retry=False, confirm=confirm)

        return await self._on_slot(slot_of(key), act, retry=retry, patience_s=patience_s)

    async def append(self, log: str, body: Mapping[str, Any]) -> None:
        """Append an event to a log of the mesh as a whole."""
        await self.run("event_append", key=self.keys.clock(COMMON), args=(log, json.dumps(body)), retry=False)

    def saw(self, key: str, token: int) -> None:
        """Note a token that the partition of `key` gave out: should the store forget it, that will be noticed."""
        self.generations.saw(key, token)

    async def footings(self, *, fresh: bool = False) -> Sequence[Footing]:
        """Return what each primary said of itself, asked anew if `fresh`."""
        primaries = [self._at(address) for address in self._map.primaries]
        if fresh:
            await asyncio.gather(*(primary.footings(fresh=True) for primary in primaries))
        return [footing for primary in primaries for footing in await primary.footings()]

    async def command(self, *command: str | bytes | int, retry: bool = True) -> Any:
        """Run one plain command where its key is; what is published on a channel goes through one primary, in order."""
        slot = slot_of(str(command[1])) if len(command) > 1 else None
        return await self._on_slot(slot, lambda primary: primary.command(*command, retry=False), retry=retry)

    async def peek(self, *command: str | bytes | int, retry: bool = True, patience_s: float | None = None) -> Any:
        """Run one plain command among the scripts; the answer comes as the server gave it."""
        slot = slot_of(str(command[1]))
        return await self._on_slot(
            slot, lambda primary: primary.peek(*command, retry=retry), retry=retry, patience_s=patience_s
        )

    async def pipeline(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
        """Run commands on keys of one partition that may be repeated, in one round trip."""
        slot = slot_of(str(commands[0][1]))
        answers: list[Any] = await self._on_slot(slot, lambda primary: primary.pipeline(commands), retry=True)
        return answers

    async def lend(self) -> AbstractConnection:
        """Return an open connection of its own to some primary; give it back with `take_back`."""
        primary = self._primary(None)
        connection = await primary.lend()
        self._lenders[connection] = primary
        return connection

    async def take_back(self, connection: AbstractConnection) -> None:
        """Close a lent connection."""
        primary = self._lenders.pop(connection, None)
        if primary is not None:
            await primary.take_back(connection)

    @asynccontextmanager
    async def waiting(self, key: str) -> AsyncGenerator[Lane]:
        """Lend a lane to the primary that has `key`, for one call that waits.

        Raises:
            UnavailableError: the slot moves, or the primary is gone: another wait finds who has the key then.
        """
        slot, looks = slot_of(key), self._looks
        try:
            async with self._primary(slot).waiting(key) as lane:
                yield lane
        except MeshError as exc:
            refusal = _refusal(exc, url=self.url)
            if refusal is None:
                raise
            await self._learn(refusal, slot=slot, looks=looks)
            raise refusal from exc

    async def aclose(self) -> None:
        """Close every connection, those lent out too."""
        self._closed = True
        for primary in self._primaries.values():
            await primary.aclose()

    async def _on_slot(
        self,
        slot: int | None,
        act: Callable[[Primary], Awaitable[Any]],
        *,
        retry: bool,
        patience_s: float | None = None,
    ) -> Any:
        """Call until it is answered, refused for good, or the patience has come to its end since the first try."""
        give_up = monotonic() + (self._timeout_s if patience_s is None else patience_s)
        delay = FIRST_DELAY_S
        while True:
            looks = self._looks
            try:
                return await act(self._primary(slot))
            except MeshError as exc:
                refusal = _refusal(exc, url=self.url)
                is_applied_maybe = isinstance(refusal, StoreUnreachableError)
                pause = delay * self._chance.uniform(0.5, 1.0)
                is_over = self._closed or monotonic() + pause >= give_up
                if refusal is None or is_over or (is_applied_maybe and not retry):
                    raise refusal or exc from exc.__cause__
            if not (isinstance(refusal, SlotElsewhereError) and refusal.owner):
                await asyncio.sleep(pause)
                delay = min(delay * 2, MAX_DELAY_S)
            await self._learn(refusal, slot=slot, looks=looks)

    def _primary(self, slot: int | None) -> Primary:
        if self._closed:
            raise StoreUnreachableError(f"redis at {self.url}: this backend is closed")
        known = self._map.primaries
        address = self._map.owner(slot) if slot is not None else (self._chance.choice(known) if known else None)
        if address is None:
            raise UnavailableError(f"redis at {self.url}: no primary serves slot {slot} at the moment")
        return self._at(address)

    def _at(self, address: Address) -> Primary:
        primary = self._primaries.get(address)
        if primary is None:
            parts = split_url(self._plain_url)
            login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
            url = urlunsplit(parts._replace(netloc=f"{login}{address}"))
            primary = self._primaries[address] = Primary(url, self, address)
            primary.is_split = self._is_split
        return primary

    async def _learn(self, refusal: MeshError, *, slot: int | None, looks: int) -> None:
        """Take the new owner a refusal names, or look anew; a cluster that nobody can tell about keeps its old map."""
        if isinstance(refusal, SlotElsewhereError) and refusal.owner and slot is not None:
            self._map.moved(slot, refusal.owner)
        else:
            with suppress(UnavailableError):
                await self._look(looks)

    async def _look(self, seen: int) -> None:
        """Learn the map from the first server that tells, unless that was done since look number `seen`."""
        async with self._looking:
            if self._looks > seen:
                return
            last: MeshError | None = None
            known = list({*self._map.primaries, *self._seeds})
            self._chance.shuffle(known)
            for address in known:
                try:
                    reply = await self._at(address).command("CLUSTER", "SLOTS", retry=False)
                except UnavailableError as exc:
                    last = exc
                else:
                    self._map = slot_map(reply, asked=address.host)
                    self._looks += 1
                    await self._forget_others()
                    return
            raise last or StoreUnreachableError(f"redis at {self.url}: no server of the cluster is known")

    async def _forget_others(self) -> None:
        """Close the connections to servers that have no slots any more."""
        lenders = {primary.address for primary in self._lenders.values()}
        for address in set(self._primaries) - set(self._map.primaries) - set(self._seeds) - lenders:
            await self._primaries.pop(address).aclose()


def _refusal(exc: MeshError, *, url: str) -> MeshError | None:
    """Return the error as one to wait out or to look anew after; `None` for one that another try cannot change."""
    cause = exc.__cause__
    words = str(cause) if cause is not None else ""
    if isinstance(cause, broken.AskError):
        kind = "MOVED" if isinstance(cause, broken.MovedError) else "ASK"
        place: Any = cause
        words = f"{kind} {place.slot_id} {place.host}:{place.port}"
    found = elsewhere(words, url=url)
    if found is not None:
        return found
    if isinstance(exc, StoreReadOnlyError):
        is_demoted = isinstance(cause, broken.ReadOnlyError) or words.startswith("READONLY")
        return exc if is_demoted else None
    return exc if type(exc) in (UnavailableError, StoreUnreachableError) else None


def _seeds(url: str) -> tuple[str, Sequence[Address]]:
    """Return the URL as one of a plain server, and the servers it names."""
    parts = split_url(url)
    hosts = parts.netloc.rpartition("@")[2]
    try:
        seeds = [address_of(host if ":" in host else f"{host}:{DEFAULT_PORT}") for host in hosts.split(",")]
    except ValueError:
        raise ConfigurationError(
            f"store url {redact(url)!r} is not understood: name servers of the cluster as host:port,host:port"
        ) from None
    if parts.path.strip("/") not in ("", "0"):
        raise ConfigurationError(f"store url {redact(url)!r}: a cluster has database 0 only")
    return urlunsplit(parts._replace(scheme=parts.scheme.removesuffix(CLUSTER_MARK), path="/0")), seeds
