"""The error tree: divided by what the caller can do about it.

    MeshError
    ├── ConfigurationError            fix the settings
    │   └── UnknownSettingError
    ├── InvalidArgumentError          fix the call
    │   ├── InvalidPayloadError
    │   ├── PayloadTooLargeError
    │   ├── NoCandidateError
    │   ├── MemoryRefusedError
    │   ├── NotElectorError
    │   └── ParentsApartError
    ├── NotFoundError                 accept, or name something that exists
    │   └── UnknownParentError
    ├── ConflictError                 re-read and decide again
    │   ├── AlreadyExistsError
    │   ├── RevisionMismatchError
    │   ├── InvalidTransitionError
    │   ├── FencedError
    │   ├── WriteConflictError
    │   ├── AlreadyVotedError
    │   ├── ClosedError
    │   ├── NotLeaderError
    │   └── NotMasterError
    ├── UnavailableError              retry later
    │   ├── StoreUnreachableError
    │   ├── StoreReadOnlyError
    │   ├── BackpressureError
    │   │   └── NoRoomError
    │   ├── UnconfirmedError
    │   ├── StaleReadError
    │   ├── PeerUnreachableError
    │   └── LogTrimmedError
    ├── DeadlineError                 allow more time, or accept
    ├── TaskNotCompletedError         the task ended without a result
    ├── GroupFailedError              the announcement ended without all results
    ├── UnhandledMessageError         whoever was asked has no handler for it
    └── CorruptDataError              alarm: stored data cannot be what we wrote

Every error has a stable `code`, says whether a retry can help, and maps to one process exit code in `EXIT_CODES`.
Messages are lower case: the fact, its identifiers, then the fix.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from meshd.exit_codes import EXIT_CODES, ExitCode


class MeshError(Exception):
    """Base of everything meshd raises on purpose."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    @property
    def exit_code(self) -> ExitCode:
        """The exit code a command ends with when this error reaches it."""
        return EXIT_CODES[self.code]


class ConfigurationError(MeshError):
    """A setting has a value that cannot be used."""

    code = "configuration"


class UnknownSettingError(ConfigurationError):
    """A settings file or environment variable names a key that does not exist."""

    code = "unknown_setting"

    def __init__(self, key: str, *, source: str, nearest: str | None = None) -> None:
        self.key = key
        self.source = source
        self.nearest = nearest
        hint = f"; did you mean {nearest!r}?" if nearest else ""
        super().__init__(f"unknown setting {key!r} in {source}{hint}")


class InvalidArgumentError(MeshError):
    """The call itself is wrong; repeating it cannot help."""

    code = "invalid_argument"


class InvalidPayloadError(InvalidArgumentError):
    """A payload is not valid JSON, or does not fit the handler's parameters."""

    code = "invalid_payload"


class PayloadTooLargeError(InvalidArgumentError):
    """A payload, context or result is over the configured size; nothing was sent."""

    code = "payload_too_large"

    def __init__(self, what: str, *, size: int, limit: int, setting: str = "tasks.max_payload_bytes") -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            f"{what} is {size} bytes, over the limit of {limit}; store it elsewhere and pass a reference, "
            f"or raise {setting}"
        )


class NoCandidateError(InvalidArgumentError):
    """No node in the mesh can do what the task requires, and the caller asked not to wait for one."""

    code = "no_candidate"


class MemoryRefusedError(InvalidArgumentError):
    """The mesh does not take this version: it is too large, from the future, or its node is in quarantine."""

    code = "memory_refused"

    def __init__(self, key: str, *, why: str, fix: str) -> None:
        self.key = key
        self.why = why
        super().__init__(f"memory key {key!r} was refused: {why}; {fix}")


class NotElectorError(InvalidArgumentError):
    """Somebody voted who is not in the proposal's electorate; nothing was counted."""

    code = "not_elector"

    def __init__(self, proposal_id: str, *, voter: str) -> None:
        self.proposal_id = proposal_id
        self.voter = voter
        super().__init__(
            f"proposal {proposal_id}: {voter!r} is not one of its electors; who may vote was fixed when it was made"
        )


class ParentsApartError(InvalidArgumentError):
    """A task was to wait for one that is kept in another partition; nothing was created."""

    code = "parents_apart"

    def __init__(self, task_id: str, *, parent_id: str) -> None:
        self.task_id = task_id
        self.parent_id = parent_id
        super().__init__(
            f"task {task_id} cannot wait for {parent_id}, which is kept in another partition: submit tasks that meet "
            "in one by one `submit_many`, without idempotency keys of their own"
        )


class NotFoundError(MeshError):
    """The thing named does not exist, or no longer does."""

    code = "not_found"


class UnknownParentError(NotFoundError):
    """A task was to wait for one that is not kept (any more); nothing was created."""

    code = "unknown_parent"

    def __init__(self, task_id: str, *, parent_id: str) -> None:
        self.task_id = task_id
        self.parent_id = parent_id
        super().__init__(f"task {task_id} cannot wait for {parent_id}: there is no such task (any more)")


class ConflictError(MeshError):
    """The state is not what the caller assumed; read again, then decide."""

    code = "conflict"


class AlreadyExistsError(ConflictError):
    """`create` found the key taken."""

    code = "already_exists"


class RevisionMismatchError(ConflictError):
    """A compare-and-set named a revision that is no longer current."""

    code = "revision_mismatch"

    def __init__(self, key: str, *, expected: int, current: int) -> None:
        self.key = key
        self.expected = expected
        self.current = current
        super().__init__(f"record {key!r}: revision {expected} is behind {current}; read it again")


