"""Real links on loopback: what arrives, what is refused, and what never holds up anybody."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from meshd.errors import ConfigurationError, InvalidArgumentError, PeerUnreachableError, StoreUnreachableError
from meshd.peers import sockets, streams
from meshd.peers.addresses import joined, local_host, parts_of
from meshd.peers.links import MAX_BODY_BYTES, MAX_DATAGRAM_BYTES, PeerLinks
from meshd.peers.sealing import Kind, Seal
from meshd.peers.sockets import Place, SocketLinks, open_links
from tests.support.redis_server import free_port
from tests.support.waiting import wait_until

KEY = b"k" * 32
Open = Callable[..., Awaitable[SocketLinks]]
SOON_MS = 5_000


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Opens links, and closes them afterwards."""
    links: list[SocketLinks] = []

    async def open_more(key: bytes = KEY, *, host: str = "127.0.0.1", port: int = 0) -> SocketLinks:
        links.append(await open_links(Place(host=host, port=port), key))
        return links[-1]

    yield open_more
    for each in links:
        await each.aclose()


def heard_by(links: PeerLinks) -> list[tuple[str, bytes]]:
    heard: list[tuple[str, bytes]] = []
    links.listen(lambda address, payload: heard.append((address, payload)))
    return heard


async def echo(body: bytes) -> bytes:
    return body


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_datagram_arrives_with_its_sender(opened: Open, host: str) -> None:
    one, other = await opened(host=host), await opened(host=host)
    heard = heard_by(other)
    one.send(other.address, b"x" * MAX_DATAGRAM_BYTES)
    await wait_until(lambda: heard)
    assert heard == [(one.address, b"x" * MAX_DATAGRAM_BYTES)]


async def test_a_name_is_resolved_without_holding_up_anybody(opened: Open) -> None:
    one, other = await opened(), await opened(host="localhost")
    heard = heard_by(other)
    assert other.address.startswith("localhost:")
    one.send(other.address, b"lost while the name is looked up")

    def ping() -> list[tuple[str, bytes]]:
        one.send(other.address, b"ping")
        return heard

    await wait_until(ping)
    assert set(heard) == {(one.address, b"ping")}


