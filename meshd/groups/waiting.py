"""Whose turn it is when an agent has a slot free again. Pure.

    turn = announced + urgency: 0, 10, 30, 90 or 270 seconds

The earliest turn is offered the slot first, and while that offer stands no later turn takes it. So work announced with
a low priority is overtaken only by what is announced less than 90 s after it, however much of that there is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from meshd.groups.model import SkillNeed, Urgency

MOST_WAITING = 256
"""Announcements one node remembers; of more, the earliest turns. Hubs ask again for those that are forgotten."""


MS_PER_URGENCY = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An announcement, as the agents it asks are told of it."""

    announcement: str
    initiator: str = ""
    description: str = ""
    needs: tuple[SkillNeed, ...] = ()
    urgency: Urgency = Urgency.NORMAL
    announced_ms: int = 0
    deadline_ms: int = 0
    reply_to: str = ""
    """Topic of the hub that asks."""

    @property
    def turn(self) -> tuple[int, str]:
        """Sorts the first to be served first."""
        return (self.announced_ms + self.urgency * MS_PER_URGENCY, self.announcement)


@dataclass(slots=True, kw_only=True)
class _Waiting:
    call: Call
    agents: set[str]


class Turns:
    """Who waits for which agents of one node, and which free slots are promised to whom."""

    def __init__(self, *, most: int = MOST_WAITING) -> None:
        self._most = most
        self._waiting: dict[str, _Waiting] = {}
        self._promised: dict[str, dict[str, Call]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, call: Call, agent: str) -> None:
        """Remember that the agent would take part, had it room."""
        entry = self._waiting.get(call.announcement)
        if entry is None:
            self._waiting[call.announcement] = _Waiting(call=call, agents={agent})
        else:
            entry.call = call
            entry.agents.add(agent)
        if len(self._waiting) > self._most:
            last = max(self._waiting.values(), key=lambda each: each.call.turn)
            del self._waiting[last.call.announcement]

    def forget(self, announcement: str) -> None:
        """It is over, or has its group: nobody here waits for it."""
        self._waiting.pop(announcement, None)

    def drop(self, agent: str) -> None:
        """The agent takes part in nothing more."""
        self._promised.pop(agent, None)
        for name in [name for name, entry in self._waiting.items() if agent in entry.agents]:
            self._without(name, agent)

    def has_waiting(self, agent: str) -> bool:
        return any(agent in entry.agents for entry in self._waiting.values())

    def next(self, agent: str, *, now_ms: int) -> Call | None:
        """Return whose turn it is with the agent, and take it from the list; what is past its deadline is forgotten."""
        for name in [name for name, entry in self._waiting.items() if 0 < entry.call.deadline_ms <= now_ms]:
            del self._waiting[name]
        calls = [entry.call for entry in self._waiting.values() if agent in entry.agents]
        if not calls:
            return None
        first = min(calls, key=lambda call: call.turn)
        self._without(first.announcement, agent)
        return first

    def promise(self, agent: str, call: Call) -> None:
        """Keep a free slot of the agent for this one."""
        self._promised.setdefault(agent, {})[call.announcement] = call

    def is_promised(self, agent: str, announcement: str) -> bool:
        return announcement in self._promised.get(agent, {})

    def keep(self, agent: str, announcement: str) -> bool:
        """The promise is kept, or void; return whether there was one."""
        promised = self._promised.get(agent, {})
        was = promised.pop(announcement, None) is not None
        if was and not promised:
            del self._promised[agent]
        return was

    def is_free(self, agent: str, call: Call | None, *, free: int) -> bool:
        """Return whether one of so many free slots may go to this one: those promised to earlier turns may not.

        `None` stands for one that nothing is known of; it is taken for the earliest.
        """
        if call is None or agent not in self._promised:
            return free > 0
        return free > len(self._earlier(agent, call))

    def is_unpromised(self, agent: str, *, free: int) -> bool:
        """Return whether a free slot of the agent is promised to nobody."""
        return free > len(self._promised.get(agent, {}))

    def _earlier(self, agent: str, call: Call) -> Sequence[Call]:
        promised = self._promised.get(agent, {}).values()
        return [each for each in promised if each.announcement != call.announcement and each.turn < call.turn]

    def _without(self, announcement: str, agent: str) -> None:
        entry = self._waiting[announcement]
        entry.agents.discard(agent)
        if not entry.agents:
            del self._waiting[announcement]
