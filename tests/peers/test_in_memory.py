"""Links of the simulator keep the promises of the port, on virtual time."""

import asyncio
from random import Random

import pytest

from meshd.errors import InvalidArgumentError, PeerUnreachableError
from meshd.peers.in_memory import Network, Weather
from meshd.peers.links import MAX_BODY_BYTES, MAX_DATAGRAM_BYTES, PeerLinks
from tests.simulator.loop import run


def a_network(*, weather: Weather | None = None) -> Network:
    return Network(asyncio.get_running_loop().call_later, Random(1), weather or Weather(delay_ms=10))


async def echo(body: bytes) -> bytes:
    return body


def test_a_datagram_arrives_after_its_delay_with_its_sender() -> None:
    async def scenario() -> None:
        network, loop = a_network(), asyncio.get_running_loop()
        one, other = network.links("a:1"), network.links("b:1")
        heard: list[tuple[float, str, bytes]] = []
        other.listen(lambda address, payload: heard.append((loop.time(), address, payload)))
        one.send("b:1", b"hello")
        one.send("nobody:1", b"lost")
        await asyncio.sleep(1)
        assert [(round(at, 3), address, payload) for at, address, payload in heard] == [(0.01, "a:1", b"hello")]
        with pytest.raises(InvalidArgumentError):
            one.send("b:1", b"x" * (MAX_DATAGRAM_BYTES + 1))

    run(scenario())


def test_loss_takes_its_share_and_a_cut_takes_one_direction() -> None:
    async def scenario() -> None:
        network = a_network(weather=Weather(loss=0.25))
        ends: list[PeerLinks] = [network.links("a:1"), network.links("b:1")]
        heard: list[str] = []
        for links in ends:
            links.listen(lambda address, _payload: heard.append(address))
        network.cut("a:1", "b:1")
        for _ in range(1_000):
            ends[0].send("b:1", b"x")
            ends[1].send("a:1", b"x")
        await asyncio.sleep(1)
        assert set(heard) == {"b:1"}
        assert 700 < len(heard) < 800
        network.heal("a:1", "b:1")
        ends[0].send("b:1", b"x")
        await asyncio.sleep(1)

    run(scenario())


def test_an_answer_that_fails_is_told_as_failed() -> None:
    async def scenario() -> None:
        network = a_network()
        one, other = network.links("a:1"), network.links("b:1")

        async def refuse(_: bytes) -> bytes:
            raise KeyError("no luck")

        other.answer("refuse", refuse)
        with pytest.raises(PeerUnreachableError, match="answer to 'refuse' failed"):
            await one.request("b:1", "refuse", b"", timeout_ms=1_000)

    run(scenario())


def test_requests_are_answered_or_unreachable_in_time() -> None:
    async def scenario() -> None:
        network = a_network()
        one, other = network.links("a:1"), network.links("b:1")
        other.answer("echo", echo)
        assert await one.request("b:1", "echo", b"hi", timeout_ms=100) == b"hi"
        with pytest.raises(InvalidArgumentError, match="'nothing'"):
            await one.request("b:1", "nothing", b"", timeout_ms=100)
        with pytest.raises(InvalidArgumentError, match="over the limit"):
            await one.request("b:1", "echo", b"x" * (MAX_BODY_BYTES + 1), timeout_ms=100)
        for source, target in (("a:1", "b:1"), ("b:1", "a:1")):
            network.cut(source, target)
            with pytest.raises(PeerUnreachableError, match="no reply in 100 ms"):
                await one.request("b:1", "echo", b"hi", timeout_ms=100)
            network.heal(source, target)
        await other.aclose()
        await other.aclose()
        with pytest.raises(PeerUnreachableError):
            await one.request("b:1", "echo", b"hi", timeout_ms=100)

    run(scenario())
