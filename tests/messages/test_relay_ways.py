"""The way of a relayed message: the strongest path, round everybody who does not answer probes."""

import asyncio
from collections.abc import Mapping
from random import Random

import pytest

from meshd.messages.model import Message
from meshd.peers.in_memory import Network
from meshd.runtime.bridge import LinkBridge
from meshd.runtime.relay import TIMEOUT_MS, Home, LinkRelay, strongest

NODES = ("ada", "bob", "eve", "fay")


class Guest:
    """A node on which one agent lives, of the node's name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.got: list[Message] = []

    def lives_here(self, name: str) -> bool:
        return name == self.name

    def accept(self, message: Message) -> bool:
        self.got.append(message)
        return True


class Town:
    """Four nodes and their links, whose addresses are their names."""

    def __init__(self) -> None:
        self.network = Network(asyncio.get_running_loop().call_later, Random(7))
        self.guests = {name: Guest(name) for name in NODES}
        self.bridges = {name: LinkBridge() for name in NODES}
        self.relays = {name: LinkRelay(self.bridges[name], self.guests[name], max_bytes=10_000) for name in NODES}
        for name, bridge in self.bridges.items():
            bridge.opened(self.network.links(name))
            bridge.nodes = {other: other for other in NODES}
            self.relays[name].open()

    def cut(self, one: str, other: str) -> None:
        """Let nothing through between two nodes, whose probes have found out."""
        self.network.cut_both(one, other)
        for here, there in ((one, other), (other, one)):
            self.bridges[here].unreached |= {there}

    async def send(self, number: int) -> bool:
        message = Message(id=f"m{number}", sender="ada", to="fay", type="note", payload=number)
        return await self.relays["ada"].carry(message)

    @property
    def heard(self) -> list[object]:
        return [message.payload for message in self.guests["fay"].got]


async def test_a_message_goes_round_a_cut_over_one_node_between() -> None:
    town = Town()
    town.cut("ada", "fay")
    town.cut("bob", "fay")
    assert await town.send(1)
    assert town.heard == [1]


async def test_a_way_that_was_taken_is_left_as_soon_as_probes_miss_it() -> None:
    town = Town()
    assert await town.send(1)
    town.cut("ada", "fay")
    town.cut("bob", "fay")
    assert await town.send(2)
    town.bridges["bob"].unreached = frozenset()
    town.network.heal("bob", "fay")
    town.network.heal("fay", "bob")
    town.cut("ada", "eve")
    assert await town.send(3)
    assert town.heard == [1, 2, 3]


async def test_nobody_waits_for_a_node_that_answers_no_probes() -> None:
    town = Town()
    town.cut("ada", "bob")
    async with asyncio.timeout(TIMEOUT_MS / 1000):
        assert await town.send(1)


async def test_without_a_way_nothing_is_taken() -> None:
    town = Town()
    for other in ("ada", "bob", "eve"):
        town.cut(other, "fay")
    assert not await town.send(1)
    assert town.heard == []


DIRECT = Home(address="fay", is_there=True)
BOB = Home(address="bob", is_there=False, weight=0.9)
EVE = Home(address="eve", is_there=False, weight=0.6)


@pytest.mark.parametrize(
    ("weights", "avoid", "first"),
    [
        ({}, set[str](), DIRECT),
        ({"fay": 0.1, "bob": 0.9, "eve": 0.9}, set[str](), BOB),
        ({"fay": 0.1, "bob": 0.9, "eve": 0.9}, {"bob"}, EVE),
        ({"fay": 0.1, "bob": 0.1, "eve": 0.9}, set[str](), EVE),
        ({"fay": 0.0}, {"bob", "eve"}, DIRECT),
        ({"fay": 1.0, "bob": 1.0}, {"fay"}, BOB),
        ({}, {"fay", "bob", "eve"}, None),
    ],
)
def test_a_strong_detour_beats_a_thin_edge(weights: Mapping[str, float], avoid: set[str], first: Home | None) -> None:
    found = strongest([EVE, DIRECT, BOB], lambda address: weights.get(address, 0.5), avoid=frozenset(avoid))
    assert found is first
