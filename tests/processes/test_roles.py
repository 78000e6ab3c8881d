"""Roles as processes of their own: `mesh role start`, `mesh leader`."""

import json
import signal
from collections.abc import Iterator
from datetime import timedelta
from subprocess import Popen

import pytest

from meshd import Mesh, Settings
from meshd.votes.model import Elector, ProposalState
from tests.processes.conftest import Place
from tests.support.waiting import wait_until

START_S = 20.0


@pytest.fixture
def quick(place: Place) -> Place:
    """The folder, with leases short enough to wait for."""
    return Place(place.folder, {**place.env, "MESHD_ROLES__LEASE_SECONDS": "1", "MESHD_ROLES__IDLE_SECONDS": "0.5"})


@pytest.fixture
def begun() -> Iterator[list[Popen[str]]]:
    begun: list[Popen[str]] = []
    yield begun
    for process in begun:
        process.kill()
        process.communicate()


async def until_led(mesh: Mesh, scope: str) -> str:
    async def is_led() -> bool:
        return await mesh.votes.leaders.current(scope) is not None

    await wait_until(is_led, timeout=START_S)
    term = await mesh.votes.leaders.current(scope)
    assert term is not None
    return term.holder


async def test_a_consensus_manager_killed_in_mid_vote_is_followed_and_decides_once(
    quick: Place, begun: list[Popen[str]]
) -> None:
    begun.append(quick.begin("role", "start", "consensus"))
    async with Mesh(quick.url, settings=Settings.load()) as mesh:
        first = await until_led(mesh, "role:consensus")
        electorate = [Elector(id=name) for name in ("anna", "ben", "carl")]
        proposal = await mesh.votes.propose({"buy": 3}, electorate=electorate, timeout=timedelta(minutes=5))
        await mesh.votes.vote(proposal.id, "anna", "yes")
        begun[0].kill()
        begun[0].wait()
        begun.append(quick.begin("role", "start", "consensus"))
        await mesh.votes.vote(proposal.id, "ben", "yes")

        async def is_announced() -> bool:
            return (await mesh.votes.get(proposal.id)).announced

        await wait_until(is_announced, timeout=START_S)
        decided = await mesh.votes.get(proposal.id)
        assert decided.state is ProposalState.ACCEPTED
        assert sorted(decided.votes) == ["anna", "ben"]
        assert await until_led(mesh, "role:consensus") != first
        for elector in ("anna", "ben", "carl"):
            waiting = [record.key for record in await mesh.records.list(f"msg/{elector}/")]
            assert len([key for key in waiting if "decision:" in key]) == 1


async def test_a_role_process_has_no_agents_and_hands_over_when_told_to_go(
    quick: Place, begun: list[Popen[str]]
) -> None:
    long = Place(quick.folder, {**quick.env, "MESHD_ROLES__LEASE_SECONDS": "600"})
    begun.append(long.begin("role", "start", "topology", "--name", "first"))
    async with Mesh(quick.url, settings=Settings.load()) as mesh:
        assert await until_led(mesh, "role:topology") == "first"
        assert [node.profile.agents for node in await mesh.nodes.list()] == [()]
        begun.append(long.begin("role", "start", "topology", "--name", "second"))

        async def is_there() -> bool:
            return len(await mesh.nodes.list()) == 2

        await wait_until(is_there, timeout=START_S)
        begun[0].send_signal(signal.SIGTERM)
        assert begun[0].wait(START_S) == 0

        async def is_handed_over() -> bool:
            return await until_led(mesh, "role:topology") == "second"

        await wait_until(is_handed_over, timeout=START_S)
        assert [term.scope for term in await mesh.votes.leaders.list()] == ["role:topology"]


async def test_reclaim_as_a_process_takes_back_what_a_dead_node_held(quick: Place, begun: list[Popen[str]]) -> None:
    timings = {"MESHD_HEARTBEAT_INTERVAL_SECONDS": "0.1", "MESHD_NODE_TIMEOUT_SECONDS": "1"}
    place = Place(quick.folder, {**quick.env, **timings})
    begun.append(place.begin("role", "start", "reclaim"))
    begun.append(place.begin("node", "start", "--name", "victim"))
    async with Mesh(quick.url, settings=Settings.load(heartbeat_interval_seconds=0.1, node_timeout_seconds=1)) as mesh:

        async def is_here() -> bool:
            return any(node.id == "victim" for node in await mesh.nodes.list())

        await wait_until(is_here, timeout=START_S)
        begun[1].kill()

        async def is_gone() -> bool:
            return not await is_here()

        await wait_until(is_gone, timeout=START_S)


async def test_leaders_are_listed_and_shown_with_their_tokens(quick: Place) -> None:
    async with Mesh(quick.url, settings=Settings.load()) as mesh, mesh.votes.leader("orders") as leadership:
        shown = json.loads(quick.mesh("leader", "show", "orders", "--json").stdout)["leader"]
        listed = json.loads(quick.mesh("leader", "list", "--json").stdout)["leaders"]
    assert (shown["scope"], shown["token"]) == ("orders", leadership.token)
    assert [each["scope"] for each in listed] == ["orders"]
    assert "nobody leads orders" in quick.mesh("leader", "show", "orders", code=3).stderr
