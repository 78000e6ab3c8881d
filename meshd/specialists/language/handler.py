"""The task type `text.analyze`."""

from typing import Annotated, Any

from pydantic import Field

from meshd.specialists.language.analysis import analyze


def analyze_text(
    text: str, name: str = "", top: Annotated[int, Field(ge=0, le=100)] = 10, region: str = "US"
) -> dict[str, Any]:
    """Return the analysis of `text`; `name` comes back with it, so that results can be told apart."""
    return {"name": name, **analyze(text, top=top, region=region.upper()).as_dict()}
