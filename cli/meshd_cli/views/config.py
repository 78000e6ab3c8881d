"""How settings look."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from meshd_cli.views.parts import table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from meshd_cli.render import Document


def settings(document: "Document") -> "Iterator[RenderableType]":
    """Yield one line per setting."""
    sources = document["sources"]
    columns = ("SETTING", "VALUE", "SOURCE") if sources else ("SETTING", "VALUE")
    rows = [
        (key, json.dumps(value), *([sources[key]] if sources else [])) for key, value in document["settings"].items()
    ]
    yield table(columns, rows)
