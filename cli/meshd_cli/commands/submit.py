"""`mesh submit`: give the mesh a task."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli import render
from meshd_cli.commands.status import listed
from meshd_cli.completion import agent_ids, node_ids, node_types, policies, priorities, task_ids, task_types
from meshd_cli.durations import duration
from meshd_cli.session import Session, session_of
from meshd_cli.vote_words import VoteWords, count_of, terms

if TYPE_CHECKING:
    from meshd.mesh import Mesh
    from meshd.tasks.service import TaskHandle


def register(app: typer.Typer) -> None:
    app.command("submit")(submit)


def submit(
    ctx: typer.Context,
    type: Annotated[str, typer.Argument(help="Task type, such as text.analyze.", autocompletion=task_types)],
    payload: Annotated[str | None, typer.Option(help="JSON object, @file, or - for stdin.", metavar="JSON")] = None,
    arg: Annotated[list[str] | None, typer.Option(help="One argument; repeat it.", metavar="KEY=VALUE")] = None,
    priority: Annotated[
        str, typer.Option(help="critical, high, normal, low, background.", autocompletion=priorities)
    ] = "normal",
    requires: Annotated[str, typer.Option(help="What the node must meet: gpu,python>=advanced,zone=eu.")] = "",
    prefer: Annotated[str, typer.Option(help="Node types to prefer: a,b.", autocompletion=node_types)] = "",
    prefers: Annotated[str, typer.Option(help="What the node should meet, with weights: zone=eu:2,gpu.")] = "",
    node: Annotated[str | None, typer.Option(help="The only node that may run it.", autocompletion=node_ids)] = None,
    not_on: Annotated[str, typer.Option(help="Nodes that may not run it: a,b.", autocompletion=node_ids)] = "",
    routing: Annotated[
        str | None, typer.Option(help="How it finds its node: least_loaded, ...", autocompletion=policies)
    ] = None,
    context: Annotated[str | None, typer.Option(help="JSON that travels along, @file or -.", metavar="JSON")] = None,
    delay: Annotated[
        timedelta | None, typer.Option(parser=duration, help="Not before this.", metavar="DURATION")
    ] = None,
    deadline: Annotated[
        timedelta | None, typer.Option(parser=duration, help="Never start after this.", metavar="DURATION")
    ] = None,
    timeout: Annotated[
        timedelta | None, typer.Option(parser=duration, help="Longest run of one attempt.", metavar="DURATION")
    ] = None,
    progress_timeout: Annotated[
        timedelta | None,
        typer.Option(parser=duration, help="Longest time without a sign of progress.", metavar="DURATION"),
    ] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key is the same task.")] = None,
    after: Annotated[
        list[str] | None,
        typer.Option(help="A task that must have completed first; repeat it.", metavar="ID", autocompletion=task_ids),
    ] = None,
    run_anyway: Annotated[
        bool, typer.Option("--run-anyway", help="With --after: run it too when one of those fails.")
    ] = False,
    requires_vote: Annotated[
        bool, typer.Option("--requires-vote", help="Run it only once a vote has accepted it.")
    ] = False,
    electors: Annotated[
        str, typer.Option(help="Who may vote: a,b,c. Else every agent of every live node.", autocompletion=agent_ids)
    ] = "",
    quorum: Annotated[str, typer.Option(help="How much yes accepts: 60%, or a count like 3.")] = "",
    vote_timeout: Annotated[
        timedelta | None, typer.Option(parser=duration, help="How long votes are taken.", metavar="DURATION")
    ] = None,
    verify: Annotated[
        int | None, typer.Option(min=1, help="Run it several times; the result is what so many runs agree on.")
    ] = None,
    copies: Annotated[
        int, typer.Option(min=0, help="With --verify: how many runs. Else one less than twice that.")
    ] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end and print the result.")] = False,
    wait_timeout: Annotated[
        timedelta | None, typer.Option(parser=duration, help="Longest wait with --wait.", metavar="DURATION")
    ] = None,
    unserved: Annotated[
        str, typer.Option(help="When no node could run it: refuse, or wait for one.", metavar="refuse|wait")
    ] = "refuse",
    or_here: Annotated[
        bool, typer.Option("--or-here", help="Run it in this process when no mesh can take it; says so.")
    ] = False,
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
    """
    from meshd_cli.payloads import arguments, read_json

    session = session_of(ctx)
    values = arguments(payload, arg or [])
    surroundings = None if context is None else read_json(context, what="context")
    vote = VoteWords(electors=electors, quorum=quorum, timeout=vote_timeout)
    needed = terms(listed(requires), vote, is_required=requires_vote)

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
