"""`mesh memory`: what everyone knows, key by key."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli import render
from meshd_cli.commands import memory_conflicts, memory_leases, memory_past, memory_values
from meshd_cli.completion import memory_keys
from meshd_cli.durations import duration
from meshd_cli.moments import moment_or_version
from meshd_cli.session import session_of
from meshd_cli.watching import Watch, lazy_view, show

if TYPE_CHECKING:
    from meshd.memory.service import Memory
    from meshd.mesh import Mesh

Key = Annotated[str, typer.Argument(metavar="KEY", help="Key, such as notes/paris.", autocompletion=memory_keys)]
Agent = Annotated[str, typer.Option(help="Write on behalf of this agent.")]
Note = Annotated[str, typer.Option(help="Why: kept with the version.")]
Over = Annotated[str, typer.Option(help="Only if these versions are current: a:1, or a:1,b:2.", metavar="VERSIONS")]
Prefix = Annotated[str, typer.Argument(help="Only keys that start so.")]

MEMORY_HELP = """What everyone knows: values by key, their past, conflicts, undo.

\b
Examples:
  mesh memory put notes/paris '{"rain": true}'
  mesh memory get notes/paris
"""


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help=MEMORY_HELP)
    group.command("put")(put)
    group.command("get")(get)
    group.command("list")(list_keys)
    group.command("delete")(delete)
    group.command("watch")(watch)
    memory_values.register(group)
    memory_past.register(group)
    memory_conflicts.register(group)
    memory_leases.register(group)
    app.add_typer(group, name="memory")


def put(
    ctx: typer.Context,
    key: Key,
    value: Annotated[str, typer.Argument(help="JSON, or text; @FILE or - (stdin) for JSON from there.")],
    ttl: Annotated[timedelta | None, typer.Option(parser=duration, help="Gone after this.", metavar="DURATION")] = None,
    priority: Annotated[int, typer.Option(min=1, max=10, help="From 8 on it is sent at once.")] = 5,
    note: Note = "",
    agent: Agent = "",
    create: Annotated[bool, typer.Option("--create", help="Only if the key has no value.")] = False,
    over: Over = "",
    strategy: Annotated[str, typer.Option(help="eventual, strong, master_slave, peer_to_peer.")] = "",
    policy: Annotated[str, typer.Option(help="What a conflict means: latest_wins, merge_compatible, manual, …")] = "",
    acks: Annotated[str, typer.Option(help="Wait until the hub, a quorum or all replicas have it.")] = "",
) -> None:
    """Write a value. Everyone on the mesh reads it from then on.

    \b
    Examples:
      mesh memory put notes/paris '{"rain": true}' --note "looked out of the window"
      mesh memory put plan @plan.json --over "$(mesh memory get plan --json | jq -r .version)"
    """
    from meshd.errors import InvalidArgumentError
    from meshd_cli.memory_documents import saved_document
    from meshd_cli.payloads import value_of

    if create and over:
        raise InvalidArgumentError("--create and --over exclude each other")
    session = session_of(ctx)
    content = value_of(value)

    async def work(mesh: "Mesh") -> dict[str, Any]:
        memory = mesh.memory.by(agent=agent)
        if create:
            return saved_document(await memory.create(key, content, ttl=ttl, priority=priority, note=note))
        how = {"strategy": strategy or None, "policy": policy or None, "acks": acks or None}
        seen = await _as_read(memory, key, over) if over else None
        return saved_document(await memory.put(key, content, ttl=ttl, priority=priority, note=note, over=seen, **how))

    document = session.run(work)
    render.answer(session, {"kind": "memory_saved", **document}, document["version"])


def get(
    ctx: typer.Context,
    key: Key,
    at: Annotated[
        Any, typer.Option(parser=moment_or_version, help="As it was: 10m (ago), ISO time, or version.", metavar="WHEN")
    ] = None,
    watch: Watch = False,
) -> None:
    """Show the value of a key on stdout, and on stderr if it is in conflict. Exit code 3 if it has none.

    \b
    Examples:
      mesh memory get notes/paris
      mesh memory get notes/paris --at 10m
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd.errors import NotFoundError
        from meshd_cli.memory_documents import entry_document, writing_document

        entry = await mesh.memory.get(key, at=at)
        if entry is None:
            raise NotFoundError(f"memory key {key!r} has no value{' at that time' if at else ''}")
        siblings = [writing_document(each) for each in entry.siblings]
        return {"kind": "memory", **entry_document(entry), "siblings": siblings}

    document = show(ctx, read, "memory.value", watch=watch)
    if document["is_conflict"]:
        render.note(f"{key} is in conflict: {len(document['siblings'])} versions; this is the latest")


def list_keys(
    ctx: typer.Context,
    prefix: Prefix = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most keys to show.")] = 100,
    after: Annotated[str, typer.Option(help="Continue after this key.")] = "",
    watch: Watch = False,
) -> None:
    """List keys that have a value, in order.

    \b
    Examples:
      mesh memory list notes/
      mesh memory list --json | jq -r '.entries[] | "\\(.key) \\(.agent)"'
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.memory_documents import entry_document

        found = await mesh.memory.list(prefix, limit=limit, after=after)
        more = found[-1].key if len(found) == limit else ""
        return {"kind": "memory_list", "entries": [entry_document(each) for each in found], "after": more}

    show(ctx, read, "memory.listing", watch=watch)


def delete(ctx: typer.Context, key: Key, note: Note = "", agent: Agent = "", over: Over = "") -> None:
    """Delete a key everywhere. Its past is kept as long as that of other keys. Exit code 3 if it has no value.

    \b
    Examples:
      mesh memory delete notes/paris
      mesh memory delete notes/paris --note "wrong city" && mesh memory rollback notes/paris
    """
    session = session_of(ctx)

    async def work(mesh: "Mesh") -> bool:
        memory = mesh.memory.by(agent=agent)
        return await memory.delete(key, note=note, over=await _as_read(memory, key, over) if over else None)

    if not session.run(work):
        from meshd.errors import NotFoundError

        raise NotFoundError(f"memory key {key!r} has no value")
    render.answer(session, {"kind": "memory_deleted", "key": key}, key)


def watch(
    ctx: typer.Context,
    prefix: Prefix = "",
    count: Annotated[int | None, typer.Option(min=1, help="Stop after so many changes.")] = None,
) -> None:
    """Print each key after it changed, until Ctrl-C. What is there already is not printed.

    \b
    Examples:
      mesh memory watch notes/
      mesh memory watch --json --count 1
    """
    session = session_of(ctx)

    async def work(mesh: "Mesh") -> None:
        from meshd_cli.memory_documents import change_document

        left = count
        async for change in mesh.memory.watch(prefix):
            render.show(session, change_document(change), lazy_view(session, "memory.change"))
            left = None if left is None else left - 1
            if left == 0:
                return

    session.run(work)


async def _as_read(memory: "Memory", key: str, versions: str) -> Any:
    """Return the entry, if it stands on exactly these versions.

    Raises:
        WriteConflictError: it does not.
    """
    from meshd.errors import WriteConflictError
    from meshd_cli.commands.status import listed

    entry = await memory.get(key)
    found = entry.versions if entry else ()
    if entry is None or set(found) != set(listed(versions)):
        raise WriteConflictError(key, expected=tuple(listed(versions)), current=found)
    return entry
