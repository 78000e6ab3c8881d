"""Tasks that need a decision: a vote before they run, agreement of several runs afterwards."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from meshd import Mesh, Node, Reject, Settings, TaskState
from meshd.errors import NotFoundError, TaskNotCompletedError
from meshd.nodes.model import Agent
from meshd.tasks.agreement import TALLY_TASK
from meshd.tasks.request import TaskRequest
from meshd.tasks.service import TaskHandle
from meshd.tasks.voting import VOTE_TASK, Vote
from meshd.votes.model import Proposal, ProposalState, ProposalType, Quorum
from tests.support.waiting import wait_until

SOON = timedelta(seconds=20)
AGENTS = ("a", "b", "c", "d", "e")


@asynccontextmanager
async def a_node(mesh: Mesh, store_url: str, settings: Settings, *, answers: str = "same") -> AsyncGenerator[Node]:
    """A node whose agents may vote, and whose answers are what the test says."""
    del mesh
    node = Node("decider", concurrency=12, agents=[Agent(id=agent, name=agent) for agent in AGENTS])
    given = 0

    @node.task("pay")
    async def pay(amount: int) -> str:
        return f"paid {amount}"

    @node.task("answer")
    async def answer() -> dict[str, int]:
        nonlocal given
        given += 1
        match answers:
            case "two of five differ":
                return {"answer": 42 if given > 2 else given}
            case "two of five fail" if given <= 2:
                raise Reject("no idea")
            case "none alike":
                return {"answer": given}
            case _:
                return {"answer": 42}

    async with node.running(store_url, settings=settings):
        yield node


async def proposal_of(mesh: Mesh, handle: TaskHandle) -> Proposal:
    """Return the proposal of the vote that the task requires, once it is open."""
    (vote,) = (await handle.status()).depends_on

    async def is_open() -> bool:
        try:
            return bool(await mesh.votes.get(vote))
        except NotFoundError:
            return False

    await wait_until(is_open, timeout=10)
    return await mesh.votes.get(vote)


async def cast(mesh: Mesh, proposal: Proposal, said: str) -> None:
    """Have the agents vote in turn, y or n each."""
    for agent, letter in zip(AGENTS, said, strict=False):
        await mesh.votes.vote(proposal.id, agent, letter == "y")


async def test_a_task_is_parked_until_its_vote_is_accepted_and_runs_then(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    async with a_node(mesh, store_url, settings):
        handle = await mesh.tasks.submit("pay", amount=5, requires=Vote())
        proposal = await proposal_of(mesh, handle)
        assert proposal.type == ProposalType.TASK
        assert proposal.content == {"task": "pay", "payload": {"amount": 5}}
        assert {elector.id for elector in proposal.electorate} >= set(AGENTS)
        assert (await handle.status()).state is TaskState.BLOCKED
        await cast(mesh, proposal, "yy")
        assert (await handle.status()).state is TaskState.BLOCKED
        await cast(mesh, proposal, "yyy")
        assert await handle.result(timeout=SOON) == "paid 5"


async def test_a_task_voted_down_is_cancelled_and_was_never_started(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    async with a_node(mesh, store_url, settings):
        handle = await mesh.tasks.submit("pay", amount=5, requires=Vote(electorate=AGENTS))
        proposal = await proposal_of(mesh, handle)
        assert proposal.need == 3
        await cast(mesh, proposal, "nnn")
        task = await handle.wait(timeout=SOON)
        vote = await mesh.tasks.get(proposal.id)
        assert (task.state, task.starts) == (TaskState.CANCELLED, 0)
        assert (vote.state, vote.type) == (TaskState.CANCELLED, VOTE_TASK)
        assert "rejected: 0 yes, 3 no, 0 abstained of 5" in vote.reason


async def test_a_vote_that_nobody_answers_ends_with_its_time(mesh: Mesh, store_url: str, settings: Settings) -> None:
    async with a_node(mesh, store_url, settings):
        wish = Vote(electorate=AGENTS, timeout=timedelta(milliseconds=300))
        handle = await mesh.tasks.submit("pay", amount=5, requires=wish)
        task = await handle.wait(timeout=SOON)
        assert task.state is TaskState.CANCELLED
        assert (await mesh.votes.get(task.depends_on[0])).state is ProposalState.EXPIRED


async def test_a_vote_that_cannot_be_held_is_a_dead_letter(mesh: Mesh, store_url: str, settings: Settings) -> None:
    async with a_node(mesh, store_url, settings):
        handle = await mesh.tasks.submit("pay", amount=5, requires=Vote(electorate=["a"], quorum=Quorum(2)))
        task = await handle.wait(timeout=SOON)
        vote = await mesh.tasks.get(task.depends_on[0])
        assert (task.state, vote.state, vote.starts) == (TaskState.CANCELLED, TaskState.DEAD, 1)


async def test_the_same_key_again_is_the_same_task_and_the_same_vote(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    async with a_node(mesh, store_url, settings):
        first, second = [
            await mesh.tasks.submit("pay", amount=5, requires=Vote(electorate=AGENTS), idempotency_key="order 7")
            for _ in range(2)
        ]
        assert first.id == second.id
        await cast(mesh, await proposal_of(mesh, first), "yyy")
        assert await second.result(timeout=SOON) == "paid 5"
        assert len(await mesh.votes.list()) == 1
        assert (await mesh.tasks.counts())[TaskState.COMPLETED] == 2


@pytest.mark.parametrize("answers", ["same", "two of five differ", "two of five fail"])
async def test_a_result_is_what_enough_of_the_runs_agree_on(
    mesh: Mesh, store_url: str, settings: Settings, answers: str
) -> None:
    async with a_node(mesh, store_url, settings, answers=answers):
        handle = await mesh.tasks.submit("answer", verify=Quorum(3))
        assert await handle.result(timeout=SOON) == {"answer": 42}
        assert (await handle.status()).type == TALLY_TASK
        assert len((await mesh.tasks.list(type="answer")).tasks) == 5


async def test_runs_that_do_not_agree_have_no_result(mesh: Mesh, store_url: str, settings: Settings) -> None:
    async with a_node(mesh, store_url, settings, answers="none alike"):
        handle = await mesh.tasks.submit("answer", verify=Quorum(3))
        with pytest.raises(TaskNotCompletedError, match="no result has 3 of 5 copies: 5 completed with 5 different"):
            await handle.result(timeout=SOON)


async def test_vote_copies_and_what_follows_work_together_in_one_submit(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    async with a_node(mesh, store_url, settings):
        careful = TaskRequest(type="answer", requires=[Vote(electorate=AGENTS)], verify=Quorum(2))
        after = TaskRequest(type="pay", payload={"amount": 1}, depends_on=[careful])
        held, last = await mesh.tasks.submit_many([careful, after])
        (proposal,) = await _proposals(mesh)
        await cast(mesh, proposal, "yyy")
        assert await held.result(timeout=SOON) == {"answer": 42}
        assert await last.result(timeout=SOON) == "paid 1"


async def _proposals(mesh: Mesh) -> list[Proposal]:
    async with asyncio.timeout(10):
        while not (found := list(await mesh.votes.list())):
            await asyncio.sleep(0.01)
    return found
