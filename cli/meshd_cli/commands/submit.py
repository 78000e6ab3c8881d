"""`mesh submit`: give the mesh a task."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import typer

from meshd_cli import render
from meshd_cli import submit_options as options
from meshd_cli.commands.status import listed
from meshd_cli.part_words import PartWords
from meshd_cli.session import Session, session_of
from meshd_cli.vote_words import VoteWords, count_of, terms

if TYPE_CHECKING:
    from meshd.mesh import Mesh
    from meshd.tasks.service import TaskHandle


def register(app: typer.Typer) -> None:
    app.command("submit")(submit)


def submit(
    ctx: typer.Context,
    type: options.Type,
    payload: options.Payload = None,
    arg: options.Arguments = None,
    priority: options.PriorityName = "normal",
    requires: options.Requires = "",
    prefer: options.PreferredTypes = "",
    prefers: options.Prefers = "",
    node: options.OnlyNode = None,
    not_on: options.NotOn = "",
    routing: options.Routing = None,
    context: options.Context = None,
    delay: options.Delay = None,
    deadline: options.Deadline = None,
    timeout: options.Timeout = None,
    progress_timeout: options.ProgressTimeout = None,
    key: options.Key = None,
    after: options.After = None,
    run_anyway: options.RunAnyway = False,
    requires_vote: options.RequiresVote = False,
    electors: options.Electors = "",
    quorum: options.QuorumText = "",
    vote_timeout: options.VoteTimeout = None,
    verify: options.Verify = None,
    copies: options.Copies = 0,
    fan_out: options.FanOutNumber = None,
    parts: options.Parts = None,
    merge: options.Merge = "",
    distinct: options.DistinctWord = "",
    partial: options.Partial = False,
    wait: options.Wait = False,
    wait_timeout: options.WaitTimeout = None,
    unserved: options.Unserved = "refuse",
    or_here: options.OrHere = False,
) -> None:
    """Submit a task. Prints its id, or with --wait its result.

    \b
    Examples:
      mesh submit text.analyze --arg text="Not bad at all." --priority high --wait
      mesh submit train --requires "gpu,memory_gb>=64" --prefers zone=eu:2 --not-on node-3
      mesh submit report.build --payload @job.json --key nightly-7 --delay 10m --unserved wait
      mesh submit report.send --after 01JD0000000000000000000000 --run-anyway
      mesh submit pay --arg amount=500 --requires-vote --electors ada,bob --quorum 2 --unserved wait
      mesh submit count --verify 3 --copies 4 --unserved wait
      mesh submit count --parts '[{"text": "a b"}, {"text": "b"}]' --merge sum --wait
    """
    from meshd_cli.payloads import arguments, read_json

    session = session_of(ctx)
    values = arguments(payload, arg or [])
    surroundings = None if context is None else read_json(context, what="context")
    vote = VoteWords(electors=electors, quorum=quorum, timeout=vote_timeout)
    needed = terms(listed(requires), vote, is_required=requires_vote)
    divided = PartWords(number=fan_out, parts=parts, merge=merge, distinct=distinct, is_partial=partial).fan_out()

    async def work(mesh: "Mesh") -> None:
        handle = await mesh.tasks.submit(
            type,
            values,
            priority=priority,
            requires=needed,
            preferred_types=listed(prefer),
            prefers=listed(prefers),
            node=node,
            not_on=listed(not_on),
            routing=routing,
            context=surroundings,
            delay=delay,
            deadline=deadline,
            timeout=timeout,
            progress_timeout=progress_timeout,
            idempotency_key=key,
            depends_on=after or [],
            on_parent_failure="run_anyway" if run_anyway else "cancel",
            verify=None if verify is None else count_of(verify),
            copies=copies,
            fan_out=divided,
            unserved=unserved,
        )
        await _answer(session, handle, wait=wait, timeout=wait_timeout)

    try:
        session.run(work)
    except Exception as exc:
        if not (or_here and _is_without_mesh(exc)):
            raise
        _run_here(session, type, values, exc)


def _is_without_mesh(exc: Exception) -> bool:
    from meshd.errors import NoCandidateError, UnavailableError

    return isinstance(exc, NoCandidateError | UnavailableError)


def _run_here(session: Session, type: str, values: dict[str, Any], reason: Exception) -> None:
    """Run the task by a handler that comes with meshd, in this process, and print its result."""
    import asyncio

    from meshd.specialists.registry import create_node

    result = asyncio.run(create_node().call(type, values))
    render.note(f"no mesh took it ({reason}); it ran here, and nothing is recorded")
    if session.json:
        render.show(session, {"kind": "local", "because": str(reason), "result": result}, lambda _: ())
    else:
        render.line(json.dumps(result, ensure_ascii=False, indent=2))


async def _answer(session: Session, handle: "TaskHandle", *, wait: bool, timeout: timedelta | None) -> None:
    """Print the receipt, and after the end the result if asked to wait."""
    document = _receipt(handle)
    if wait:
        render.note(f"{'submitted' if document['created'] else 'known'} as {handle.id}; waiting for its end")
        document["result"] = await handle.result(timeout=timeout)
    if session.json:
        render.show(session, document, lambda _: ())
    elif wait:
        render.line(json.dumps(document["result"], ensure_ascii=False, indent=2))
    else:
        render.line(handle.id)
        render.hint(f"`mesh tasks wait {handle.id}` prints its result")


def _receipt(handle: "TaskHandle") -> dict[str, Any]:
    receipt = handle.receipt
    if receipt is None:
        return {"kind": "receipt", "id": handle.id, "created": True}
    return {
        "kind": "receipt",
        "id": receipt.task_id,
        "created": receipt.created,
        "state": receipt.state.value,
        "durability": receipt.durability.value,
    }
