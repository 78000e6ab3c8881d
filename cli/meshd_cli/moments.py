"""Moments as people write them: `10m` ago, or ISO 8601 like `2026-03-01T12:00`, local time unless it names a zone."""

from datetime import UTC, datetime

import typer

from meshd_cli.durations import duration


def moment(text: str) -> datetime:
    """Return the moment.

    Raises:
        BadParameter: it is none.
    """
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        pass
    try:
        return datetime.now(UTC) - duration(text)
    except typer.BadParameter:
        raise typer.BadParameter(f"{text!r} is not a moment: write 10m (ago), or 2026-03-01T12:00.") from None


def moment_or_version(text: str) -> datetime | str:
    """Return the moment, or the name of a version, `ACTOR:NUMBER`, as it is.

    Raises:
        BadParameter: it is neither.
    """
    actor, _, number = text.rpartition(":")
    return text if "~" in actor and number.isdigit() else moment(text)
