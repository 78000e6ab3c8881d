"""`mesh memory add`, `mesh memory set-add`, `mesh memory set-remove`: values that several change at once."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshd_cli import render
from meshd_cli.completion import memory_keys
from meshd_cli.session import session_of

if TYPE_CHECKING:
    from meshd.mesh import Mesh

Key = Annotated[str, typer.Argument(metavar="KEY", help="Key.", autocompletion=memory_keys)]
Values = Annotated[list[str], typer.Argument(metavar="VALUE", help="JSON, or text.")]
Agent = Annotated[str, typer.Option(help="Write on behalf of this agent.")]


def register(group: typer.Typer) -> None:
    group.command("add")(add)
    group.command("set-add")(set_add)
    group.command("set-remove")(set_remove)


def add(
    ctx: typer.Context,
    key: Key,
    by: Annotated[float, typer.Argument(help="How much; may be negative after --.")] = 1,
    agent: Agent = "",
) -> None:
    """Raise a counter that several may raise at once; print what it stands at.

    \b
    Examples:
      mesh memory add visits
      mesh memory add stock -- -3
    """
    session = session_of(ctx)

    async def work(mesh: "Mesh") -> float:
        return await mesh.memory.by(agent=agent).counter(key).add(int(by) if by == int(by) else by)

    value = session.run(work)
    render.answer(session, {"kind": "memory_counter", "key": key, "value": value}, f"{value:g}")


def set_add(ctx: typer.Context, key: Key, values: Values, agent: Agent = "") -> None:
    """Put values into a set that several may change at once; print what is in it.

    \b
    Examples:
      mesh memory set-add cities Paris Rome
      mesh memory set-add cities '{"name": "Oslo"}'
    """
    _change(ctx, key, agent, add=values)


def set_remove(ctx: typer.Context, key: Key, values: Values, agent: Agent = "") -> None:
    """Take values out of a set; an addition elsewhere at the same time wins. Print what is left.

    \b
    Examples:
      mesh memory set-remove cities Rome
      mesh memory set-remove cities Rome --json | jq .value
    """
    _change(ctx, key, agent, remove=values)


def _change(ctx: typer.Context, key: str, agent: str, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
    from meshd_cli.payloads import value_of

    session = session_of(ctx)

    async def work(mesh: "Mesh") -> list[Any]:
        shared = mesh.memory.by(agent=agent).set(key)
        await (shared.add(*map(value_of, add)) if add else shared.remove(*map(value_of, remove)))
        return list(await shared.values())

    values = session.run(work)
    render.answer(session, {"kind": "memory_set", "key": key, "value": values}, json.dumps(values, ensure_ascii=False))
