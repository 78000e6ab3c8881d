"""How the findings of `mesh doctor` look."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from meshd_cli.views.parts import plain, quiet, word

if TYPE_CHECKING:
    from rich.console import RenderableType

    from meshd_cli.render import Document


def report(document: "Document") -> "Iterator[RenderableType]":
    """Yield one line per check, with the fix below a check that did not hold."""
    for check in document["checks"]:
        yield word(check["state"]).append(f"{'':{5 - len(check['state'])}}{check['name']}: {check['detail']}")
        if check["fix"]:
            yield quiet(f"       fix: {check['fix']}")
    yield plain("")
    yield plain("healthy" if document["healthy"] else "not healthy: see the checks that failed")
