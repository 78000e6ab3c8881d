"""Leaders as the documents that `--json` prints."""

from typing import Any

from meshd.votes.leading import Term
from meshd_cli.documents import moment


def leader_document(term: Term) -> dict[str, Any]:
    """Return everything about one leader."""
    return {
        "scope": term.scope,
        "holder": term.holder,
        "token": term.token,
        "since": moment(term.since_ms),
        "lease_seconds": term.lease_ms / 1000,
        "lease_left_seconds": max(term.left_ms, 0) / 1000,
    }
