"""How a node's agents vote: what a policy may return, and what becomes of what it cannot vote on."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from meshd import Mesh, Node, SyncMesh
from meshd.errors import AlreadyExistsError, InvalidArgumentError, MeshError
from meshd.messages.model import Message
from meshd.nodes.model import Agent
from meshd.runtime.voting import Ballot, Policy, Voting, support_strong
from meshd.settings_votes import VotesSettings
from meshd.votes.model import Choice, Elector, Proposal, ProposalState, Quorum
from meshd.votes.service import VoteService
from meshd.votes.waggle import dance
from tests.support.waiting import wait_until
from tests.votes.agent_process import voting_settings
from tests.votes.conftest import AGENTS, Seat

SOON = timedelta(seconds=20)


def waggle(payload: Any, to: str = "a0") -> Message:
    return Message(id="m1", sender="client:test", to=to, type="waggle", payload=payload)


def voting(policy: Policy, votes: VoteService) -> Voting:
    return Voting(policy, votes=lambda: votes, incarnation=lambda: 4)


async def async_yes(proposal: Proposal, agent: str) -> bool:
    return bool(proposal.content == agent)


def sync_no(proposal: Proposal, agent: str) -> str:
    return "no"


def abstain(proposal: Proposal, agent: str) -> Choice:
    return Choice.ABSTAIN


def weak_yes(proposal: Proposal, agent: str) -> Ballot:
    return Ballot(True, 0.4, "because")


@pytest.mark.parametrize(
    ("policy", "choice", "intensity", "reason"),
    [
        (async_yes, Choice.YES, 1_000, ""),
        (sync_no, Choice.NO, 1_000, ""),
        (abstain, Choice.ABSTAIN, 1_000, ""),
        (weak_yes, Choice.YES, 400, "because"),
        (support_strong(), Choice.YES, 500, ""),
        (support_strong(0.6), Choice.NO, 500, ""),
    ],
)
async def test_what_a_policy_returns_is_cast_for_the_agent_asked(
    votes: VoteService, policy: Policy, choice: Choice, intensity: int, reason: str
) -> None:
    await votes.propose("a0", id="p1")
    await voting(policy, votes).asked(waggle({"proposal": "p1"}))
    vote = (await votes.get("p1")).votes["a0"]
    assert (vote.choice, vote.intensity_permil, vote.reason, vote.incarnation) == (choice, intensity, reason, 4)


async def test_what_the_default_policy_supports_is_a_setting(seat: Seat) -> None:
    options = VotesSettings(waggle_intensity_min=0.6).options(proposer="me")
    records, events = seat.backend.records, seat.backend.events

    async def electors() -> Sequence[Elector]:
        return AGENTS

    strict = VoteService(records, events, electors=electors, options=options)
    await seat.votes.propose("x", id="p1", waggle=dance(0.5))
    await voting(support_strong(), strict).asked(waggle({"proposal": "p1"}, to="a0"))
    await voting(support_strong(0.4), strict).asked(waggle({"proposal": "p1"}, to="a1"))
    choices = {voter: vote.choice for voter, vote in (await seat.votes.get("p1")).votes.items()}
    assert choices == {"a0": Choice.NO, "a1": Choice.YES}


async def test_a_policy_may_leave_the_vote_to_others(votes: VoteService) -> None:
    await votes.propose("x", id="p1")
    await voting(lambda _proposal, _agent: None, votes).asked(waggle({"proposal": "p1"}))
    assert (await votes.get("p1")).votes == {}


async def test_what_can_no_longer_be_voted_on_is_let_go(votes: VoteService) -> None:
    asked: list[str] = []

    def policy(proposal: Proposal, _: str) -> bool:
        asked.append(proposal.id)
        return True

    voter = voting(policy, votes)
    await votes.propose("x", id="done", electorate=["a1"])
    await votes.vote("done", "a1", True)
    await votes.propose("x", id="others", electorate=["a1", "a2"])
    await votes.propose("x", id="said", electorate=["a0", "a2", "a3"])
    await votes.vote("said", "a0", False)
    for name in ("done", "gone", "others", "said"):
        await voter.asked(waggle({"proposal": name}))
    assert asked == ["others", "said"]
    assert [vote.choice for vote in (await votes.get("said")).votes.values()] == [Choice.NO]


@pytest.mark.parametrize("payload", [None, "p1", {}, {"proposal": 1}])
async def test_a_message_that_names_no_proposal_is_refused(votes: VoteService, payload: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="names no proposal"):
        await voting(async_yes, votes).asked(waggle(payload))


async def test_a_policy_that_returns_no_vote_is_an_error(votes: VoteService) -> None:
    await votes.propose("x", id="p1")
    with pytest.raises(InvalidArgumentError, match="'perhaps'"):
        await voting(lambda _proposal, _agent: "perhaps", votes).asked(waggle({"proposal": "p1"}))


def test_a_node_has_one_policy() -> None:
    node = Node("n")
    node.on_proposal(support_strong())
    with pytest.raises(AlreadyExistsError):
        node.on_proposal(support_strong())
    with pytest.raises(MeshError, match="does not run"):
        _ = node.votes


async def test_all_agents_of_a_node_vote_and_one_without_a_policy_stays_silent(store_url: str, mesh_name: str) -> None:
    settings = voting_settings(mesh_name, "consensus")
    crew = Node("crew", agents=[Agent(id=name, name=name) for name in ("ann", "ben", "cat")])
    silent = Node("silent")
    heard: list[str] = []

    @crew.on_proposal
    async def judge(proposal: Proposal, agent: str) -> bool:
        return agent != "cat"

    @silent.on_message("decision")
    async def decided(message: Message) -> None:
        heard.append(message.payload["state"])

    async with crew.running(store_url, settings=settings), silent.running(store_url, settings=settings):
        quorum = Quorum(count=2)
        proposal = await crew.votes.propose("x", waggle=dance(0.9), quorum=quorum, timeout=SOON)
        assert [elector.id for elector in proposal.electorate] == ["ann", "ben", "cat", "silent"]
        assert proposal.proposer == "crew"
        assert (await silent.votes.decision(proposal.id, timeout=SOON)).state is ProposalState.ACCEPTED
        await wait_until(lambda: heard == ["accepted"], timeout=20)
        assert list(await crew.messages.unhandled()) == []


async def test_a_script_without_a_loop_votes(store_url: str, mesh_name: str) -> None:
    def script() -> None:
        with SyncMesh(store_url, settings=voting_settings(mesh_name)) as sync:
            made = sync.votes.propose("x", id="p1", electorate=["a"], proposer="b")
            assert (made.proposer, made.state) == ("b", ProposalState.PENDING)
            assert sync.votes.vote("p1", "a", True).state is ProposalState.ACCEPTED
            assert sync.votes.decision("p1").state is ProposalState.ACCEPTED

    await asyncio.to_thread(script)


async def test_both_surfaces_are_equal(store_url: str, mesh_name: str) -> None:
    async with Mesh(store_url, settings=voting_settings(mesh_name)) as mesh:

        def surfaces() -> None:
            with SyncMesh(store_url, settings=voting_settings(mesh_name)) as sync:
                ours = {name for name in dir(mesh.votes) if not name.startswith("_")}
                assert ours - {"leader", "leaders"} == {name for name in dir(sync.votes) if not name.startswith("_")}

        await asyncio.to_thread(surfaces)
