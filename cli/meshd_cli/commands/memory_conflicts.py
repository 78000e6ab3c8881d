"""`mesh memory conflicts`, `resolve`, `quarantine`, `readmit`: what waits for a person, and who is not listened to."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli import render
from meshd_cli.completion import memory_keys, node_ids
from meshd_cli.session import session_of
from meshd_cli.watching import Watch, show

if TYPE_CHECKING:
    from meshd.mesh import Mesh

Key = Annotated[str, typer.Argument(metavar="KEY", help="Key.", autocompletion=memory_keys)]
NodeId = Annotated[str, typer.Argument(metavar="NODE", help="Node id.", autocompletion=node_ids)]


def register(group: typer.Typer) -> None:
    group.command("conflicts")(conflicts)
    group.command("resolve")(resolve)
    group.command("quarantine")(quarantine)
    group.command("readmit")(readmit)


def conflicts(
    ctx: typer.Context,
    prefix: Annotated[str, typer.Argument(help="Only keys that start so.")] = "",
    all: Annotated[bool, typer.Option("--all", help="Those too where the policy chose, or merged.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most keys to show.")] = 50,
    watch: Watch = False,
) -> None:
    """List keys that were written by several who did not know of each other and wait for a decision: all sides of each.

    \b
    Examples:
      mesh memory conflicts
      mesh memory conflicts plans/ --json | jq -r '.conflicts[].key'
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.memory_documents import conflict_document

        found = await mesh.memory.conflicts(prefix, settled=all, limit=limit)
        return {"kind": "memory_conflicts", "conflicts": [conflict_document(each) for each in found]}

    show(ctx, read, "memory.conflicts", watch=watch)


def resolve(
    ctx: typer.Context,
    key: Key,
    take: Annotated[
        str, typer.Option(help="Take this side: its number in `mesh memory conflicts`, or its version.")
    ] = "",
    value: Annotated[str | None, typer.Option(help="Take this value instead: JSON, or text.")] = None,
    note: Annotated[str, typer.Option(help="Why: kept with the version.")] = "",
    agent: Annotated[str, typer.Option(help="Decide on behalf of this agent.")] = "",
) -> None:
    """Settle a conflict, for everyone. Exit code 7 if somebody else wrote the key meanwhile.

    \b
    Examples:
      mesh memory resolve plans/today --take 2
      mesh memory resolve plans/today --value '{"go": "home"}' --note "both were wrong"
    """
    from meshd.errors import InvalidArgumentError
    from meshd_cli.memory_documents import saved_document
    from meshd_cli.payloads import value_of

    if bool(take) is (value is not None):
        raise InvalidArgumentError("say which side with --take, or another value with --value")
    session = session_of(ctx)

    async def work(mesh: "Mesh") -> dict[str, Any]:
        memory = mesh.memory.by(agent=agent)
        if value is not None:
            return saved_document(await memory.resolve(key, value=value_of(value), note=note))
        choice = await _named(mesh, key, int(take)) if take.isdigit() else take
        return saved_document(await memory.resolve(key, choice, note=note))

    document = session.run(work)
    render.answer(session, {"kind": "memory_saved", **document}, document["version"])


def quarantine(
    ctx: typer.Context,
    node: NodeId,
    reason: Annotated[str, typer.Option(help="Why: shown to whoever asks.")] = "",
) -> None:
    """Have the mesh refuse what a node writes from now on. `mesh memory rollback --node` undoes what it wrote before.

    \b
    Examples:
      mesh memory quarantine reader-1 --reason "repeats what it read on the net"
      mesh memory quarantine reader-1 && mesh memory rollback --node reader-1 --since 1h
    """
    session = session_of(ctx)

    async def work(mesh: "Mesh") -> None:
        await mesh.memory.quarantine(node, reason=reason)

    session.run(work)
    render.answer(session, {"kind": "memory_quarantine", "node": node, "reason": reason}, node)


def readmit(ctx: typer.Context, node: NodeId) -> None:
    """Have the mesh take a node's writes again, those it held back too. Exit code 3 if it was not in quarantine.

    \b
    Examples:
      mesh memory readmit reader-1
      mesh memory readmit reader-1 && mesh sync
    """
    session = session_of(ctx)

    async def work(mesh: "Mesh") -> bool:
        return await mesh.memory.readmit(node)

    if not session.run(work):
        from meshd.errors import NotFoundError

        raise NotFoundError(f"node {node!r} is not in quarantine")
    render.answer(session, {"kind": "memory_readmitted", "node": node}, node)


async def _named(mesh: "Mesh", key: str, number: int) -> str:
    """Return the version of the side of this number, counted from 1.

    Raises:
        NotFoundError: there is no such side.
    """
    from meshd.errors import NotFoundError

    entry = await mesh.memory.get(key)
    sides = entry.siblings if entry else ()
    if not 1 <= number <= len(sides):
        raise NotFoundError(f"memory key {key!r} has {len(sides)} sides, no side {number}")
    return sides[number - 1].name
