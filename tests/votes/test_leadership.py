"""One leader per scope: elected, renewed, followed, deposed; whoever is late changes nothing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.errors import CorruptDataError, DeadlineError, FencedError, InvalidArgumentError, NotLeaderError
from meshd.records import Guard
from meshd.votes.leadership import Candidate, Leaders, Leadership, guard_of
from meshd.votes.leading import PREFIX, Follow, Lease, topic_of
from tests.support.proxy import Proxy, proxied
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

SHORT = Lease(length=timedelta(milliseconds=400))
AT_ONCE = timedelta(0)
SWITCHES = 1_000


@pytest.fixture
def options(mesh_name: str) -> BackendOptions:
    return BackendOptions(mesh=mesh_name)


def leaders_of(backend: Backend, holder: str) -> Leaders:
    return Leaders(backend.records, backend.events, holder=holder, rng=Random(1))


@pytest.fixture
def anna(backend: Backend) -> Leaders:
    return leaders_of(backend, "anna")


@pytest.fixture
def ben(backend: Backend) -> Leaders:
    return leaders_of(backend, "ben")


async def test_a_leader_is_seen_by_everybody_while_it_leads(anna: Leaders, ben: Leaders) -> None:
    async with anna.leader("orders") as leadership:
        term = await ben.current("orders")
        assert term is not None
        assert (term.scope, term.holder, term.token) == ("orders", "anna", leadership.token)
        assert guard_of(term.scope, term.token) == leadership.guard
        assert await asyncio.to_thread(lambda: leadership.is_held)
    assert [leadership.is_held] == [False]
    assert await ben.current("orders") is None


async def test_one_leads_a_scope_and_others_lead_others(anna: Leaders, ben: Leaders) -> None:
    async with anna.leader("orders"), ben.leader("stock"):
        assert [(term.scope, term.holder) for term in await anna.list()] == [("orders", "anna"), ("stock", "ben")]
        with pytest.raises(DeadlineError, match="orders"):
            async with ben.leader("orders", wait=AT_ONCE):
                pass


async def test_who_waits_leads_as_soon_as_the_leader_resigns(anna: Leaders, ben: Leaders) -> None:
    """The leases are so long that only the hint can bring the news in time."""
    elected: list[Leadership] = []

    async def wait_for_it() -> None:
        async with ben.leader("orders", lease=Lease(length=timedelta(hours=1))) as leadership:
            elected.append(leadership)

    async with anna.leader("orders", lease=Lease(length=timedelta(hours=1))) as first:
        waiting = asyncio.create_task(wait_for_it())
        await asyncio.sleep(0)
        assert not elected
    await asyncio.wait_for(waiting, 5)
    assert elected[0].token > first.token


async def test_a_leader_stays_one_past_its_first_lease(anna: Leaders, backend: Backend) -> None:
    async with anna.leader("orders", lease=SHORT) as leadership:
        first = await backend.records.get(PREFIX + "orders")
        assert first is not None

        async def is_renewed_often() -> bool:
            now = await backend.records.get(PREFIX + "orders")
            return now is not None and now.read_ms > first.born_ms + 2 * SHORT.length_ms

        await wait_until(is_renewed_often)
        assert leadership.is_held
        await backend.records.put("effect", b"1", guard=leadership.guard)


async def test_the_block_is_cancelled_when_the_term_is_taken_away(anna: Leaders, backend: Backend) -> None:
    cancelled: list[Leadership] = []

    async def lead() -> None:
        async with anna.leader("orders", lease=SHORT) as leadership:
            await backend.records.delete(PREFIX + "orders")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(leadership)
                assert not leadership.is_held
                raise

    with pytest.raises(NotLeaderError) as caught:
        await lead()
    assert [(each.scope, each.token) for each in cancelled] == [(caught.value.scope, caught.value.token)]


async def test_what_the_block_raises_comes_out_as_it_is_and_the_term_ends(anna: Leaders) -> None:
    with pytest.raises(TimeoutError, match="mine"):
        async with anna.leader("orders"):
            raise TimeoutError("mine")
    assert await anna.current("orders") is None


async def test_a_cancelled_leader_resigns(anna: Leaders, ben: Leaders) -> None:
    leads = asyncio.Event()

    async def lead() -> None:
        async with anna.leader("orders"):
            leads.set()
            await asyncio.sleep(60)

    leading = asyncio.create_task(lead())
    await leads.wait()
    leading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leading
    assert leading.cancelled()
    async with ben.leader("orders", wait=AT_ONCE):
        pass


async def test_a_superseded_leader_does_not_end_its_successors_term(
    anna: Leaders, ben: Leaders, backend: Backend
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with anna.leader("orders"):
            await backend.records.delete(PREFIX + "orders")
            second = await stack.enter_async_context(ben.leader("orders"))
        term = await ben.current("orders")
        assert term is not None
        assert (term.holder, term.token) == ("ben", second.token)


async def test_guarded_writes_of_a_superseded_leader_are_refused(anna: Leaders, ben: Leaders, backend: Backend) -> None:
    async with anna.leader("orders") as first:
        await backend.records.put("effect", b"anna", guard=first.guard)
        await backend.records.delete(PREFIX + "orders")
        async with ben.leader("orders") as second:
            await backend.records.put("effect", b"ben", guard=second.guard)
            with pytest.raises(FencedError):
                await backend.records.put("effect", b"anna", guard=first.guard)
    effect = await backend.records.get("effect")
    assert effect is not None
    assert effect.value == b"ben"


async def test_after_a_resignation_the_next_does_not_pause_and_after_a_death_it_does(
    anna: Leaders, ben: Leaders, backend: Backend
) -> None:
    cautious = Lease(length=timedelta(minutes=1), delay=timedelta(minutes=1))
    told, untold = Candidate(ben, "orders", cautious), Candidate(ben, "orders", cautious)
    async with backend.events.subscribe(topic_of("orders")) as hints:
        async with anna.leader("orders"):
            assert [type(await each.stand()) for each in (told, untold)] == [Follow, Follow]
        hint = await hints.get(timeout_ms=5_000)
    assert hint is not None
    told.heard(hint.body)
    following = await told.stand()
    assert isinstance(following, Leadership)
    async with ben.holding(following):
        pass
    following = await untold.stand()
    assert isinstance(following, Leadership)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), ben.holding(following):
            raise AssertionError("it did not pause")
    assert await anna.current("orders") is None


@pytest.mark.parametrize("scope", ["", "a/b", "a b", "x" * 65])
async def test_a_scope_that_is_no_name_is_refused(anna: Leaders, scope: str) -> None:
    with pytest.raises(InvalidArgumentError, match="scope"):
        async with anna.leader(scope):
            pass


async def test_a_record_that_names_no_leader_is_told_as_that(anna: Leaders, backend: Backend) -> None:
    await backend.records.put(PREFIX + "orders", b"me")
    with pytest.raises(CorruptDataError, match="orders"):
        await anna.current("orders")


async def test_a_thousand_forced_switches_accept_no_write_of_a_superseded_leader(backend: Backend) -> None:
    """Whatever was written under a term has a revision below the next term's token: nothing came after it."""
    accepted: list[tuple[int, int]] = []
    refused = 0
    terms: list[int] = []
    enough = asyncio.Event()

    async def contend(leaders: Leaders) -> None:
        nonlocal refused
        while not enough.is_set():
            async with leaders.leader("scope") as leadership:
                terms.append(leadership.token)
                with contextlib.suppress(FencedError):
                    while not enough.is_set():
                        revision = await backend.records.put("effect", b"1", guard=leadership.guard)
                        accepted.append((leadership.token, revision))
            with pytest.raises(FencedError):
                await backend.records.put("effect", b"late", guard=leadership.guard)
            refused += 1

    async def depose() -> None:
        leaders = leaders_of(backend, "test")
        for _ in range(SWITCHES):
            term = await leaders.current("scope")
            while term is None:
                term = await leaders.current("scope")
            await leaders.end(guard_of("scope", term.token))
        enough.set()

    async with asyncio.TaskGroup() as group:
        for name in ("anna", "ben", "carl"):
            group.create_task(contend(leaders_of(backend, name)))
        await depose()
    assert terms == sorted(set(terms))
    assert len(terms) >= SWITCHES
    assert refused >= SWITCHES
    following = dict(pairwise(terms))
    for token, revision in accepted:
        assert token < revision < following.get(token, revision + 1)


