"""How proposals and their votes look."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from meshd_cli.views.parts import heading, item, plain, quiet, table, word

if TYPE_CHECKING:
    from rich.console import RenderableType

    from meshd_cli.render import Document


def listing(document: "Document") -> "Iterator[RenderableType]":
    """Yield one line per proposal."""
    is_ranked = document["ranked"]
    columns = ("PROPOSAL", "TYPE", "STATE", ">YES", ">NO", ">NEED", ">OF", ">STRENGTH" if is_ranked else ">DANCE")
    rows = [
        (
            each["id"],
            each["type"],
            word(each["state"]),
            each["yes"],
            each["no"],
            _need(each),
            each["total"],
            f"{each['strength' if is_ranked else 'intensity']:.2f}",
        )
        for each in document["proposals"]
    ]
    yield table(columns, rows)


def one(document: "Document") -> "Iterator[RenderableType]":
    """Yield everything about one proposal."""
    proposal = document["proposal"]
    yield heading(f"Proposal {proposal['id']}: ").append_text(word(proposal["state"], upper=True))
    yield item("Type", proposal["type"])
    yield item("Content", _text(proposal["content"]))
    yield item("Proposer", proposal["proposer"])
    if proposal["supersedes"]:
        yield item("Supersedes", f"{proposal['supersedes']} (epoch {proposal['epoch']})")
    weighted = "" if proposal["unit"] == "heads" else f" ({proposal['unit']})"
    yield item(
        "Votes",
        f"{proposal['yes']} yes, {proposal['no']} no, {proposal['abstain']} abstain, {proposal['undecided']} open; "
        f"{_need(proposal)} of {proposal['total']} needed{weighted}",
    )
    yield item("Pattern", proposal["pattern"])
    waggle = proposal["waggle"]
    yield item(
        "Dance",
        f"intensity {waggle['intensity']:.2f}, {waggle['duration_ms']} ms, {waggle['repetitions']} times, "
        f"{waggle['angle']:.0f} degrees",
    )
    if proposal["decided_at"]:
        told = "announced" if proposal["announced"] else "not announced yet"
        yield item("Decided", f"{proposal['decided_at']}, durability {proposal['durability'] or 'unknown'}, {told}")
    else:
        yield item("Expires", proposal["expires_at"])
    yield from _votes(proposal)


def _votes(proposal: Any) -> "Iterator[RenderableType]":
    said = {vote["voter"]: vote for vote in proposal["votes"]}
    rows: list[tuple[Any, ...]] = []
    for elector in proposal["electorate"]:
        vote = said.get(elector["id"])
        name = elector["id"] + (" (may veto)" if elector["may_veto"] else "")
        if vote is None:
            rows.append((name, elector["weight"], quiet("open"), "", ""))
        else:
            rows.append((name, elector["weight"], word(vote["choice"]), f"{vote['intensity']:.2f}", vote["reason"]))
    yield plain("")
    yield table(("ELECTOR", ">WEIGHT", "CHOICE", ">INTENSITY", "REASON"), rows)


def _need(proposal: Any) -> str:
    return str(proposal["need"]) if proposal["need"] else "asked"


def _text(content: Any) -> str:
    from json import dumps

    return content if isinstance(content, str) else dumps(content, ensure_ascii=False)