async def test_a_name_that_moves_is_followed(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "RESOLVED_S", 0.02)
    means = ["127.0.0.1"]

    async def look(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if not means:
            raise socket.gaierror(socket.EAI_AGAIN, "no name service")
        return [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", (means[0], port))]

    one, first = await opened(), await opened()
    port = parts_of(first.address)[1]
    second = await opened(host="127.0.0.2", port=port)
    assert second.address == f"127.0.0.2:{port}"
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look)

    def arrives(links: SocketLinks) -> Callable[[], bool]:
        before = links.drops.get("checksum", 0)

        def sent() -> bool:
            one.send(f"peer.example:{port}", b"ping")
            return links.drops.get("checksum", 0) > before

        return sent

    await wait_until(arrives(first))
    means[0] = "127.0.0.2"
    await wait_until(arrives(second))
    means.clear()
    await wait_until(arrives(second))


async def test_a_datagram_over_the_limit_is_refused_to_the_sender(opened: Open) -> None:
    one = await opened()
    with pytest.raises(InvalidArgumentError, match="1201 bytes"):
        one.send(one.address, b"x" * 1_201)


async def test_foreign_damaged_oversized_and_replayed_datagrams_are_dropped_and_counted(opened: Open) -> None:
    links = await opened()
    heard = heard_by(links)
    good, _ = Seal(KEY).close(Kind.DATAGRAM, b"good", sender="127.0.0.1:1", receiver=links.address)
    foreign, _ = Seal(b"f" * 32).close(Kind.DATAGRAM, b"bad", sender="127.0.0.1:1", receiver=links.address)
    damaged = good[:-1] + bytes((good[-1] ^ 1,))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for data in (foreign, damaged, b"x" * 2_000, b"", good, good):
            stranger.sendto(data, parts_of(links.address))
    await wait_until(lambda: sum(links.drops.values()) == 5)
    assert links.drops == {"checksum": 2, "size": 2, "replay": 1}
    assert heard == [("127.0.0.1:1", b"good")]


async def test_a_taken_port_makes_way_for_another(opened: Open) -> None:
    port = free_port()
    first, second = await opened(port=port), await opened(port=port)
    assert first.address == f"127.0.0.1:{port}"
    assert second.address not in {first.address, "127.0.0.1:0"}


async def test_an_address_this_machine_does_not_have_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1:0.*peers\.advertise"):
        await open_links(Place(host="192.0.2.1"), KEY)


async def test_requests_are_answered_over_one_connection(opened: Open) -> None:
    one, other = await opened(), await opened()
    other.answer("echo", echo)
    for size in (0, 10, MAX_BODY_BYTES):
        assert await one.request(other.address, "echo", b"y" * size, timeout_ms=SOON_MS) == b"y" * size
    assert (one.connections, other.connections) == (1, 1)


async def test_requests_at_once_are_all_answered_and_one_connection_is_kept(opened: Open) -> None:
    one, other = await opened(), await opened()
    other.answer("echo", echo)
    bodies = [bytes([number]) for number in range(20)]
    replies = await asyncio.gather(*(one.request(other.address, "echo", b, timeout_ms=SOON_MS) for b in bodies))
    assert replies == bodies
    assert one.connections == 1


async def test_a_kind_nobody_answers_is_a_wrong_call(opened: Open) -> None:
    one, other = await opened(), await opened()
    with pytest.raises(InvalidArgumentError, match="'nothing'"):
        await one.request(other.address, "nothing", b"", timeout_ms=SOON_MS)


async def test_a_body_over_the_limit_is_refused_before_it_is_sent(opened: Open) -> None:
    one = await opened()
    with pytest.raises(InvalidArgumentError, match="over the limit"):
        await one.request("127.0.0.1:1", "echo", b"x" * (MAX_BODY_BYTES + 1), timeout_ms=SOON_MS)


async def test_a_request_without_a_reply_ends_in_time(opened: Open) -> None:
    one, other = await opened(), await opened()

    async def never(_: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    other.answer("never", never)
    with pytest.raises(PeerUnreachableError, match="no reply in 50 ms"):
        await one.request(other.address, "never", b"", timeout_ms=50)
    assert one.connections == 0


async def test_an_answer_nobody_waits_for_any_more_is_given_up(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LOOKED_S", 0.02)
    one, other = await opened(), await opened()
    given_up = asyncio.Event()

    async def never(_: bytes) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()
        return b""

    other.answer("never", never)
    with pytest.raises(PeerUnreachableError):
        await one.request(other.address, "never", b"", timeout_ms=50)
    async with asyncio.timeout(SOON_MS / 1000):
        await given_up.wait()
    await wait_until(lambda: other.connections == 0)


@pytest.mark.parametrize(
    "error",
    [StoreUnreachableError("no luck"), KeyError("no luck"), UnicodeDecodeError("utf-8", b"", 0, 1, "no luck"),
     OSError("no luck"), TimeoutError("no luck")],
)  # fmt: skip
async def test_an_answer_that_fails_is_told_as_failed_and_the_next_is_made_on_the_same_connection(
    opened: Open, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    one, other = await opened(), await opened()

    async def refuse(_: bytes) -> bytes:
        raise error

    other.answer("refuse", refuse)
    other.answer("echo", echo)
    with pytest.raises(PeerUnreachableError, match="answer to 'refuse' failed"):
        await one.request(other.address, "refuse", b"", timeout_ms=SOON_MS)
    assert "no luck" in caplog.text
    assert await one.request(other.address, "echo", b"2", timeout_ms=SOON_MS) == b"2"
    assert (one.connections, other.connections) == (1, 1)
    assert "Unhandled exception" not in caplog.text


async def test_a_port_nobody_listens_on_is_unreachable(opened: Open) -> None:
    one = await opened()
    with pytest.raises(PeerUnreachableError):
        await one.request(f"127.0.0.1:{free_port()}", "echo", b"", timeout_ms=SOON_MS)


async def test_a_request_of_a_foreign_mesh_is_not_answered(opened: Open) -> None:
    foreign, mine = await opened(b"f" * 32), await opened()
    mine.answer("echo", echo)
    with pytest.raises(PeerUnreachableError, match="closed"):
        await foreign.request(mine.address, "echo", b"", timeout_ms=SOON_MS)
    assert mine.drops == {"checksum": 1}


async def test_a_frame_that_says_it_is_too_large_is_not_read(opened: Open) -> None:
    links = await opened()
    reader, writer = await asyncio.open_connection(*parts_of(links.address))
    writer.write(b"\xff\xff\xff\xff")
    assert await reader.read() == b""
    writer.close()


async def test_half_open_peers_are_cut_off(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "FIRST_S", 0.1)
    monkeypatch.setattr(streams, "FRAME_S", 0.1)
    links = await opened()
    for said in (b"", b"\x00\x00", b"\x00\x00\x00\x10half"):
        reader, writer = await asyncio.open_connection(*parts_of(links.address))
        writer.write(said)
        assert await reader.read() == b""
        writer.close()
    await wait_until(lambda: links.connections == 0)


async def test_more_connections_than_the_limit_are_turned_away(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_CONNECTIONS", 2)
    links = await opened()
    held = [await asyncio.open_connection(*parts_of(links.address)) for _ in range(2)]
    await wait_until(lambda: links.connections == 2)
    reader, writer = await asyncio.open_connection(*parts_of(links.address))
    with suppress(ConnectionError):
        assert await reader.read() == b""
    for one in (*(writer for _, writer in held), writer):
        one.close()
    assert links.drops == {"connections": 1}


async def test_an_unused_connection_is_closed(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEPT_IDLE_S", 0.05)
    one, other = await opened(), await opened()
    other.answer("echo", echo)
    await one.request(other.address, "echo", b"", timeout_ms=SOON_MS)
    await wait_until(lambda: (one.connections, other.connections) == (0, 0))


async def test_a_node_that_came_back_is_asked_anew(opened: Open) -> None:
    one = await opened()
    first = await opened()
    first.answer("echo", echo)
    await one.request(first.address, "echo", b"1", timeout_ms=SOON_MS)
    await first.aclose()
    second = await opened(port=parts_of(first.address)[1])
    second.answer("echo", echo)
    assert second.address == first.address

    async def is_answered() -> bool:
        try:
            return await one.request(second.address, "echo", b"2", timeout_ms=SOON_MS) == b"2"
        except PeerUnreachableError:
            return False

    await wait_until(is_answered)


async def test_closing_ends_every_request(opened: Open) -> None:
    one, other = await opened(), await opened()
    asked = asyncio.Event()

    async def never(_: bytes) -> bytes:
        asked.set()
        await asyncio.Event().wait()
        return b""

    other.answer("never", never)
    request = asyncio.create_task(one.request(other.address, "never", b"", timeout_ms=SOON_MS))
    await asked.wait()
    await other.aclose()
    await other.aclose()
    with pytest.raises(PeerUnreachableError):
        await request


@pytest.mark.parametrize(
    ("host", "port", "address"), [("10.0.0.1", 99, "10.0.0.1:99"), ("::1", 99, "[::1]:99"), ("n1", 1, "n1:1")]
)
def test_addresses_are_written_and_read_alike(host: str, port: int, address: str) -> None:
    assert joined(host, port) == address
    assert parts_of(address) == (host, port)


@pytest.mark.parametrize("address", ["", "host", ":1", "host:", "host:x", "host:70000", "::1:5"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidArgumentError, match="host:port"):
        parts_of(address)


async def test_the_way_to_a_store_on_this_machine_is_loopback() -> None:
    assert await local_host("127.0.0.1", 6379) == "127.0.0.1"
    assert await local_host("no.such.host.invalid", 6379) == "127.0.0.1"
