"""What the agents of one node have to do with announcements."""

import time
from dataclasses import dataclass, field

from meshd.groups.at_work import AtWork


@dataclass(slots=True, kw_only=True)
class Seat:
    """What an agent has to do with one announcement."""

    round: int
    heard_s: float = field(default_factory=lambda: time.monotonic())  # noqa: PLW0108 -- for tests on virtual time
    is_answering: bool = False
    is_over: bool = False
    work: AtWork | None = None


class Seats(dict[tuple[str, str], Seat]):
    """By agent and announcement."""

    async def vacate(self, agent: str, reason: str) -> None:
        """The agent lives elsewhere now: what it does here is stopped, and what it holds is no business of ours."""
        for place in [place for place in self if place[0] == agent]:
            seat = self.pop(place)
            if seat.work is not None:
                await seat.work.stop(reason)
