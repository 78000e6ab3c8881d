"""An outage is told once when it begins and once when it ends, however often it is met in between."""

import logging


class Outage:
    """One thing the store was asked for again and again; not safe across threads."""

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger = logger
        self._what = what
        self._is_on = False

    def met(self, error: Exception) -> None:
        """Say that it cannot be done, unless that is known."""
        if not self._is_on:
            self._is_on = True
            self._logger.warning("%s is not possible for now: %s", self._what, error)

    def over(self) -> None:
        """Say that it can be done again, if it could not."""
        if self._is_on:
            self._is_on = False
            self._logger.warning("%s is possible again", self._what)
