"""How announcements, groups, skills and the reasons for a choice look."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from meshd_cli.views.parts import age, heading, item, names, plain, quiet, table, word

if TYPE_CHECKING:
    from rich.console import RenderableType

    from meshd_cli.render import Document


def skills(document: "Document") -> "Iterator[RenderableType]":
    """Yield one line per agent and skill."""
    rows = [
        (
            each["skill"],
            each["agent"],
            each["level"],
            f"{each['success']:.0%}",
            "-" if each["seconds"] is None else age(each["seconds"]),
            each["outcomes"],
            f"{each['reputation']:.2f}",
            f"{each['free']} of {each['slots']}",
            each["node"] if each["is_live"] else quiet(f"{each['node']} (gone)"),
        )
        for each in document["skills"]
    ]
    columns = ("SKILL", "AGENT", "LEVEL", ">SUCCESS", ">TIME", ">OUTCOMES", ">REPUTATION", ">FREE SLOTS", "NODE")
    yield table(columns, rows)


def listing(document: "Document") -> "Iterator[RenderableType]":
    """Yield one line per announcement."""
    rows = [
        (
            each["id"],
            _state(each),
            each["priority"],
            f"{each['progress']:.0%}",
            names(each["members"]),
            names(each["skills"]),
            each["description"],
        )
        for each in document["groups"]
    ]
    yield table(("GROUP", "STATE", "PRIORITY", ">DONE", "MEMBERS", "SKILLS", "DESCRIPTION"), rows)


def change(document: "Document") -> "Iterator[RenderableType]":
    """Yield one line about an announcement that has changed."""
    each = document["group"]
    said = "; ".join(f"{one['agent']}: {one['note']}" for one in each["group"] if one["note"] and not one["done"])
    rest = [f"{each['progress']:.0%}", names(each["members"]), said or each["reason"]]
    yield plain(f"{each['id']}  ").append_text(_state(each)).append("  " + "  ".join(filter(None, rest)))


def one(document: "Document") -> "Iterator[RenderableType]":
    """Yield everything about one announcement and its group."""
    each = document["group"]
    yield heading(f"Group {each['id']}: ").append_text(_state(each, upper=True))
    yield item("Work", each["description"])
    yield item("Skills", names(each["skills"]))
    if each["missing"] and not each["ended_at"]:
        yield item("Not covered yet", names(each["missing"]))
    yield item("Initiator", f"{each['initiator']}, priority {each['priority']}")
    yield item("Size", f"at most {each['max_size']}, if a skill is missing: {each['partial']}")
    if each["depends_on"]:
        yield item("After", names(each["depends_on"]))
    if each["parent"]:
        yield item("Part of", each["parent"])
    if document["parts"]:
        yield item("Parts", ", ".join(f"{part['id']} ({part['state']})" for part in document["parts"]))
    yield item("Announced", each["announced_at"])
    if each["ended_at"]:
        yield item("Ended", each["ended_at"] + (f": {each['reason']}" if each["reason"] else ""))
    else:
        yield item("Deadline", each["deadline_at"])
    yield item("Done", f"{each['progress']:.0%}, formation {each['epoch']}, {each['reformations']} times anew")
    yield from _group(each)
    yield from _results(each)


def explanation(document: "Document") -> "Iterator[RenderableType]":
    """Yield why these were chosen, why others were not, and what would let a group form."""
    yield heading(f"Group {document['announcement']['id']} {document['summary']}")
    yield item("Skills", names(document["announcement"]["skills"]))
    yield item("Weights", _terms(document["weights"]))
    if document["is_even"]:
        yield item("Choice", "an even one: scores are not looked at, so that everybody gets some work")
    if document["chosen"]:
        yield plain("")
        yield heading(f"Chosen, price {_number(document['price'])}:")
        yield table(("AGENT", "ROLES", "PART", ">SCORE", ">OFFERED", ">PRICE", "TERMS"), _chosen(document))
    if document["others"]:
        yield plain("")
        yield heading("Not chosen:")
        columns = ("AGENT", "BRINGS", ">SCORE", ">PRICE OF A GROUP WITH IT", "IN THE WAY", "TERMS")
        yield table(columns, [_other(each, document["price"]) for each in document["others"]])
    if document["unblock"]:
        yield plain("")
        yield heading("What would let it form:")
        for each in document["unblock"]:
            yield plain(f"  {each['detail']}")


def why_not(document: "Document") -> "Iterator[RenderableType]":
    """Yield why one agent is not in a group."""
    yield heading(f"Group {document['announcement']['id']} and agent {document['agent']}:")
    for reason in document["reasons"]:
        yield plain(f"  {reason}")
    yield quiet(f"  score now {_number(document['score'])}: {_terms(document['terms'])}")


def _group(each: Mapping[str, Any]) -> "Iterator[RenderableType]":
    rows: list[tuple[Any, ...]] = [
        (
            one["agent"],
            names(one["roles"]),
            one["node"],
            word(_part(one)),
            f"{one['progress']:.0%}",
            one["note"],
        )
        for one in each["group"]
    ]
    for one in each["invitations"]:
        answer = "has accepted" if one["accepted"] else "invited"
        rows.append((one["agent"], names(one["roles"]), one["node"], answer, "", ""))
    for agent, reason in each["refused"].items():
        rows.append((quiet(agent), "", "", quiet("is out"), "", quiet(reason)))
    if rows:
        yield plain("")
        yield table(("MEMBER", "ROLES", "NODE", "PART", ">DONE", "NOTE"), rows)


def _part(member: Mapping[str, Any]) -> str:
    if member["done"]:
        return "completed"
    if member["stalled"]:
        return "stalled"
    return "running" if member["started"] else "told to start"


def _results(each: Mapping[str, Any]) -> "Iterator[RenderableType]":
    from json import dumps

    if each["results"]:
        yield plain("")
        yield heading("Results, partial:" if each["is_partial"] or each["state"] != "completed" else "Results:")
        for role, result in each["results"].items():
            yield item(role, dumps(result, ensure_ascii=False))


def _chosen(document: "Document") -> list[tuple[Any, ...]]:
    return [
        (
            each["agent"],
            names(each["roles"]),
            "member" if each["is_member"] else "invited",
            _number(each["score"]),
            _number(each["offered"]),
            _number(each["price"]),
            _terms(each["terms"]),
        )
        for each in document["chosen"]
    ]


def _other(each: Mapping[str, Any], price: float | None) -> tuple[Any, ...]:
    reasons = "; ".join(obstacle["detail"] for obstacle in each["obstacles"])
    passed_over = "nothing" if price is None or each["price"] is None else "nothing: others were cheaper"
    return (
        each["agent"],
        names(each["skills"]),
        _number(each["score"]),
        _number(each["price"]),
        reasons or passed_over,
        _terms(each["terms"]),
    )


def _state(each: Mapping[str, Any], *, upper: bool = False) -> Any:
    partial = " (partial)" if each["is_partial"] else ""
    return word(each["state"], upper=upper).append(partial)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _terms(terms: Mapping[str, float]) -> str:
    return ", ".join(f"{term} {value:g}" for term, value in terms.items())
