"""The prober: runs a node's probes on the pulse's own loop, so a handler that blocks its node keeps others informed.

It opens the links, tells the `Probing` machine what happens, carries out what it says, vouches for nodes the store does
not hear, and reports what it sees. Without links it does nothing, and says so once.
"""

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from meshd.backends import split_url
from meshd.backends.port import Backend
from meshd.clock import system_clock
from meshd.errors import (
    ConfigurationError,
    ConflictError,
    CorruptDataError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from meshd.nodes.model import Beat, Membership, Node, NodeFilter, NodeProfile, Sightings, Verdict
from meshd.nodes.probe_model import (
    Event,
    Joined,
    Members,
    Neighbours,
    Outdated,
    Peer,
    ProbeOptions,
    Received,
    Send,
    Suspects,
    Tick,
    View,
    Vouch,
)
from meshd.nodes.probing import Probing
from meshd.peers.addresses import LOOPBACK, local_host, parts_of
from meshd.peers.key import key_of
from meshd.peers.sockets import Place, SocketLinks, open_links
from meshd.runtime.bridge import LinkBridge
from meshd.runtime.outage import Outage
from meshd.runtime.own_view import OwnView, remove_left, write
from meshd.runtime.state_dir import StateDir
from meshd.runtime.surroundings import Surroundings
from meshd.settings import Settings
from meshd.topology.model import EdgeRules

logger = logging.getLogger(__name__)

REPORT_EACH_S = 2.0
"""Least time between two reports."""
REFRESH_S = 30.0
"""Time after which round trips are reported again though nothing else changed."""
READ_EACH_S = (30.0, 60.0)
"""How long members are believed without a sign that they changed; `PER_NODE_S` longer for each, four times."""
READ_GAP_S = 1.0
"""Least time between two readings of the members; `PER_NODE_S` more for each."""
PER_NODE_S = 0.05
"""So the store is asked for a constant number of records per second, however many nodes ask."""
DEAD_PROBED_MS = 60_000
"""How long a node judged dead is still probed: the evidence stays, and a cut that ends is seen."""
VOUCHERS = 10
"""Nodes that probe a suspect in each interval, about: not all of a large mesh."""

_GONE = (NotFoundError, ConflictError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProberSettings:
    """Where a node's links are, and how it probes."""

    mesh: str
    node: str
    url: str
    """Of the store."""
    is_linked: bool = True
    """Whether to have links at all."""
    is_required: bool = False
    """Whether a node that cannot open its links does not start."""
    advertise: str = ""
    port: int = 0
    probes: ProbeOptions
    edges: EdgeRules = field(default_factory=EdgeRules)
    """By which the topology ages, whose thickest edges are probed."""
    view_file: Path | None = None
    """Where to write what it sees."""
    bridge: LinkBridge = field(default_factory=LinkBridge)
    """For those who ask other nodes from another loop."""


class Prober:
    """Open, run and close once, on one loop."""

    def __init__(self, settings: ProberSettings) -> None:
        self._settings = settings
        self._rng = Random()
        self._probing = Probing(settings.node, settings.probes, self._rng)
        half = (settings.probes.neighbours + 1) // 2  # the ring has the other, so that all stay connected
        self._surroundings = Surroundings(settings.node, settings.edges, count=half)
        self._links: SocketLinks | None = None
        self._membership = Membership(node_id=settings.node, incarnation=0)
        self._live_nodes = 0
        self._ahead_ms: float | None = None
        """By how much the store's clock is ahead of the loop's."""
        self._hub = (True, 0)
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._seen: object = None
        self._changed = asyncio.Event()
        self._outdated = asyncio.Event()
        self._outage = Outage(logger, "learning whom to probe")
        self._dropped = 0
        self._to_vouch: set[str] = set()
        self._vouching = asyncio.Event()

    async def open(self, backend: Backend) -> None:
        """Open the links, if this node is to have any.

        Raises:
            UnavailableError: the store is away; the same call again is harmless.
            ConfigurationError: links are required and cannot be opened.
            CorruptDataError: they are required, and the mesh's key is none.
        """
        settings = self._settings
        if self._links is not None:
            return
        if not settings.is_linked:
            logger.info("node %s has no links to other nodes: only the store says who is there", settings.node)
            return
        host = settings.advertise or await _host_towards(settings.url)
        place = Place(host=host, port=settings.port, is_translated=bool(settings.advertise))
        try:
            self._links = await open_links(place, await key_of(backend.records), clock=self._store_ms)
        except (ConfigurationError, CorruptDataError) as exc:
            if settings.is_required:
                raise
            logger.warning("node %s does without links: only the store says who is there: %s", settings.node, exc)
        else:
            self._links.listen(lambda address, payload: self._feed(Received(address, payload)))
            settings.bridge.opened(self._links)
            if settings.view_file is not None:
                await asyncio.to_thread(remove_left, settings.view_file.parent)
            logger.debug("node %s has its links at %s", settings.node, self._links.address)

    def located(self, profile: NodeProfile) -> NodeProfile:
        """Return the profile with the address of the links."""
        return profile if self._links is None else replace(profile, address=self._links.address)

    async def aclose(self) -> None:
        """Close the links and forget what was seen. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        if self._links is not None:
            self._settings.bridge.closed()
            await self._links.aclose()
            if self._settings.view_file is not None:
                with suppress(OSError):
                    await asyncio.to_thread(self._settings.view_file.unlink, missing_ok=True)

    def joined(self, membership: Membership) -> None:
        """The node is a member, for the first time or again."""
        self._membership = membership
        self._hub = (True, self._store_ms())
        self._feed(Joined(membership.incarnation))
        self._outdated.set()
        self._changed.set()

    def beaten(self, beat: Beat) -> None:
        """The store heard the node."""
        if self._links is None:
            return
        self._hear_hub(True)
        if beat.live_nodes != self._live_nodes:
            self._live_nodes = beat.live_nodes
            self._outdated.set()
        if beat.suspects:
            share = VOUCHERS / max(1, beat.live_nodes)
            chosen = [node for node in beat.suspects if self._rng.random() < share]
            self._feed(Suspects(chosen))

    def unheard(self) -> None:
        """The store did not answer."""
        self._hear_hub(False)

    async def run(self, backend: Backend) -> None:
        """Probe and report until cancelled. Ends at once without links."""
        if self._links is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_members(backend))
            group.create_task(self._keep_reporting(backend))
            group.create_task(self._keep_vouching(backend))
            group.create_task(self._surroundings.keep(backend.records, self._prefer, self._rng))

    # The machine

    def _feed(self, event: Event) -> None:
        links = self._links
        if links is None:
            return
        now_ms = self._now_ms()
        for action in self._probing.step(event, now_ms):
            match action:
                case Send(address=address, payload=payload):
                    links.send(address, payload)
                case Vouch(node=node):
                    self._to_vouch.add(node)
                    self._vouching.set()
                case Outdated():
                    self._outdated.set()
        self._wind()

    def _wind(self) -> None:
        """Set the timer to when the machine wants its next tick, if that is sooner than it is set to."""
        due = self._probing.due
        if due is None or (self._due is not None and self._due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = asyncio.get_running_loop().call_at(due / 1000, self._tick)

    def _tick(self) -> None:
        self._timer = self._due = None
        self._feed(Tick())
        self._notice()

    def _notice(self) -> None:
        """Have it reported if something is seen differently."""
        view = self._probing.view()
        seen = (view.reached.keys(), view.unreached.keys(), view.suspected)
        if seen != self._seen:
            self._seen = seen
            self._changed.set()
            self._settings.bridge.unreached = frozenset(view.unreached)

    def _now_ms(self) -> float:
        return asyncio.get_running_loop().time() * 1000

    def _store_ms(self) -> int:
        """Return the store's time, as far as it is known: all nodes seal by the same clock then."""
        return system_clock() if self._ahead_ms is None else round(self._now_ms() + self._ahead_ms)

    def _hear_hub(self, is_heard: bool) -> None:
        if self._links is not None and self._hub[0] != is_heard:
            self._hub = (is_heard, self._store_ms())
            self._changed.set()

    # The store

    async def _keep_members(self, backend: Backend) -> None:
        while True:
            try:
                nodes = await self._read(backend)
            except (UnavailableError, CorruptDataError) as exc:
                self._outage.met(exc)
                await asyncio.sleep(self._rng.uniform(1.0, 3.0))
                continue
            self._outage.over()
            self._tell_drops()
            await asyncio.sleep(READ_GAP_S + nodes * PER_NODE_S * self._rng.uniform(0.5, 1.5))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._rng.uniform(*READ_EACH_S) + 4 * nodes * PER_NODE_S):
                    await self._outdated.wait()

    def _prefer(self, nodes: Sequence[str]) -> None:
        self._feed(Neighbours(nodes))
        self._settings.bridge.weights = self._surroundings.weights

    def _tell_drops(self) -> None:
        links = self._links
        if links is not None and (dropped := sum(links.drops.values())) > self._dropped:
            self._dropped = dropped
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(links.drops.items()))
            logger.warning("node %s refused what came over its links, so far by reason: %s", links.address, reasons)

    async def _read(self, backend: Backend) -> int:
        """Learn who is a member; return how many there are."""
        self._outdated.clear()
        nodes = await backend.nodes.list(NodeFilter(include_dead=True))
        if nodes:
            self._ahead_ms = nodes[0].read_ms - self._now_ms()
        if self._links is not None:
            self._links.rekey(await key_of(backend.records))
        peers = {node.id: Peer(node.profile.address, node.incarnation) for node in nodes if _is_probed(node)}
        self._settings.bridge.nodes = {peer.address: node for node, peer in peers.items()}
        self._surroundings.meet(nodes)
        self._feed(Members(peers))
        self._notice()
        return len(nodes)

    async def _keep_reporting(self, backend: Backend) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S * self._rng.uniform(0.75, 1.25)):
                    await self._changed.wait()
            self._changed.clear()
            view = self._probing.view()
            await self._write(view)
            try:
                await backend.nodes.sight(self._membership, self._sightings(view))
            except UnavailableError:
                self._changed.set()
            except _GONE:
                logger.debug("what node %s sees is not reported: it is no member now", self._settings.node)
            await asyncio.sleep(REPORT_EACH_S * self._rng.uniform(1.0, 1.25))

    def _sightings(self, view: View) -> Sightings:
        return Sightings(
            reached=frozenset(view.reached),
            unreached=self._since(view),
            round_trip_ms={node: round(trip, 2) for node, trip in view.reached.items()},
            at_ms=self._store_ms(),
        )

    def _since(self, view: View) -> dict[str, int]:
        ahead_ms = self._store_ms() - self._now_ms()
        return {node: round(since + ahead_ms) for node, since in view.unreached.items()}

    async def _write(self, view: View) -> None:
        file, links = self._settings.view_file, self._links
        if file is None or links is None:
            return
        is_heard, since_ms = self._hub
        own = OwnView(
            mesh=self._settings.mesh,
            node=self._settings.node,
            pid=os.getpid(),
            incarnation=self._membership.incarnation,
            address=links.address,
            at_ms=self._store_ms(),
            hub_reachable=is_heard,
            hub_since_ms=since_ms,
            reached={node: round(trip, 2) for node, trip in view.reached.items()},
            unreached=self._since(view),
            suspected=tuple(sorted(view.suspected)),
        )
        try:
            await asyncio.to_thread(write, file, own)
        except OSError as exc:
            logger.debug("what node %s sees is not written to %s: %s", own.node, file, exc)

    async def _keep_vouching(self, backend: Backend) -> None:
        while True:
            await self._vouching.wait()
            await asyncio.sleep(0.02)  # answers come in bunches
            self._vouching.clear()
            nodes, self._to_vouch = self._to_vouch, set()
            try:
                await backend.nodes.vouch(self._membership, nodes)
            except (UnavailableError, *_GONE) as exc:
                logger.debug("nobody hears node %s vouch: %s", self._settings.node, exc)


