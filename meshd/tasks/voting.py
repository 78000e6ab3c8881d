"""A vote that a task requires: what its submitter asks for, and the task that has it held. Pure.

The task waits for another of type `VOTE_TASK`, which completes when the vote is accepted and is cancelled when it is
not; so a task that was voted down ends cancelled, like any other whose parent failed, and was never started.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from meshd.errors import InvalidArgumentError
from meshd.votes.model import Quorum

VOTE_TASK = "mesh.vote"
"""Type of the task that holds a vote; every node that may see to it beside other work has its handler."""

PATIENCE = timedelta(seconds=60)
"""How much longer than the vote itself the task that holds it may run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """A vote that must be accepted before a task may run; it begins when nothing else keeps the task waiting."""

    content: Any = None
    """What is voted on, any JSON value; `None`: the task's type and payload."""
    electorate: Sequence[str] | None = None
    """Agents who may vote; `None`: every agent of every live node at the time the vote begins."""
    quorum: Quorum | None = None
    """`None`: what the mesh is set to, 60 % by default."""
    timeout: timedelta = timedelta(seconds=30)
    """How long votes are taken; without a quorum by then the task is cancelled."""


def gate_payload(vote: Vote, *, task_type: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the task that holds this vote.

    Raises:
        InvalidArgumentError: the electorate is empty, or the time is not over 0.
    """
    if vote.electorate is not None and (isinstance(vote.electorate, str) or not vote.electorate):
        raise InvalidArgumentError(f"the electorate {vote.electorate!r} of a vote is a list with at least one agent")
    if vote.timeout <= timedelta(0):
        raise InvalidArgumentError(f"the timeout {vote.timeout} of a vote must be over 0")
    return {
        "content": {"task": task_type, "payload": dict(payload)} if vote.content is None else vote.content,
        "electorate": None if vote.electorate is None else list(vote.electorate),
        "quorum": None if vote.quorum is None else asdict(vote.quorum),
        "timeout_ms": vote.timeout // timedelta(milliseconds=1),
    }
