"""A node's prober: which other nodes it reaches, and which nobody does (SWIM with Lifeguard), as a pure state machine.

Times are milliseconds on any clock that only runs forward. What is reached is said of an edge, not of a node: a node is
**reached** only by its own answer to a direct ping, so both directions work; loss in one direction breaks the edge for
both ends. An answer through a third node keeps a node from being suspected, and mends no edge.

Invariant: everything kept is bounded by the members and by `MAX_UNDER_WAY`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median

from meshd.nodes.gossiping import Rumours
from meshd.nodes.neighbours import explored, fingers
from meshd.nodes.opinions import Opinions
from meshd.nodes.probe_model import (
    Action,
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
from meshd.nodes.probe_wire import Ack, Ask, Gossip, Message, Ping, Standing, Word, decode, encode
from meshd.nodes.suspicion import Health

MISSES = 4
"""Pings in a row without an answer after which an edge is broken."""
LATE_MS = 5_000.0
"""How long an answer still counts."""
LONGEST_MS = 4_500.0
"""Longest wait for an answer, however slow the way and however doubtful the prober."""
EARLY_MS = 1.0
"""How early a tick may come and still be the one that is due: timers are not exact."""
MAX_UNDER_WAY = 1_024
"""Most pings waited for at once."""
SAMPLES = 15
"""Round trips a median is taken of."""
EXPLORED_ROUNDS = 10
"""Rounds for which the nodes chosen by chance stay the same."""
WATCHED_MS = 10_000.0
"""How long a node that was to be probed at once stays among the probed."""


@dataclass(slots=True)
class _Known:
    """What is known of one member."""

    peer: Peer
    misses: int = 0
    missing_since: float = 0.0
    """When the first of those pings was sent."""
    round_trips: tuple[float, ...] = ()
    """The last ones; empty until it has answered."""

    @property
    def is_broken(self) -> bool:
        return self.misses >= MISSES

    @property
    def is_reached(self) -> bool:
        return bool(self.round_trips) and not self.is_broken


@dataclass(slots=True, kw_only=True)
class _Probe:
    """One ping that is under way."""

    target: str
    sent: float
    deadline: float
    counts: bool = True
    """Whether its loss says something of the edge: not when somebody else asked for it, or the store did."""
    vouches: bool = False
    asker: tuple[str, int] | None = None
    """Address and number of the ask it is sent for."""
    is_asked: bool = False
    """Helpers are asked; the deadline is theirs."""
    expected: int = 0
    """Helpers that have said nothing yet."""
    is_settled: bool = False
    """Only a late answer is still waited for."""


class Probing:
    """Feed it every event with the time; carry out what it returns, and feed it a `Tick` at `due`."""

    def __init__(self, me: str, options: ProbeOptions, rng: Random) -> None:
        self._me = me
        self._options = options
        self._rng = rng
        self._life = 0
        self._claim = 0
        self._known: dict[str, _Known] = {}
        self._given: Sequence[str] = ()
        self._neighbours: Sequence[str] | None = None
        self._explored: Sequence[str] = ()
        self._watched: dict[str, float] = {}
        self._rounds = 0
        self._numbers = rng.getrandbits(32)
        self._under_way: dict[int, _Probe] = {}
        self._rumours = Rumours()
        self._opinions = Opinions(self._rumours, interval=options.interval_ms)
        self._health = Health()
        self._round_at: float | None = None
        self._out: list[Action] = []

    @property
    def due(self) -> float | None:
        """When the next tick is due; `None`: not before another event."""
        deadlines = [probe.deadline for probe in self._under_way.values()]
        others = [at for at in (self._opinions.ends, self._round_at) if at is not None]
        return min([*deadlines, *others], default=None)

    @property
    def health(self) -> int:
        """How much the prober doubts itself, 0 to 8."""
        return self._health.score

    @property
    def under_way(self) -> int:
        """Pings that are waited for."""
        return len(self._under_way)

    def step(self, event: Event, now: float) -> list[Action]:
        """Take in `event`; return what is to be done, in order."""
        self._out = []
        match event:
            case Tick():
                self._tick(now)
            case Received(address=address, payload=payload):
                message = decode(payload)
                if message is not None:
                    self._receive(address, message, now)
            case Joined(life=life):
                if life != self._life:
                    self._life, self._claim = life, 0
            case Members(peers=peers):
                self._meet(peers, now)
            case Neighbours(nodes=nodes):
                self._given, self._neighbours = tuple(nodes), None
            case Suspects(nodes=nodes):
                for node in nodes:
                    if node in self._known:
                        self._watched[node] = now + WATCHED_MS
                        self._ping(node, now, counts=False, vouches=True)
        return self._out

    def view(self) -> View:
        """Return what is known of the nodes probed now, and who is suspected at all."""
        probed = {node: self._known[node] for node in self._targets()}
        return View(
            reached={node: median(known.round_trips) for node, known in probed.items() if known.is_reached},
            unreached={node: known.missing_since for node, known in probed.items() if known.is_broken},
            suspected=self._opinions.doubted,
        )

    # Members and choice

    def _meet(self, peers: Mapping[str, Peer], now: float) -> None:
        peers = {node: peer for node, peer in peers.items() if node != self._me}
        if peers.keys() != self._known.keys():
            self._neighbours = None
        gone = self._known.keys() - peers.keys()
        new = {node: _Known(peer) for node, peer in peers.items() if self._peer_of(node) != peer}
        self._known = {node: known for node, known in self._known.items() if node not in gone} | new
        self._opinions.forget({*gone, *new})
        self._watched = {node: until for node, until in self._watched.items() if node not in gone}
        self._under_way = {number: probe for number, probe in self._under_way.items() if probe.target in self._known}
        self._explored = [node for node in self._explored if node in self._known]
        if self._round_at is None and self._known:
            self._round_at = now + self._rng.uniform(0, self._options.interval_ms)
        elif not self._known:
            self._round_at = None

    def _peer_of(self, node: str) -> Peer | None:
        known = self._known.get(node)
        return None if known is None else known.peer

    @property
    def _size(self) -> int:
        return len(self._known) + 1

    def _chosen(self) -> Sequence[str]:
        if self._neighbours is None:
            count = self._options.neighbours
            given = [node for node in self._given if node in self._known][:count]
            self._neighbours = list(dict.fromkeys((*given, *fingers(self._me, self._known, count=count))))[:count]
        return self._neighbours

    def _targets(self) -> list[str]:
        return list(dict.fromkeys((*self._chosen(), *self._explored, *self._watched)))

    def _explore(self) -> None:
        """One node by chance, and one more for each broken edge: a cut-off part finds itself so."""
        broken = sum(self._known[node].is_broken for node in self._chosen())
        wanted = 1 + min(broken, self._options.neighbours)
        if self._rounds % EXPLORED_ROUNDS == 0 or len(self._explored) < wanted:
            self._explored = explored(self._known, known=self._chosen(), count=wanted, rng=self._rng)

    # Time

    def _tick(self, now: float) -> None:
        due = self.due
        if due is None:
            return
        late = now - due
        if -EARLY_MS <= late < 0:
            now = due
        if late > self._options.timeout_ms / 2:
            self._stalled(late, now)
        for number, probe in list(self._under_way.items()):
            if probe.deadline <= now:
                self._expire(number, probe, now)
        self._opinions.settle(now, members=self._size)
        if self._round_at is not None and self._round_at <= now:
            interval = self._options.interval_ms
            self._round_at += interval * (1 + (now - self._round_at) // interval)
            self._round(now)

    def _stalled(self, late: float, now: float) -> None:
        """This process stood still: answers may lie unread, so nobody is late by that."""
        self._health.add(1)
        for probe in self._under_way.values():
            probe.deadline = max(probe.deadline + late, now + self._options.timeout_ms / 2)
        self._opinions.delay(late)

    def _round(self, now: float) -> None:
        self._watched = {node: until for node, until in self._watched.items() if until > now}
        self._explore()
        self._rounds += 1
        for node in self._targets():
            self._ping(node, now)

    def _timeout(self, known: _Known) -> float:
        usual = median(known.round_trips) if known.round_trips else 0.0
        return min(LONGEST_MS, max(self._options.timeout_ms, 2.5 * usual) * self._health.stretch)

    def _expire(self, number: int, probe: _Probe, now: float) -> None:
        known = self._known[probe.target]
        if probe.is_settled:
            del self._under_way[number]
            return
        if probe.asker is not None:
            self._send(probe.asker[0], Word(probe.asker[1], self._me, self._life, False, self._rumours.take()))
        elif not probe.is_asked and probe.counts:
            self._missed(known, probe)
            if not self._opinions.has_failed(probe.target):
                self._ask(number, probe, known, now)
                return
        elif probe.is_asked:
            self._health.add(probe.expected)
            self._opinions.suspect(probe.target, now, life=known.peer.life, by=self._me, members=self._size)
        probe.is_settled = True
        probe.deadline = max(now, probe.sent + LATE_MS)

    def _missed(self, known: _Known, probe: _Probe) -> None:
        if known.misses == 0:
            known.missing_since = probe.sent
        known.misses += 1

    def _ask(self, number: int, probe: _Probe, known: _Known, now: float) -> None:
        """Ask others to try; without anyone to ask, wait as long for a late answer."""
        helpers = [node for node, other in self._known.items() if node != probe.target and other.is_reached]
        if len(helpers) > self._options.indirect:
            helpers = self._rng.sample(helpers, self._options.indirect)
        wait = 2 * self._timeout(known)
        for helper in helpers:
            message = Ask(number, self._me, self._life, probe.target, round(wait / 2), self._rumours.take())
            self._send(self._known[helper].peer.address, message)
        if not helpers:
            self._health.add(1)
        probe.is_asked, probe.expected, probe.deadline = True, len(helpers), now + wait

    # Messages

    def _ping(
        self,
        node: str,
        now: float,
        *,
        counts: bool = True,
        vouches: bool = False,
        asker: tuple[str, int] | None = None,
        wait: float | None = None,
    ) -> None:
        if len(self._under_way) >= MAX_UNDER_WAY:
            return
        known = self._known[node]
        self._numbers += 1
        timeout = min(self._timeout(known), 2 * self._options.interval_ms) if wait is None else wait
        self._under_way[self._numbers] = _Probe(
            target=node, sent=now, deadline=now + timeout, counts=counts, vouches=vouches, asker=asker
        )
        news = self._rumours.take(self._opinions.doubt(node))
        self._send(known.peer.address, Ping(self._numbers, self._me, self._life, node, news))

    def _receive(self, address: str, message: Message, now: float) -> None:
        if message.source == self._me:
            return
        for gossip in message.news:
            self._hear(gossip, now)
        match message:
            case Ping():
                self._greet(address, message)
            case Ask():
                self._greet(address, message)
                if message.target in self._known:
                    asker = (address, message.number)
                    self._ping(message.target, now, counts=False, asker=asker, wait=float(message.wait_ms))
            case Ack():
                self._answered(message, now)
            case Word():
                self._reported(message)

    def _greet(self, address: str, message: Ping | Ask) -> None:
        known = self._known.get(message.source)
        if (
            known is None
            or message.life > known.peer.life
            or (message.life == known.peer.life and address != known.peer.address)
        ):
            self._out.append(Outdated())
        if isinstance(message, Ping) and message.target == self._me:
            news = self._rumours.take()
            self._send(address, Ack(message.number, self._me, self._life, self._claim, news))

    def _answered(self, ack: Ack, now: float) -> None:
        probe = self._under_way.get(ack.number)
        if probe is None or probe.target != ack.source:
            return
        del self._under_way[ack.number]
        known = self._known[ack.source]
        if ack.life != known.peer.life:
            if ack.life > known.peer.life:
                self._out.append(Outdated())
            return
        known.round_trips = (*known.round_trips[1 - SAMPLES :], now - probe.sent)
        known.misses = 0
        self._health.add(-1)
        self._hear(Gossip(ack.source, ack.life, ack.claim, Standing.ALIVE, ack.source), now)
        if probe.asker is not None:
            self._send(probe.asker[0], Word(probe.asker[1], self._me, self._life, True, self._rumours.take()))
        if probe.vouches:
            self._out.append(Vouch(ack.source))

    def _reported(self, word: Word) -> None:
        probe = self._under_way.get(word.number)
        if probe is None or not probe.is_asked or probe.is_settled:
            return
        probe.expected = max(0, probe.expected - 1)
        if word.is_reached:
            probe.is_settled = True
            probe.deadline = probe.sent + LATE_MS

    # News

    def _hear(self, gossip: Gossip, now: float) -> None:
        if gossip.node == self._me:
            self._refute(gossip)
            return
        known = self._known.get(gossip.node)
        if known is not None and gossip.life == known.peer.life:
            self._opinions.hear(gossip, now, members=self._size)

    def _refute(self, gossip: Gossip) -> None:
        if gossip.standing is Standing.ALIVE or gossip.life != self._life or gossip.claim < self._claim:
            return
        self._claim = gossip.claim + 1
        self._health.add(1)
        mine = Gossip(self._me, self._life, self._claim, Standing.ALIVE, self._me)
        self._rumours.add(mine, members=self._size)

    def _send(self, address: str, message: Message) -> None:
        self._out.append(Send(address, encode(message)))