def _is_probed(node: Node) -> bool:
    is_here = node.verdict is not Verdict.DEAD or node.beat_age_ms < DEAD_PROBED_MS
    return bool(node.profile.address) and is_here


def prober_of(
    profile: NodeProfile, *, url: str, mesh: str, settings: Settings, bridge: LinkBridge | None = None
) -> Prober:
    """Return the prober of a node that declares this, in the mesh whose store has this url."""
    own = settings.peers
    return Prober(
        ProberSettings(
            mesh=mesh,
            node=profile.id,
            url=url,
            is_linked=own.links_over(url),
            is_required=own.enabled == "on",
            advertise=own.advertise,
            port=profile.port,
            probes=own.probes(),
            edges=settings.topology.rules(),
            view_file=StateDir(Path(settings.state_dir)).view_file(mesh, profile.id),
            bridge=bridge or LinkBridge(),
        )
    )


async def _host_towards(url: str) -> str:
    """Return this machine's address on the way to the store; loopback when the store is on it."""
    parts = split_url(url)
    authority = parts.netloc.rpartition("@")[2].partition(",")[0]
    if parts.scheme in ("sqlite", "unix") or not authority:
        return LOOPBACK
    try:
        host, port = parts_of(authority)
    except InvalidArgumentError:
        host, port = authority.strip("[]"), 0
    return await local_host(host, port)
