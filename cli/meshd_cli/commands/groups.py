"""`mesh groups`: announcements and the groups that work on them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli import render
from meshd_cli.completion import announcement_ids
from meshd_cli.session import session_of
from meshd_cli.watching import Watch, lazy_view, show

if TYPE_CHECKING:
    from collections.abc import Collection

    from meshd.groups.model import Announcement
    from meshd.mesh import Mesh

GroupId = Annotated[str, typer.Argument(metavar="ID", help="Announcement id.", autocompletion=announcement_ids)]

GROUPS_HELP = """See which groups are forming and working, follow them, cancel them.

\b
Examples:
  mesh groups list --state running
  mesh groups show report-7
"""


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help=GROUPS_HELP)
    group.command("list")(list_groups)
    group.command("show")(show_group)
    group.command("watch")(watch_groups)
    group.command("cancel")(cancel)
    app.add_typer(group, name="groups")


def list_groups(
    ctx: typer.Context,
    state: Annotated[
        str, typer.Option(help="open, all, or one of waiting, announced, negotiating, formed, running, completed, ...")
    ] = "open",
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Most to list.")] = 100,
    watch: Watch = False,
) -> None:
    """List announcements: those that are open, or others that are still kept.

    \b
    Examples:
      mesh groups list --watch
      mesh groups list --state all --json | jq '.groups[] | {id, state, members}'
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.group_documents import announcement_summary

        found = await mesh.groups.list(state=None if state == "all" else state, limit=limit)
        return {"kind": "groups", "groups": [announcement_summary(each) for each in found]}

    show(ctx, read, "groups.listing", watch=watch)


def show_group(ctx: typer.Context, id: GroupId, watch: Watch = False) -> None:
    """Show one announcement with its group, progress and results.

    \b
    Examples:
      mesh groups show report-7 --watch
      mesh groups show report-7 --json | jq .group.results
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd_cli.group_documents import announcement_summary

        found = await mesh.groups.get(id)
        document = _one(found, stalled={member.agent for member in mesh.groups.stalled(found)})
        parts = [announcement_summary(each) for each in await mesh.groups.children(id)]
        return {**document, "parts": parts}

    show(ctx, read, "groups.one", watch=watch)


def watch_groups(
    ctx: typer.Context,
    id: Annotated[
        str, typer.Argument(metavar="ID", help="Announcement id; else all.", autocompletion=announcement_ids)
    ] = "",
) -> None:
    """Follow groups as they form and work, a line for each change: one until it is over, or all until Ctrl-C.

    \b
    Examples:
      mesh groups watch
      mesh groups watch report-7 --json
    """
    session = session_of(ctx)

    async def work(mesh: "Mesh") -> None:
        async for each in mesh.groups.watch(id or None):
            render.show(session, _one(each), lazy_view(session, "groups.change"))

    session.run(work)


def cancel(
    ctx: typer.Context,
    id: GroupId,
    reason: Annotated[str, typer.Option(help="Why; its members are told.")] = "",
) -> None:
    """Cancel an announcement at whatever stage it is; what its members have done stays.

    \b
    Examples:
      mesh groups cancel report-7 --reason "not wanted any more"
      mesh groups cancel 01JD0000000000000000000000
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        return {**_one(await mesh.groups.cancel(id, reason)), "parts": []}

    show(ctx, read, "groups.one")


def _one(announcement: "Announcement", *, stalled: "Collection[str]" = ()) -> dict[str, Any]:
    from meshd_cli.group_documents import announcement_document

    return {"kind": "group", "group": announcement_document(announcement, stalled=stalled)}
