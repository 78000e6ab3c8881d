"""Durations as people write them: `90`, `1.5s`, `250ms`, `2m`, `1h30m`, `7d`."""

import re
from datetime import timedelta

import typer

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def duration(text: str) -> timedelta:
    """Return the duration; a bare number is seconds.

    Raises:
        BadParameter: it is not a duration.
    """
    plain = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", plain):
        return timedelta(seconds=float(plain))
    parts = _PART.findall(plain)
    if not parts or "".join(number + unit for number, unit in parts) != plain:
        raise typer.BadParameter(f"{text!r} is not a duration: write 90, 250ms, 2m or 1h30m.")
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
