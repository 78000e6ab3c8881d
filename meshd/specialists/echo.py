"""The simplest task there is: what goes in comes out."""

from typing import Any


def echo(**values: Any) -> dict[str, Any]:
    """Return the payload unchanged."""
    return values
