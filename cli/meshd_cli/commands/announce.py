"""`mesh announce`: give work to a group that has all the skills it needs."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli import render
from meshd_cli.completion import announcement_ids, priorities
from meshd_cli.durations import duration
from meshd_cli.session import Session, session_of

if TYPE_CHECKING:
    from meshd.groups.announced import Announced, Update
    from meshd.mesh import Mesh


Description = Annotated[str, typer.Argument(help="What is to be done.")]
Skills = Annotated[
    list[str], typer.Option(help="A skill the group needs: python, python>=advanced; repeat it.", metavar="SKILL")
]
Payload = Annotated[
    str | None, typer.Option(help="What the members get: JSON, or text; @file or - for JSON.", metavar="JSON")
]
OwnId = Annotated[str, typer.Option(help="Id of your own: announcing it again is the same announcement.")]
Size = Annotated[int | None, typer.Option(min=1, help="Most members; else as groups.max_size says.")]
PriorityName = Annotated[str, typer.Option(help="critical, high, normal, low, background.", autocompletion=priorities)]
Partial = Annotated[
    str, typer.Option(help="When a skill is not covered in time: fail, extend (wait on), start without it.")
]
Formation = Annotated[
    timedelta | None, typer.Option(parser=duration, help="How long the group may take to form.", metavar="DURATION")
]
Deadline = Annotated[
    timedelta | None, typer.Option(parser=duration, help="When all is to be over.", metavar="DURATION")
]
After = Annotated[
    list[str] | None,
    typer.Option(
        help="An announcement that must have completed first; repeat it.",
        metavar="ID",
        autocompletion=announcement_ids,
    ),
]
Unserved = Annotated[
    str, typer.Option(help="When nobody has one of the skills: refuse, or wait.", metavar="refuse|wait")
]
Wait = Annotated[bool, typer.Option("--wait", help="Tell of progress, and print the results.")]
WaitTimeout = Annotated[
    timedelta | None, typer.Option(parser=duration, help="Longest wait with --wait.", metavar="DURATION")
]


def register(app: typer.Typer) -> None:
    app.command("announce")(announce)


def announce(
    ctx: typer.Context,
    description: Description,
    skill: Skills,
    payload: Payload = None,
    id: OwnId = "",
    size: Size = None,
    priority: PriorityName = "normal",
    partial: Partial = "fail",
    formation: Formation = None,
    deadline: Deadline = None,
    after: After = None,
    unserved: Unserved = "wait",
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
) -> None:
    """Announce work for a group. Prints its id; with --wait its results, and ends with 1 if the group fails.

    \b
    Examples:
      mesh announce "quarterly report" --skill python>=advanced --skill writing --payload '{"quarter": 3}' --wait
      mesh announce "publish it" --skill web --after 01JD0000000000000000000000 --priority high --deadline 10m
    """
    from meshd_cli.payloads import value_of

    session = session_of(ctx)
    value = None if payload is None else value_of(payload)

    async def work(mesh: "Mesh") -> None:
        announced = await mesh.groups.announce(
            description,
            skills=skill,
            payload=value,
            id=id or None,
            max_size=size,
            priority=priority,
            partial=partial,
            formation=formation,
            deadline=deadline,
            depends_on=after or (),
            unserved=unserved,
            detach=not wait,
            on_update=_told if wait else None,
        )
        await _answer(session, announced, wait=wait, timeout=wait_timeout)

    session.run(work)


async def _answer(session: Session, announced: "Announced", *, wait: bool, timeout: timedelta | None) -> None:
    """Print the id, or after the end the results."""
    document: dict[str, Any] = {"kind": "announced", "id": announced.id}
    if not wait:
        render.answer(session, document, announced.id)
        if not session.json:
            render.hint(f"`mesh groups watch {announced.id}` follows it; `mesh explain {announced.id}` tells why")
        return
    render.note(f"announced as {announced.id}")
    results = await announced.result(timeout)
    if results.is_partial:
        render.note(f"partial: nobody covered {', '.join(results.missing)}")
    document |= {"is_partial": results.is_partial, "missing": list(results.missing), "results": dict(results)}
    render.answer(session, document, json.dumps(results, ensure_ascii=False, indent=2))


def _told(update: "Update") -> None:
    said = f"is lost: {update.lost}" if update.lost else f"{update.progress:.0%} {update.note}".rstrip()
    render.note(f"{update.agent} {said}")
