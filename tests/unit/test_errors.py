"""Every error has a code of its own and a place in the exit code table."""

from collections.abc import Iterator

import pytest

from meshd.errors import (
    ConflictError,
    FencedError,
    InvalidTransitionError,
    LogTrimmedError,
    MeshError,
    NotFoundError,
    RevisionMismatchError,
    TaskNotCompletedError,
    UnavailableError,
    UnknownSettingError,
)
from meshd.exit_codes import EXIT_CODES, ExitCode


def tree(root: type[MeshError]) -> Iterator[type[MeshError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


ERRORS = [error for error in tree(MeshError) if error.__module__ == "meshd.errors"]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_has_an_exit_code_that_is_not_success(error: type[MeshError]) -> None:
    assert EXIT_CODES[error.code] is not ExitCode.OK


def test_every_code_belongs_to_exactly_one_error() -> None:
    assert sorted(error.code for error in ERRORS) == sorted(EXIT_CODES)


def test_an_error_knows_its_exit_code() -> None:
    assert NotFoundError("x").exit_code is ExitCode.NOT_FOUND


def test_only_unavailability_and_lateness_invite_a_retry() -> None:
    retryable = {error.code for error in ERRORS if error.retryable}
    assert retryable == {
        "unavailable",
        "store_unreachable",
        "store_read_only",
        "backpressure",
        "no_room",
        "unconfirmed",
        "stale_read",
        "peer_unreachable",
        "deadline",
    }


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FencedError("task T1", token=3, current=5), "task T1: token 3 is behind 5"),
        (InvalidTransitionError("T1", state="dead", event="claim"), "task T1: claim is not possible while it is dead"),
        (RevisionMismatchError("k", expected=1, current=2), "record 'k': revision 1 is behind 2; read it again"),
        (TaskNotCompletedError("T1", state="dead", reason="error"), "task T1 is dead: error"),
        (
            UnknownSettingError("lese", source="config.yaml", nearest="lease"),
            "unknown setting 'lese' in config.yaml; did you mean 'lease'?",
        ),
    ],
)
def test_a_message_states_the_fact_and_its_identifiers(error: MeshError, message: str) -> None:
    assert str(error) == message


def test_errors_are_grouped_by_what_the_caller_can_do() -> None:
    assert issubclass(FencedError, ConflictError)
    assert issubclass(LogTrimmedError, UnavailableError)
