"""`mesh message`: what agents say to each other."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli import render
from meshd_cli.completion import agent_ids
from meshd_cli.durations import duration
from meshd_cli.session import session_of
from meshd_cli.watching import lazy_view, show

if TYPE_CHECKING:
    from meshd.mesh import Mesh

Agent = Annotated[str, typer.Option("--as", help="Agent, node or role to listen as.", autocompletion=agent_ids)]
Payload = Annotated[str, typer.Option("--payload", "-p", help="JSON, or text; @FILE or - (stdin) for JSON from there.")]

MESSAGE_HELP = """Say something to an agent, listen as one, see what nobody handled.

\b
Examples:
  mesh message send --to reader-1 --type handshake --wait 5s
  mesh message unhandled
"""


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help=MESSAGE_HELP)
    group.command("send")(send)
    group.command("listen")(listen)
    group.command("unhandled")(unhandled)
    app.add_typer(group, name="message")


def send(
    ctx: typer.Context,
    to: Annotated[str, typer.Option(help="Agent, node or role that is to handle it.", autocompletion=agent_ids)],
    type: Annotated[str, typer.Option(help="Type: task, response, waggle, vote, status_request, or your own.")],
    payload: Payload = "null",
    sender: Annotated[str, typer.Option("--from", help="Send as this agent.")] = "",
    id: Annotated[str, typer.Option(help="Id of your own: sending it again changes nothing for a day.")] = "",
    ttl: Annotated[
        timedelta | None, typer.Option(parser=duration, help="Not delivered later.", metavar="DURATION")
    ] = None,
    wait: Annotated[
        timedelta | None,
        typer.Option(parser=duration, help="Wait so long for the reply, and print it.", metavar="DURATION"),
    ] = None,
) -> None:
    """Send a message; it is kept until its addressee handles it. With --wait, print the reply.

    \b
    Examples:
      mesh message send --to sales --type order -p '{"item": 7}'
      mesh message send --to reader-1 --type status_request --wait 5s
    """
    from meshd_cli.message_documents import message_document
    from meshd_cli.payloads import value_of

    session = session_of(ctx)
    _check_waiting(wait, {"--from": sender, "--id": id, "--ttl": ttl})
    value = value_of(payload)

    async def work(mesh: "Mesh") -> dict[str, Any]:
        if wait is not None:
            return {"kind": "reply", "from": to, "payload": await mesh.messages.request(to, type, value, timeout=wait)}
        sent = await mesh.messages.send(to, type, value, id=id or None, ttl=ttl, sender=sender or None)
        return {"kind": "message", **message_document(sent)}

    document = session.run(work)
    render.show(session, document, lazy_view(session, f"message.{document['kind']}"))


def listen(
    ctx: typer.Context,
    agent: Agent,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after so many messages.")] = None,
    reply: Annotated[str | None, typer.Option(help="Answer each message with this: JSON, or text.")] = None,
) -> None:
    """Print what comes for an agent, each message once, until Ctrl-C. What is printed is handled.

    \b
    Examples:
      mesh message listen --as sales --count 1
      mesh message listen --as sales --json | jq .payload
    """
    from meshd_cli.message_documents import message_document
    from meshd_cli.payloads import value_of

    session = session_of(ctx)
    answer = None if reply is None else value_of(reply)

    async def work(mesh: "Mesh") -> None:
        left = count
        async with mesh.messages.listen(agent) as messages:
            async for message in messages:
                document = {"kind": "message", **message_document(message)}
                render.show(session, document, lazy_view(session, "message.message"))
                if reply is not None:
                    await mesh.messages.reply(message, answer)
                left = None if left is None else left - 1
                if left == 0:
                    return

    session.run(work)


def unhandled(
    ctx: typer.Context,
    to: Annotated[str, typer.Option(help="Only messages to this addressee.", autocompletion=agent_ids)] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most messages to list.")] = 100,
) -> None:
    """List messages no handler took, and why. They are kept for seven days.

    \b
    Examples:
      mesh message unhandled
      mesh message unhandled --to sales --json | jq '.messages[].reason'
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.message_documents import unhandled_document

        found = await mesh.messages.unhandled(to, limit=limit)
        return {"kind": "unhandled_messages", "messages": [unhandled_document(each) for each in found]}

    show(ctx, read, "message.unhandled")


def _check_waiting(wait: timedelta | None, others: dict[str, object]) -> None:
    """Return if these options go together.

    Raises:
        InvalidArgumentError: a reply cannot be waited for with one of them.
    """
    from meshd.errors import InvalidArgumentError

    given = [name for name, value in others.items() if value]
    if wait is not None and given:
        raise InvalidArgumentError(f"--wait and {given[0]} do not go together: who waits is the sender, while it waits")
