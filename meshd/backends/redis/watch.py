"""Watching one server: accepted when it is connected, asked again beside the calls, its alarms told once each."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import redis.exceptions as broken

from meshd.backends.port import BackendOptions
from meshd.backends.redis.durability import alarms, check
from meshd.backends.redis.footing import Footing, footing_of, questions, refuse_unready
from meshd.backends.redis.lane import Lane

logger = logging.getLogger(__name__)

REFRESH_S = 50.0
"""A server is asked again after so long, by the next call: a change of its settings is known within a minute."""


class Watch:
    """What is known of the server one client is connected to."""

    def __init__(self, url: str, options: BackendOptions) -> None:
        self._url = url
        self._options = options
        self._alarms: frozenset[str] = frozenset()
        self._refresh_at = 0.0
        self.footing: Footing | None = None

    def accept(self, footing: Footing, *, may_change: bool) -> Footing:
        """Take a server just connected, if it may be used; with `may_change`, another may be there a moment later.

        Raises:
            redis.exceptions.RedisError: not now.
            StoreReadOnlyError: never, being a replica.
            ConfigurationError: never, as it is set up.
        """
        is_first = self.footing is None
        if not is_first or may_change or footing.is_loading:
            refuse_unready(footing)
        if is_first:
            check(footing, self._options, url=self._url)
        return self.take(footing)

    def take(self, footing: Footing) -> Footing:
        """Note what the server said, and warn of what is newly wrong with it."""
        self.footing = footing
        self._refresh_at = monotonic() + REFRESH_S
        found = frozenset(alarms(footing, self._options))
        for alarm in sorted(found - self._alarms):
            logger.warning("redis at %s: %s", self._url, alarm)
        self._alarms = found
        return footing

    def refresh(self, lane: Lane) -> None:
        """Ask anew when it is time, between the calls of others: no timer, and nothing while nothing is asked."""
        if monotonic() >= self._refresh_at:
            self._refresh_at = monotonic() + REFRESH_S
            asked = questions(lane)
            asked[-1].add_done_callback(lambda _: self._answered(asked))

    def _answered(self, asked: "Sequence[asyncio.Future[Any]]") -> None:
        info, fsync = (question.exception() or question.result() for question in asked)
        with suppress(broken.RedisError):
            self.take(footing_of(info, fsync))
