"""`mesh skills`: who can do what, and how well."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli.completion import skill_levels
from meshd_cli.watching import Watch, show

if TYPE_CHECKING:
    from meshd.mesh import Mesh


def register(app: typer.Typer) -> None:
    app.command("skills")(skills)


def skills(
    ctx: typer.Context,
    skill: Annotated[str, typer.Argument(metavar="SKILL", help="Only this skill.")] = "",
    min_level: Annotated[
        str, typer.Option(help="Only at this level or above: novice to expert.", autocompletion=skill_levels)
    ] = "novice",
    gone: Annotated[bool, typer.Option("--gone", help="Also agents whose nodes are not alive.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Most agents to look at.")] = 100,
    watch: Watch = False,
) -> None:
    """Show who can do what: level, success, mean time, outcomes, reputation, free slots.

    \b
    Examples:
      mesh skills python --min-level advanced
      mesh skills --json | jq '.skills[] | {agent, skill, level}'
    """

    async def read(mesh: "Mesh") -> dict[str, Any]:
        from meshd.clock import system_clock
        from meshd.groups.skills import level_named
        from meshd_cli.group_documents import skill_documents

        least = level_named(min_level)
        found = await mesh.groups.agents(skill or None, level=least, limit=limit)
        live = await mesh.groups.live_nodes()
        kept = [each for each in found if gone or each.node in live]
        rows = skill_documents(kept, skill=skill, least=least, live=live, now_ms=system_clock())
        return {"kind": "skills", "skills": rows}

    show(ctx, read, "groups.skills", watch=watch)
