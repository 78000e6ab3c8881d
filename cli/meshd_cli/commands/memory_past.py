"""`mesh memory log`, `diff`, `blame`, `rollback`: what keys were, and setting them back."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli import render
from meshd_cli.completion import memory_keys
from meshd_cli.moments import moment, moment_or_version
from meshd_cli.session import session_of
from meshd_cli.watching import lazy_view, show

if TYPE_CHECKING:
    from meshd.mesh import Mesh

Key = Annotated[str, typer.Argument(metavar="KEY", help="Key.", autocompletion=memory_keys)]
Agent = Annotated[str, typer.Option(help="Write on behalf of this agent.")]
When = Annotated[Any, typer.Argument(parser=moment_or_version, metavar="WHEN", help="10m (ago), ISO time, or version.")]


def register(group: typer.Typer) -> None:
    group.command("log")(log)
    group.command("diff")(diff)
    group.command("blame")(blame)
    group.command("rollback")(rollback)


def log(
    ctx: typer.Context,
    key: Key,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most versions to show.")] = 20,
) -> None:
    """List the versions of a key that are still kept, the latest first: what, when, by whom, why.

    \b
    Examples:
      mesh memory log notes/paris
      mesh memory log notes/paris --json | jq -r '.versions[].agent'
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd.errors import NotFoundError
        from meshd_cli.memory_documents import logged_document

        found = await mesh.memory.log(key, limit=limit)
        if not found:
            raise NotFoundError(f"memory key {key!r} was never written, or its past is no longer kept")
        return {"kind": "memory_log", "key": key, "versions": [logged_document(each) for each in found]}

    show(ctx, read, "memory.log")


def diff(ctx: typer.Context, key: Key, before: When = None, after: When = None) -> None:
    """Show what changed in a value, part by part: since its last version, or between two moments or versions.

    \b
    Examples:
      mesh memory diff notes/paris
      mesh memory diff notes/paris 1h 10m
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.memory_documents import difference_document

        found = await mesh.memory.diff(key, before, after)
        return {"kind": "memory_diff", "key": key, "differences": [difference_document(each) for each in found]}

    show(ctx, read, "memory.diff")


def blame(ctx: typer.Context, key: Key) -> None:
    """Show, for each part of a value, since which version it is what it is: agent, node, task, note.

    \b
    Examples:
      mesh memory blame notes/paris
      mesh memory blame notes/paris --json | jq -r '.parts[] | "\\(.path) \\(.agent)"'
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.memory_documents import blame_document

        found = await mesh.memory.blame(key)
        return {"kind": "memory_blame", "key": key, "parts": [blame_document(each) for each in found]}

    show(ctx, read, "memory.blame")


def rollback(
    ctx: typer.Context,
    key: Annotated[
        str, typer.Argument(help="The key; none: all that --by and the like name.", autocompletion=memory_keys)
    ] = "",
    to: Annotated[
        Any, typer.Option(parser=moment_or_version, help="Back to this moment or version.", metavar="WHEN")
    ] = None,
    by: Annotated[str, typer.Option(help="Undo everything this agent wrote.", metavar="AGENT")] = "",
    node: Annotated[str, typer.Option(help="Undo everything this node wrote.")] = "",
    task: Annotated[str, typer.Option(help="Undo everything this task wrote.")] = "",
    operation: Annotated[str, typer.Option(help="Undo what has this note, or an earlier rollback by its name.")] = "",
    since: Annotated[
        datetime | None,
        typer.Option(parser=moment, help="Only what was written since: 10m, or ISO time.", metavar="WHEN"),
    ] = None,
    prefix: Annotated[str, typer.Option(help="Only keys that start so.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    note: Annotated[str, typer.Option(help="Why: kept with the versions.")] = "",
    agent: Agent = "",
) -> None:
    """Set one key back to its last version (or --to another), or undo all that an agent, node or task wrote.

    What others wrote since is kept, and listed as skipped. A rollback is a write: it reaches everyone, and can be
    undone.

    \b
    Examples:
      mesh memory rollback notes/paris
      mesh memory rollback --by scout --since 1h --dry-run
    """
    from meshd.errors import InvalidArgumentError

    if bool(key) is bool(by or node or task or operation):
        raise InvalidArgumentError("name a key, or whose writes: --by, --node, --task or --operation")
    session = session_of(ctx)

    async def work(mesh: "Mesh") -> dict[str, Any]:
        from meshd.memory.undo import Scope, since_ms
        from meshd_cli.memory_documents import undo_document, undone_document

        memory = mesh.memory.by(agent=agent)
        if key:
            undone = undone_document(await memory.rollback(key, to, note=note))
            return {"kind": "memory_rollback", "operation": "", "is_dry_run": False, "undone": [undone], "skipped": []}
        begin = since_ms(since, now_ms=await memory.now_ms())
        scope = Scope(agent=by, node=node, task=task, operation=operation, since_ms=begin)
        return undo_document(await memory.rollback_by(scope, prefix=prefix, dry_run=dry_run, note=note))

    if key and dry_run:
        raise InvalidArgumentError(
            "--dry-run is for many keys; `mesh memory diff KEY` shows what a rollback takes back"
        )
    render.show(session, session.run(work), lazy_view(session, "memory.rollback"))
