"""The vote a task requires, and how many of its runs must agree, as people say so to `mesh submit`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from meshd_cli.commands.status import listed
from meshd_cli.quorums import quorum_of

if TYPE_CHECKING:
    from meshd.tasks.voting import Vote
    from meshd.votes.model import Quorum


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteWords:
    """What was said about the vote; empty where nothing was."""

    electors: str = ""
    quorum: str = ""
    timeout: timedelta | None = None


def terms(requires: Sequence[str], words: VoteWords, *, is_required: bool) -> "Sequence[str | Vote]":
    """Return what a task requires: the terms its node must meet, and the vote if there is to be one.

    Raises:
        BadParameter: something was said about a vote, and none is required; or a quorum is none.
    """
    from meshd.tasks.voting import Vote

    if not is_required:
        if words != VoteWords():
            raise typer.BadParameter("--electors, --quorum and --vote-timeout go with --requires-vote.")
        return requires
    vote = Vote(
        electorate=listed(words.electors) or None,
        quorum=quorum_of(words.quorum, weighted=False, default=0) if words.quorum.strip() else None,
        timeout=words.timeout or Vote().timeout,
    )
    return [*requires, vote]


def count_of(needed: int) -> "Quorum":
    """Return the quorum of so many."""
    from meshd.votes.model import Quorum

    return Quorum(needed)
