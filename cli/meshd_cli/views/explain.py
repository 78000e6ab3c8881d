"""How the reasons for a task's place look."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from meshd_cli.views import groups
from meshd_cli.views.parts import heading, item, names, plain, quiet, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from meshd_cli.render import Document


def explanation(document: "Document") -> "Iterator[RenderableType]":
    """Yield where a task is and why, the decision behind it, and every node as the task sees it now."""
    if document["kind"] == "group_explanation":
        yield from groups.explanation(document)
        return
    task = document["task"]
    yield heading(f"Task {task['id']} ({task['type']}) {document['summary']}")
    yield item("Requires", names(document["requires"]))
    yield item("Prefers", names(document["prefers"]))
    for parent in document["parents"]:
        waited = ", waited for" if parent["waited_for"] else ""
        yield item("Depends on", f"{parent['id']} ({parent['type'] or '-'}, {parent['state'] or 'forgotten'}{waited})")
    if document["decision"] is not None:
        yield from _decision(document["decision"])
    yield plain("")
    yield heading("Nodes now:")
    rows = [
        (node["node"], f"{node['score']:.3f}", _terms(node["terms"]), _obstacles(node)) for node in document["nodes"]
    ]
    yield table(("NODE", ">SCORE", "TERMS", "IN THE WAY"), rows)
    if document["unblock"]:
        yield plain("")
        yield heading("What would let it start:")
        for help_ in document["unblock"]:
            yield plain(f"  {help_}")


def why_not(document: "Document") -> "Iterator[RenderableType]":
    """Yield why one node does not have a task."""
    if document["kind"] == "group_why_not":
        yield from groups.why_not(document)
        return
    yield heading(f"Task {document['task']['id']} and node {document['node']}:")
    for reason in document["reasons"]:
        yield plain(f"  {reason}")
    yield quiet(f"  score now {document['score']:.3f}: {_terms(document['terms'])}")


def _decision(decision: Mapping[str, Any]) -> "Iterator[RenderableType]":
    yield plain("")
    chosen = decision["chosen"] or "nobody: no candidate had a free slot"
    looked = f"{decision['candidates']} of {decision['nodes']} nodes were candidates"
    yield heading(f"Decided at the submit by {decision['policy']}: {chosen} ({looked})")
    yield item("Weights", _terms(decision["weights"]))
    for one in decision["top"]:
        yield item(one["node"], f"{one['score']:.3f} = {_terms(one['terms'])}")
    if decision["rejected"]:
        yield item("Left out", ", ".join(f"{count} for {what}" for what, count in decision["rejected"].items()))


def _obstacles(node: Mapping[str, Any]) -> str:
    if node["holds_it"]:
        return "has it"
    return "; ".join(obstacle["detail"] for obstacle in node["obstacles"]) or "nothing"


def _terms(terms: Mapping[str, float]) -> str:
    return ", ".join(f"{term} {value:g}" for term, value in terms.items())
