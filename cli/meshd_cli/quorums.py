"""Quorums as people write them: `60%`, `66.7%`, or a count like `3`."""

import re
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from meshd.votes.model import Quorum


def quorum_of(text: str, *, weighted: bool, default: float) -> "Quorum":
    """Return the quorum; without text, the share that is the default.

    Raises:
        BadParameter: it is neither a share nor a count.
    """
    from meshd.votes.model import Quorum

    plain = text.strip()
    if not plain:
        return Quorum(permil=round(default * 1_000), weighted=weighted)
    if re.fullmatch(r"\d+", plain) and int(plain):
        return Quorum(count=int(plain), weighted=weighted)
    if re.fullmatch(r"\d+(\.\d)?%", plain) and 0 < float(plain[:-1]) <= 100:
        return Quorum(permil=round(float(plain[:-1]) * 10), weighted=weighted)
    raise typer.BadParameter(f"{text!r} is not a quorum: write a share like 60%, or a count like 3.")