@pytest.fixture
async def behind_a_proxy(redis_server: RedisServer, mesh_name: str) -> AsyncIterator[tuple[Proxy, Backend]]:
    async with proxied(redis_server.port) as proxy:
        backend = await open_backend(proxy.url, BackendOptions(mesh=mesh_name))
        yield proxy, backend
        await backend.aclose()


async def test_an_election_whose_answer_was_lost_is_recognised(behind_a_proxy: tuple[Proxy, Backend]) -> None:
    proxy, backend = behind_a_proxy
    proxy.lose_answer_once("nonce")
    leaders = leaders_of(backend, "anna")
    async with leaders.leader("orders") as leadership:
        assert proxy.lost_answers == 1
        await backend.records.put("effect", b"1", guard=leadership.guard)


async def test_who_gives_up_while_the_answer_is_lost_leaves_no_term_behind(
    behind_a_proxy: tuple[Proxy, Backend],
) -> None:
    proxy, backend = behind_a_proxy
    proxy.lose_answers("nonce", should_cut=lambda: True)
    leaders = leaders_of(backend, "anna")
    with pytest.raises(DeadlineError):
        async with leaders.leader("orders", wait=AT_ONCE):
            pass
    assert proxy.lost_answers
    assert await leaders.current("orders") is None


async def test_a_leader_outlives_a_restart_of_the_store(tmp_path: Path, mesh_name: str) -> None:
    server = RedisServer(tmp_path)
    server.start(aof=True)
    backend = await open_backend(server.url, BackendOptions(mesh=mesh_name))
    try:
        leaders = leaders_of(backend, "anna")
        async with leaders.leader("orders", lease=Lease(length=timedelta(seconds=30))) as leadership:
            server.kill()
            server.start(aof=True)
            await backend.records.put("effect", b"1", guard=leadership.guard)
    finally:
        await backend.aclose()
        server.stop()


async def test_a_store_that_comes_back_empty_ends_every_term(tmp_path: Path, mesh_name: str) -> None:
    server = RedisServer(tmp_path)
    server.start()
    backend = await open_backend(server.url, BackendOptions(mesh=mesh_name))
    try:
        leaders = leaders_of(backend, "anna")
        first: list[Guard] = []

        async def lead() -> None:
            async with leaders.leader("orders", lease=SHORT) as leadership:
                first.append(leadership.guard)
                server.kill()
                server.start()
                await asyncio.sleep(60)

        with pytest.raises(NotLeaderError):
            await lead()
        async with leaders.leader("orders") as leadership:
            assert leadership.token > first[0].born
            with pytest.raises(FencedError):
                await backend.records.put("effect", b"1", guard=first[0])
    finally:
        await backend.aclose()
        server.stop()
