"""How the memory looks."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from meshd_cli.views.parts import heading, item, plain, quiet, table, word

if TYPE_CHECKING:
    from rich.console import RenderableType

    from meshd_cli.render import Document

SHOWN = 120
"""Longest value shown within a table; `--json` always has all of it."""


def value(document: "Document") -> "Iterator[RenderableType]":
    """Yield the value alone, as JSON."""
    yield plain(json.dumps(document["value"], ensure_ascii=False, indent=2))


def listing(document: "Document") -> "Iterator[RenderableType]":
    """Yield one line per key."""
    rows = [
        (each["key"], _short(each["value"]), word("conflict") if each["is_conflict"] else "", _who(each), each["at"])
        for each in document["entries"]
    ]
    yield table(("KEY", "VALUE", "", "BY", "WRITTEN"), rows)
    if document["after"]:
        yield quiet(f"more: --after {document['after']}")


def change(document: "Document") -> "Iterator[RenderableType]":
    """Yield one line."""
    if document["is_deletion"]:
        yield plain(f"{document['key']} is gone")
    else:
        yield plain(f"{document['key']} = {json.dumps(document['value'], ensure_ascii=False)}")


def log(document: "Document") -> "Iterator[RenderableType]":
    """Yield one line per version, the latest first."""
    rows = [
        (
            str(each["edition"]),
            each["version"],
            _state(each),
            "deleted" if each["is_deletion"] else _short(each["value"]),
            *_from(each),
        )
        for each in document["versions"]
    ]
    yield table(("EDITION", "VERSION", "", "VALUE", "BY", "WRITTEN", "NOTE"), rows)


def diff(document: "Document") -> "Iterator[RenderableType]":
    """Yield a line for what was and one for what is, for each part."""
    if not document["differences"]:
        yield quiet("no difference")
    for each in document["differences"]:
        path = each["path"] or "(value)"
        if each["kind"] != "added":
            yield plain(f"- {path}: {_text(each['before'])}")
        if each["kind"] != "removed":
            yield plain(f"+ {path}: {_text(each['after'])}")


def blame(document: "Document") -> "Iterator[RenderableType]":
    """Yield one line per part."""
    rows = [
        (each["path"] or "(value)", _short(each["value"]), each["version"], *_from(each)) for each in document["parts"]
    ]
    yield table(("PART", "VALUE", "SINCE", "BY", "WRITTEN", "NOTE"), rows)


def conflicts(document: "Document") -> "Iterator[RenderableType]":
    """Yield each key with its sides, numbered for `--take`."""
    if not document["conflicts"]:
        yield quiet("no conflicts")
    for each in document["conflicts"]:
        waits = "waits for a person" if each["needs_person"] else "readers see all sides"
        yield heading(f"{each['key']} ({each['policy']}: {each['why'] or waits})")
        rows = [
            (f"{number}", side["version"], _short(side["value"]), *_from(side))
            for number, side in enumerate(each["sides"], 1)
        ]
        yield table((">SIDE", "VERSION", "VALUE", "BY", "WRITTEN", "NOTE"), rows)


def rollback(document: "Document") -> "Iterator[RenderableType]":
    """Yield what was set back and what was not."""
    verb = "would be set back" if document["is_dry_run"] else "set back"
    yield heading(f"{len(document['undone'])} {verb}, {len(document['skipped'])} skipped")
    rows = [
        (each["key"], _short(each["before"]), "deleted" if each["is_deletion"] else _short(each["after"]))
        for each in document["undone"]
    ]
    if rows:
        yield table(("KEY", "SHOWED", "SHOWS"), rows)
    for each in document["skipped"]:
        yield item(f"skipped {each['key']}", each["why"])
    if document["operation"]:
        yield quiet(f"to take this back: mesh memory rollback --operation {document['operation']}")


def _state(version: Mapping[str, Any]) -> Any:
    return word("shown") if version["is_shown"] else word("beside") if version["is_current"] else ""


def _from(version: Mapping[str, Any]) -> tuple[str, str, str]:
    return _who(version), version["at"], version["note"]


def _who(version: Mapping[str, Any]) -> str:
    names = [
        version["agent"],
        version["node"] and f"on {version['node']}",
        version["task"] and f"task {version['task']}",
    ]
    return " ".join(name for name in names if name) or "-"


def _short(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