class InvalidTransitionError(ConflictError):
    """The task is in a state from which the event is not possible."""

    code = "invalid_transition"

    def __init__(self, task_id: str, *, state: str, event: str) -> None:
        self.task_id = task_id
        self.state = state
        self.event = event
        super().__init__(f"task {task_id}: {event} is not possible while it is {state}")


class FencedError(ConflictError):
    """The caller's hold was superseded; nothing it does counts any more."""

    code = "fenced"

    def __init__(self, subject: str, *, token: int, current: int) -> None:
        self.subject = subject
        self.token = token
        self.current = current
        super().__init__(
            f"{subject}: token {token} is behind {current}" if current else f"{subject}: {token} has ended"
        )


class WriteConflictError(ConflictError):
    """A conditional write found that the key had changed; nothing was written."""

    code = "write_conflict"

    def __init__(self, key: str, *, expected: tuple[str, ...], current: tuple[str, ...]) -> None:
        self.key = key
        self.expected = expected
        self.current = current
        was, now = (", ".join(each) or "nothing" for each in (expected, current))
        super().__init__(f"memory key {key!r} has {now} where {was} was expected; read it again")


class AlreadyVotedError(ConflictError):
    """The voter said something else before; the first vote is final."""

    code = "already_voted"

    def __init__(self, proposal_id: str, *, voter: str, choice: str) -> None:
        self.proposal_id = proposal_id
        self.voter = voter
        self.choice = choice
        super().__init__(f"proposal {proposal_id}: {voter} voted {choice} already; the first vote is final")


class ClosedError(ConflictError):
    """The proposal is decided, or its time is over; the vote was not counted."""

    code = "closed"

    def __init__(self, proposal_id: str, *, state: str) -> None:
        self.proposal_id = proposal_id
        self.state = state
        super().__init__(f"proposal {proposal_id} is {state}: votes are no longer counted")


class NotLeaderError(ConflictError):
    """Leadership ended while its holder was at work; what it did not finish is for the next leader."""

    code = "not_leader"

    def __init__(self, scope: str, *, token: int) -> None:
        self.scope = scope
        self.token = token
        super().__init__(f"leadership of {scope} ended, term {token}; stand for it again")


class NotMasterError(ConflictError):
    """Another node is the master of the prefix; nothing was written."""

    code = "not_master"

    def __init__(self, prefix: str, *, master: str) -> None:
        self.prefix = prefix
        self.master = master
        super().__init__(f"memory prefix {prefix!r} is written by {master or 'no node now'} only; write there")


class UnavailableError(MeshError):
    """The mesh cannot do this now; the same call may succeed later."""

    code = "unavailable"
    retryable = True


class StoreUnreachableError(UnavailableError):
    """The store did not answer."""

    code = "store_unreachable"


class StoreReadOnlyError(UnavailableError):
    """The store refuses writes: a read-only file, a full disk, or a replica."""

    code = "store_read_only"


class BackpressureError(UnavailableError):
    """The mesh is full; nothing was accepted."""

    code = "backpressure"


class NoRoomError(BackpressureError):
    """As many keys start with the prefix as there is room for; the record was not created."""

    code = "no_room"

    def __init__(self, prefix: str, *, most: int) -> None:
        self.prefix = prefix
        self.most = most
        super().__init__(f"there is room for {most} records {prefix!r}…, all of it taken: try again when some are gone")


class UnconfirmedError(UnavailableError):
    """The write is made, but too few replicas confirmed it in time; the same call again changes nothing else."""

    code = "unconfirmed"


class StaleReadError(UnavailableError):
    """What the session has seen did not arrive here in time."""

    code = "stale_read"


class PeerUnreachableError(UnavailableError):
    """Another node did not answer over its link; the request may or may not have been acted on."""

    code = "peer_unreachable"

    def __init__(self, address: str, *, reason: str) -> None:
        self.address = address
        super().__init__(f"node at {address} did not answer: {reason}")


class LogTrimmedError(UnavailableError):
    """Events before the cursor were trimmed: some were missed. Read the state anew, then follow from `oldest`."""

    code = "log_trimmed"
    retryable = False

    def __init__(self, log: str, *, cursor: str, oldest: str) -> None:
        self.log = log
        self.cursor = cursor
        self.oldest = oldest
        super().__init__(f"event log {log!r} no longer holds what follows {cursor}; the oldest entry is {oldest}")


class DeadlineError(MeshError):
    """Time ran out before the answer came; the work itself goes on."""

    code = "deadline"
    retryable = True


class TaskNotCompletedError(MeshError):
    """The awaited task ended dead, cancelled or expired, so it has no result."""

    code = "task_not_completed"

    def __init__(self, task_id: str, *, state: str, reason: str) -> None:
        self.task_id = task_id
        self.state = state
        self.reason = reason
        super().__init__(f"task {task_id} is {state}: {reason}")


class GroupFailedError(MeshError):
    """The announcement failed or was cancelled; what its group had done by then is in `results`, by role."""

    code = "group_failed"

    def __init__(self, announcement_id: str, *, state: str, reason: str, results: Mapping[str, Any]) -> None:
        self.announcement_id = announcement_id
        self.state = state
        self.reason = reason
        self.results = results
        kept = f"; results that are there: {', '.join(sorted(results))}" if results else ""
        super().__init__(f"announcement {announcement_id} is {state}: {reason}{kept}")


class UnhandledMessageError(MeshError):
    """Whoever was asked has no handler for the message, or its handler failed each time."""

    code = "unhandled_message"


class CorruptDataError(MeshError):
    """Stored data is not what meshd writes: a damaged file or a foreign writer. Nothing was changed."""

    code = "corrupt_data"
