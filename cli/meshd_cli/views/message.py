"""How messages look."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from meshd_cli.views.parts import plain, quiet, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from meshd_cli.render import Document


def message(document: "Document") -> "Iterator[RenderableType]":
    """Yield one message, sent or heard."""
    yield plain(f"{document['from']} -> {document['to']}  {document['type']}  {_text(document['payload'])}")


def reply(document: "Document") -> "Iterator[RenderableType]":
    """Yield what came back."""
    yield plain(_text(document["payload"]))


def unhandled(document: "Document") -> "Iterator[RenderableType]":
    """Yield one line per message nobody took."""
    if not document["messages"]:
        yield quiet("Every message was handled.")
        return
    rows = [
        (each["to"], each["from"], each["type"], str(each["deliveries"]), each["put_aside_at"], each["reason"])
        for each in document["messages"]
    ]
    yield table(("TO", "FROM", "TYPE", ">DELIVERIES", "PUT ASIDE", "REASON"), rows)


def _text(payload: Any) -> str:
    return payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
