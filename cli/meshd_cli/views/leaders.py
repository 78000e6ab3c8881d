"""How leaders look."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from meshd_cli.views.parts import age, heading, item, quiet, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from meshd_cli.render import Document


def listing(document: "Document") -> "Iterator[RenderableType]":
    """Yield one line per leader."""
    if not document["leaders"]:
        yield quiet("nobody leads anything")
        return
    rows = [
        (each["scope"], each["holder"], each["token"], each["since"], age(each["lease_left_seconds"]))
        for each in document["leaders"]
    ]
    yield table(("SCOPE", "LEADER", ">TOKEN", "SINCE", ">LEASE LEFT"), rows)


def one(document: "Document") -> "Iterator[RenderableType]":
    """Yield everything about one leader."""
    leader = document["leader"]
    yield heading(f"Leader of {leader['scope']}")
    yield item("Leader", leader["holder"])
    yield item("Token", leader["token"])
    yield item("Since", leader["since"])
    yield item("Lease", f"{age(leader['lease_seconds'])}, {age(leader['lease_left_seconds'])} left")
