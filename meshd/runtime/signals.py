"""What a handler may raise to say how its task should end. Requests, not errors."""

from datetime import timedelta


class Retry(Exception):  # noqa: N818 -- a request, not an error
    """Run this task again later: counts as a failed attempt. Without `delay` the task's own back-off applies."""

    def __init__(self, reason: str = "the handler asked for a retry", *, delay: timedelta | None = None) -> None:
        self.delay = delay
        super().__init__(reason)


class Reject(Exception):  # noqa: N818 -- a request, not an error
    """Never run this task again: it goes to the dead letters with `reason`, however many attempts are left."""


class TaskStopped(BaseException):
    """Raised inside a sync handler that must stop: cancelled, timed out, or its lease was lost."""
