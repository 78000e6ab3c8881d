"""The prober as a machine: what one event makes of it, without time or network."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.nodes.gossiping import Rumours
from meshd.nodes.neighbours import explored, fingers
from meshd.nodes.opinions import Opinions
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
    Vouch,
)
from meshd.nodes.probe_wire import MAX_GOSSIP, Ack, Ask, Gossip, Message, Ping, Standing, Word, decode, encode
from meshd.nodes.probing import MISSES, Probing
from meshd.nodes.suspicion import WORST, Health, Suspicion
from meshd.peers.in_memory import Weather
from meshd.peers.links import MAX_DATAGRAM_BYTES
from tests.peers.simulated import SimulatedMesh, address_of

LONGEST_NAME = "n" * 64


def peers(*names: str, life: int = 1) -> Members:
    return Members({name: Peer(address_of(name), life) for name in names})


class Bench:
    """One prober by hand: what it sends is read, what it hears is written."""

    def __init__(self, *others: str, options: ProbeOptions | None = None) -> None:
        self.now = 0.0
        self.machine = Probing("me", options or ProbeOptions(), Random(1))
        self.sent: list[tuple[str, Message]] = []
        self.vouched: list[str] = []
        self.outdated = 0
        self.feed(Joined(1))
        self.feed(peers(*others))

    def feed(self, event: Event) -> None:
        for action in self.machine.step(event, self.now):
            match action:
                case Send(address=address, payload=payload):
                    message = decode(payload)
                    assert message is not None
                    assert len(payload) <= MAX_DATAGRAM_BYTES
                    self.sent.append((address, message))
                case Vouch(node=node):
                    self.vouched.append(node)
                case Outdated():
                    self.outdated += 1

    def hear(self, source: str, message: Message) -> None:
        self.feed(Received(address_of(source), encode(message)))

    def pass_to_due(self) -> None:
        assert self.machine.due is not None
        self.now = self.machine.due
        self.feed(Tick())

    def take(self) -> list[tuple[str, Message]]:
        sent, self.sent = self.sent, []
        return sent

    def pings(self) -> list[Ping]:
        return [message for _, message in self.take() if isinstance(message, Ping)]

    def next_round(self) -> list[Ping]:
        """Let time pass until pings go out, and return them."""
        while True:
            self.pass_to_due()
            if pings := self.pings():
                return pings

    def answer(self, ping: Ping, *, life: int = 1, claim: int = 0) -> None:
        self.hear(ping.target, Ack(ping.number, ping.target, life, claim))


def test_a_node_is_reached_by_its_own_answer_to_a_direct_ping() -> None:
    bench = Bench("a", "b")
    pings = bench.next_round()
    assert {ping.target for ping in pings} == {"a", "b"}
    bench.now += 20
    bench.answer(next(ping for ping in pings if ping.target == "a"))
    view = bench.machine.view()
    assert (dict(view.reached), dict(view.unreached)) == ({"a": 20.0}, {})


def test_a_ping_of_a_node_does_not_make_it_reached() -> None:
    bench = Bench("a")
    bench.hear("a", Ping(1, "a", 1, "me"))
    assert isinstance(bench.take()[-1][1], Ack)
    assert not bench.machine.view().reached


def test_a_ping_for_another_name_is_not_answered() -> None:
    bench = Bench("a")
    bench.hear("a", Ping(1, "a", 1, "who was here before"))
    assert bench.take() == []


def test_an_edge_is_broken_by_the_fourth_miss_since_the_first() -> None:
    bench = Bench("a")
    first = bench.next_round()[0]
    bench.answer(first)
    sent_at: list[float] = []
    while not bench.machine.view().unreached:
        bench.pass_to_due()
        sent_at += [bench.now for _ in bench.pings()]
    assert bench.machine.view().unreached == {"a": sent_at[0]}
    assert len(sent_at) >= MISSES


def test_a_late_answer_mends_an_edge() -> None:
    bench = Bench("a")
    pings = bench.next_round()
    while not bench.machine.view().unreached:
        bench.pass_to_due()
        pings += bench.pings()
    bench.answer(pings[-1])
    assert set(bench.machine.view().reached) == {"a"}


def test_an_answer_by_way_of_a_third_keeps_a_node_from_being_suspected_and_mends_no_edge() -> None:
    bench = Bench("a", "b")
    for _ in range(12):
        bench.pass_to_due()
        for address, message in bench.take():
            if isinstance(message, Ping) and message.target == "b":
                bench.answer(message)
            elif isinstance(message, Ask):
                assert (address, message.target) == (address_of("b"), "a")
                bench.hear("b", Word(message.number, "b", 1, True))
    view = bench.machine.view()
    assert (set(view.reached), set(view.unreached), view.suspected) == ({"b"}, {"a"}, frozenset())


def test_whoever_is_asked_pings_and_says_how_it_went() -> None:
    for is_there in (True, False):
        bench = Bench("a", "b")
        bench.hear("b", Ask(7, "b", 1, "a", 300))
        (ping,) = bench.pings()
        if is_there:
            bench.answer(ping)
        else:
            bench.pass_to_due()
            while bench.now < 300:
                bench.pass_to_due()
        words = [(address, message) for address, message in bench.take() if isinstance(message, Word)]
        assert [(address, word.number, word.is_reached) for address, word in words] == [(address_of("b"), 7, is_there)]


def test_a_suspect_node_refutes_with_a_higher_claim() -> None:
    bench = Bench("a")
    accusation = Gossip("me", 1, 4, Standing.SUSPECT, "a")
    bench.hear("a", Ping(1, "a", 1, "me", (accusation,)))
    ack = bench.take()[-1][1]
    assert isinstance(ack, Ack)
    assert ack.claim == 5
    assert Gossip("me", 1, 5, Standing.ALIVE, "me") in ack.news
    assert bench.machine.health == 1


def test_an_accusation_of_an_earlier_life_is_none() -> None:
    bench = Bench("a")
    bench.hear("a", Ping(1, "a", 1, "me", (Gossip("me", 0, 4, Standing.FAILED, "a"),)))
    ack = bench.take()[-1][1]
    assert isinstance(ack, Ack)
    assert ack.claim == 0


def test_a_suspect_is_told_what_is_said_of_it() -> None:
    bench = Bench("a", "b")
    accusation = Gossip("a", 1, 0, Standing.SUSPECT, "b")
    bench.hear("b", Ping(1, "b", 1, "me", (accusation,)))
    assert bench.machine.view().suspected == {"a"}
    for ping in bench.next_round():
        if ping.target == "a":
            assert accusation in ping.news
            bench.answer(ping, claim=1)
    assert bench.machine.view().suspected == frozenset()


def test_nobody_is_late_when_the_prober_itself_stood_still() -> None:
    bench = Bench("a")
    pings = bench.next_round()
    bench.answer(pings[0])
    pings = bench.next_round()
    bench.now += 60_000
    bench.feed(Tick())
    bench.answer(pings[0])
    assert set(bench.machine.view().reached) == {"a"}
    assert bench.machine.health == 0


def test_a_node_that_came_back_starts_anew() -> None:
    bench = Bench("a")
    bench.next_round()
    while not bench.machine.view().unreached:
        bench.pass_to_due()
    bench.feed(peers("a", life=2))
    view = bench.machine.view()
    assert (dict(view.reached), dict(view.unreached), view.suspected) == ({}, {}, frozenset())


def test_whoever_is_not_among_the_members_shows_that_they_changed() -> None:
    bench = Bench("a")
    bench.hear("a", Ping(1, "a", 1, "me"))
    assert bench.outdated == 0
    bench.hear("new", Ping(1, "new", 1, "me"))
    assert bench.outdated == 1
    again = Bench("a")
    again.hear("a", Ping(1, "a", 2, "me"))
    assert again.outdated == 1


def test_those_the_store_does_not_hear_are_probed_at_once_and_vouched_for() -> None:
    bench = Bench("a", "b", "c", options=ProbeOptions(neighbours=1))
    bench.feed(Suspects(["b", "stranger"]))
    (ping,) = bench.pings()
    assert (ping.target, bench.vouched) == ("b", [])
    bench.answer(ping)
    assert bench.vouched == ["b"]


def test_an_answer_of_another_life_vouches_for_nobody() -> None:
    bench = Bench("a")
    bench.feed(Suspects(["a"]))
    (ping,) = bench.pings()
    bench.answer(ping, life=2)
    assert bench.vouched == []
    assert bench.outdated == 1


def test_given_neighbours_are_probed_and_one_by_chance() -> None:
    bench = Bench(*"abcdefgh", options=ProbeOptions(neighbours=2))
    bench.feed(Neighbours(["c", "f", "gone"]))
    targets = {ping.target for ping in bench.next_round()}
    assert {"c", "f"} < targets
    assert len(targets) == 3


@given(st.binary(max_size=200))
def test_no_bytes_are_too_strange(data: bytes) -> None:
    bench = Bench("a")
    bench.feed(Received("x:1", data))


def test_the_largest_message_fits_one_datagram() -> None:
    worst = Gossip(LONGEST_NAME, 2**62, 2**62, Standing.FAILED, LONGEST_NAME)
    news = (worst,) * MAX_GOSSIP
    ask = Ask(2**62, LONGEST_NAME, 2**62, LONGEST_NAME, 2**31, news)
    assert len(encode(ask)) <= MAX_DATAGRAM_BYTES
    assert decode(encode(ask)) == ask
    ping = Ping(1, "reader-1", 1_795_298_418_113_766, "reader-2")
    assert len(encode(ping)) < 48


@given(st.permutations(range(6)), st.data())
def test_all_who_heard_the_same_think_the_same(order: list[int], data: st.DataObject) -> None:
    standings = st.sampled_from(Standing)
    news = [Gossip("a", 1, data.draw(st.integers(0, 3)), data.draw(standings), "b") for _ in range(6)]

    def heard(gossip: list[Gossip]) -> tuple[int, Standing] | None:
        opinions = Opinions(Rumours(), interval=1_000)
        for one in gossip:
            opinions.hear(one, 0.0, members=5)
        doubt = opinions.doubt("a")
        return None if doubt is None else (doubt.claim, doubt.standing)

    assert heard(news) == heard([news[index] for index in order])


def test_a_suspicion_shortens_from_longest_to_shortest_by_the_logarithm_of_its_confirmations() -> None:
    suspicion = Suspicion.of(began=0, interval=1_000, members=10)
    assert (suspicion.shortest, suspicion.longest) == (4_000, 24_000)
    suspicion.confirm("first")
    assert suspicion.ends == 24_000
    suspicion.confirm("second")
    assert suspicion.ends == pytest.approx(24_000 - 20_000 * 0.6309, abs=10)
    assert not suspicion.confirm("second")
    suspicion.confirm("third")
    assert suspicion.ends == 4_000
    assert not suspicion.confirm("fourth")


def test_a_mesh_too_small_for_confirmations_suspects_for_the_shortest_time() -> None:
    assert Suspicion.of(began=0, interval=1_000, members=3).ends == 4_000


def test_health_stays_within_its_bounds() -> None:
    health = Health()
    health.add(-3)
    assert health.stretch == 1
    health.add(100)
    assert health.score == WORST


def test_rumours_are_told_some_times_each_and_then_no_more() -> None:
    rumours = Rumours()
    for number in range(20):
        rumours.add(Gossip(f"n{number}", 1, 1, Standing.ALIVE, "x"), members=20)
    told: dict[str, int] = {}
    while taken := rumours.take():
        assert len(taken) <= MAX_GOSSIP
        for gossip in taken:
            told[gossip.node] = told.get(gossip.node, 0) + 1
    assert set(told.values()) == {8}
    assert len(told) == 20


@pytest.mark.parametrize("count", [2, 5, 9, 10, 30, 200])
def test_the_choices_of_all_connect_them(count: int) -> None:
    names = [f"node-{number}" for number in range(count)]
    chosen = {name: fingers(name, [other for other in names if other != name], count=8) for name in names}
    assert all(len(set(of_one)) == min(8, count - 1) and name not in of_one for name, of_one in chosen.items())
    found, edge = {names[0]}, [names[0]]
    while edge:
        near = set(chosen[edge.pop()]) - found
        found |= near
        edge += near
    assert found == set(names)
    chosen_by = [sum(name in of_one for of_one in chosen.values()) for name in names]
    assert max(chosen_by) <= 2 * min(8, count - 1)


def test_exploring_finds_only_what_is_not_known() -> None:
    assert explored("abc", known="ab", count=5, rng=Random(0)) == ["c"]
    assert len(explored([f"n{n}" for n in range(50)], known=["n1"], count=3, rng=Random(0))) == 3


def test_a_part_of_a_large_mesh_that_is_cut_off_finds_itself() -> None:
    mesh = SimulatedMesh(60, seed=3, weather=Weather(delay_ms=5))
    mesh.run(5)
    part = {f"n{number}" for number in range(1, 13)}
    mesh.split(part)
    mesh.hub.cut = part
    mesh.run(40)
    assert [set(side.nodes) for side in mesh.partitions()] == [mesh.nodes.keys() - part, part]


def test_what_is_under_way_stays_bounded_while_nobody_answers() -> None:
    bench = Bench(*(f"n{number}" for number in range(30)))
    for _ in range(2_000):
        bench.pass_to_due()
        bench.take()
    assert bench.machine.under_way < 200
