"""The built-in handlers of tasks that see to others: a vote that one requires, a tally of copies, a merge of parts.

Both may be run again by another node at any time: the proposal has the id of its task, so a second run finds the votes
of the first, and a tally or a merge only reads.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from meshd import codec
from meshd.backends import Backend
from meshd.errors import ConflictError, DeadlineError, InvalidArgumentError
from meshd.nodes.model import node_topic
from meshd.runtime.context import TaskContext
from meshd.runtime.handlers import HandlerTable
from meshd.runtime.signals import Reject, Retry
from meshd.tasks.agreement import TALLY_TASK, tallied
from meshd.tasks.fan_out import BY_TASK, MERGE_TASK, labelled, merged, part_views, why_none
from meshd.tasks.model import Task, TaskState
from meshd.tasks.steering import TaskSteering
from meshd.tasks.store import MAX_BATCH
from meshd.tasks.voting import VOTE_TASK
from meshd.votes.model import Choice, Proposal, ProposalState, ProposalType, Quorum

if TYPE_CHECKING:
    from meshd.votes.service import VoteService

DOUBT = timedelta(seconds=10)
"""How much longer than a vote takes its decision is waited for: a store may have been away at its end."""


class Decisions:
    """What a node does for tasks that wait for a decision."""

    def __init__(self, backend: Backend, *, votes: "Callable[[], VoteService]") -> None:
        async def call_node(node_id: str) -> None:
            await backend.events.publish(node_topic(node_id), {})

        self._tasks = backend.tasks
        self._handlers = HandlerTable()
        self._steering = TaskSteering(backend.tasks, call_node=call_node)
        self._votes = votes

    def beside(self, own: HandlerTable) -> HandlerTable:
        """Return a node's own handlers, and these where it has none."""
        handlers = HandlerTable(own)
        self._handlers = handlers
        for task_type, function in ((VOTE_TASK, self.vote), (TALLY_TASK, self.tally), (MERGE_TASK, self.merge)):
            if own.get(task_type) is None:
                handlers.add(task_type, function)
        return handlers

    async def vote(
        self,
        context: TaskContext,
        content: Any,
        electorate: list[str] | None,
        quorum: Quorum | None,
        timeout_ms: int,
    ) -> dict[str, Any]:
        """Hold a vote and wait for its decision; one that does not accept cancels this task, and so what waits for it.

        Raises:
            Reject: the vote cannot be held, since nobody may vote or the quorum is out of reach from the start.
        """
        task = await self._own(context)
        time = timedelta(milliseconds=timeout_ms)
        try:
            proposal = await self._votes().propose(
                content,
                id=_proposal_id(task),
                type=ProposalType.TASK,
                electorate=electorate,
                quorum=quorum,
                timeout=time,
            )
        except InvalidArgumentError as exc:
            raise Reject(str(exc)) from exc
        proposal = await self._decided(proposal, timeout=time + DOUBT)
        if proposal.state is not ProposalState.ACCEPTED:
            await self._cancel(context, _outcome(proposal))
        return {"proposal": proposal.id, "state": proposal.state.value, "need": proposal.need, **_counts(proposal)}

    async def tally(self, context: TaskContext, need: int) -> Any:
        """Return the result that enough of the copies agree on.

        Raises:
            Reject: no result has enough copies.
        """
        task = await self._own(context)
        copies = [copy for copy in await self._tasks.get(task.depends_on[:MAX_BATCH]) if copy is not None]
        results = [copy.result for copy in copies if copy.state is TaskState.COMPLETED and copy.result is not None]
        found = tallied([codec.decode(result) for result in results], need=need)
        if not found.is_agreed:
            raise Reject(
                f"no result has {need} of {len(task.depends_on)} copies: {len(results)} completed with "
                f"{found.different} different results, the most frequent {found.votes} times"
            )
        return found.value

    async def merge(self, context: TaskContext, names: list[str], merge: str, on_failure: str, distinct: str) -> Any:
        """Return what the parts of a task are together; where they may be merged in part, with what is missing.

        Raises:
            Reject: too few completed, they cannot be merged, or those that must be of different nodes are not.
        """
        task = await self._own(context)
        parts = part_views(names, task.depends_on, await self._tasks.get(task.depends_on[:MAX_BATCH]))
        if reason := why_none(parts, on_failure=on_failure, distinct=distinct):
            raise Reject(reason)
        try:
            value = merged(parts, merge=merge)
        except InvalidArgumentError as exc:
            raise Reject(str(exc)) from exc
        if merge.startswith(BY_TASK):
            value = await self._by_handler(merge.removeprefix(BY_TASK), value, context)
        return labelled(value, parts, on_failure=on_failure)

    async def _by_handler(self, task_type: str, results: Any, context: TaskContext) -> Any:
        """Return what this node's handler of that type makes of the results; it has one, or the merge were not here."""
        handler = self._handlers.get(task_type)
        if handler is None:
            raise Retry(f"this node has no handler of {task_type!r} any more")
        arguments = handler.parse(codec.encode({"parts": results}))
        if handler.context_parameter is not None:
            arguments[handler.context_parameter] = context
        if handler.is_async:
            return await handler.function(**arguments)
        return await asyncio.to_thread(handler.function, **arguments)

    async def _decided(self, proposal: Proposal, *, timeout: timedelta) -> Proposal:
        return proposal if proposal.state.is_decided else await self._votes().decision(proposal.id, timeout=timeout)

    async def _cancel(self, context: TaskContext, reason: str) -> None:
        """Have this very task cancelled, and wait to be told so."""
        try:
            await self._steering.cancel(context.task_id, reason=reason)
        except ConflictError as exc:
            raise Reject(reason) from exc
        await asyncio.sleep(DOUBT.total_seconds())
        raise DeadlineError(f"task {context.task_id} was not stopped in time: {reason}")

    async def _own(self, context: TaskContext) -> Task:
        task = (await self._tasks.get([context.task_id]))[0]
        if task is None:
            raise Reject(f"task {context.task_id} is not kept any more")
        return task


def _proposal_id(task: Task) -> str:
    """Return the id of the vote this task holds: after a redrive, of another."""
    return f"{task.id}.{task.generation}" if task.generation else task.id


def _counts(proposal: Proposal) -> dict[str, int]:
    said = [vote.choice for vote in proposal.votes.values()]
    return {choice.value: said.count(choice) for choice in Choice}


def _outcome(proposal: Proposal) -> str:
    counts = _counts(proposal)
    return (
        f"proposal {proposal.id} is {proposal.state}: {counts[Choice.YES]} yes, {counts[Choice.NO]} no, "
        f"{counts[Choice.ABSTAIN]} abstained of {len(proposal.electorate)}"
    )
