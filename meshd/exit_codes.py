"""What a command's process ends with: one table from the code of an error to the number a shell sees."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNREACHABLE = 4
    DENIED = 5
    TIMEOUT = 6
    CONFLICT = 7
    DEGRADED = 8
    CORRUPT = 9


EXIT_CODES: dict[str, ExitCode] = {
    "error": ExitCode.FAILED,
    "configuration": ExitCode.USAGE,
    "unknown_setting": ExitCode.USAGE,
    "invalid_argument": ExitCode.USAGE,
    "invalid_payload": ExitCode.USAGE,
    "payload_too_large": ExitCode.USAGE,
    "no_candidate": ExitCode.NOT_FOUND,
    "memory_refused": ExitCode.USAGE,
    "not_elector": ExitCode.DENIED,
    "parents_apart": ExitCode.USAGE,
    "not_found": ExitCode.NOT_FOUND,
    "unknown_parent": ExitCode.NOT_FOUND,
    "conflict": ExitCode.CONFLICT,
    "already_exists": ExitCode.CONFLICT,
    "revision_mismatch": ExitCode.CONFLICT,
    "invalid_transition": ExitCode.CONFLICT,
    "fenced": ExitCode.CONFLICT,
    "write_conflict": ExitCode.CONFLICT,
    "already_voted": ExitCode.CONFLICT,
    "closed": ExitCode.CONFLICT,
    "not_leader": ExitCode.CONFLICT,
    "not_master": ExitCode.CONFLICT,
    "unavailable": ExitCode.UNREACHABLE,
    "store_unreachable": ExitCode.UNREACHABLE,
    "store_read_only": ExitCode.DENIED,
    "backpressure": ExitCode.DEGRADED,
    "no_room": ExitCode.DEGRADED,
    "unconfirmed": ExitCode.DEGRADED,
    "stale_read": ExitCode.DEGRADED,
    "peer_unreachable": ExitCode.UNREACHABLE,
    "log_trimmed": ExitCode.DEGRADED,
    "deadline": ExitCode.TIMEOUT,
    "task_not_completed": ExitCode.FAILED,
    "group_failed": ExitCode.FAILED,
    "unhandled_message": ExitCode.FAILED,
    "corrupt_data": ExitCode.CORRUPT,
}
