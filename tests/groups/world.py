"""A mesh in small: records changed by compare-and-set, hubs that act on what they read once, a network that errs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from meshd.errors import ConflictError
from meshd.groups.happenings import (
    AgentDied,
    GroupAccepted,
    GroupEvent,
    GroupRejected,
    SlotMissed,
    TaskCompleted,
    TaskFailed,
    TaskUpdated,
)
from meshd.groups.model import Announcement, GroupMessage, Member
from meshd.groups.protocol import apply
from meshd.groups.slots import SlotBook, SlotChange, Take, change, held, settle
from meshd.groups.steps import Outgoing, Rules, Step


class Store:
    """Records with revisions. What is read stays as it was read."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[int, Any]] = {}

    def read(self, key: str) -> tuple[int, Any]:
        return self.values[key]

    def write(self, key: str, value: Any, *, revision: int) -> bool:
        """Write if nobody did since `revision` was read."""
        if self.values[key][0] != revision:
            return False
        self.values[key] = (revision + 1, value)
        return True


@dataclass
class Hub:
    """What one process knows and has still to do; a death forgets all of it."""

    seen: dict[str, tuple[int, Any]] = field(default_factory=dict[str, tuple[int, Any]])
    is_hasty: bool = False
    """Whether it sends before it changes slots, which it should not."""
    todo: list[tuple[SlotChange, tuple[int, SlotBook]] | Outgoing | SlotChange] = field(default_factory=list)


@dataclass
class Worker:
    """An agent: how it behaves, in which life, and what it was told to start."""

    manner: str
    incarnation: int = 1
    started: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    said: list[tuple[str, int, GroupEvent]] = field(default_factory=list[tuple[str, int, GroupEvent]])
    """Announcement, revision it was read in, and what the agent is about to write into it."""


class World:
    """All of it. Every method is one step of one process, between two of which anything else may happen."""

    def __init__(self, *, manners: dict[str, str], slots: int, rules: Rules) -> None:
        self.rules = rules
        self.now_ms = 1_000_000
        self.store = Store()
        self.hubs = [Hub(), Hub(), Hub(is_hasty=True)]
        self.workers = {name: Worker(manner=manner) for name, manner in manners.items()}
        self.network: list[Outgoing] = []
        self.deaths: list[AgentDied] = []
        for name in manners:
            self.store.values[f"slots/{name}"] = (1, SlotBook(agent=name, slots=slots))

    def announcements(self) -> list[Announcement]:
        return [value for key, (_, value) in self.store.values.items() if key.startswith("group/")]

    def books(self) -> list[SlotBook]:
        return [value for key, (_, value) in self.store.values.items() if key.startswith("slots/")]

    def read(self, name: str) -> Announcement:
        """Return an announcement as it stands."""
        found: Announcement = self.store.read(f"group/{name}")[1]
        return found

    def look(self, hub: Hub, key: str) -> None:
        hub.seen[key] = self.store.read(key)

    def act(self, hub: Hub, name: str, event: GroupEvent | Callable[[Announcement], Step]) -> bool:
        """Apply an event to what the hub read last, and write; return whether the store took it."""
        key = f"group/{name}"
        revision, announcement = hub.seen.pop(key) if key in hub.seen else self.store.read(key)
        try:
            step = (
                event(announcement)
                if callable(event)
                else apply(announcement, event, now_ms=self.now_ms, rules=self.rules)
            )
        except ConflictError:
            return False
        if step.announcement is not announcement and not self.store.write(
            f"group/{name}", step.announcement, revision=revision
        ):
            return False
        hub.todo += [*step.messages, *step.slots] if hub.is_hasty else [*step.slots, *step.messages]
        return True

    def work(self, hub: Hub) -> None:
        """Do a half of the next thing to do: read a book, or write it; or send."""
        if not hub.todo:
            return
        first = hub.todo.pop(0)
        if isinstance(first, Outgoing):
            self.network.append(first)
            return
        if not isinstance(first, tuple):
            hub.todo.insert(0, (first, self.store.read(f"slots/{first.agent}")))
            return
        wanted, (revision, book) = first
        after = change(book, wanted, now_ms=self.now_ms)
        if after is None:
            hub.seen.pop(f"group/{wanted.announcement}", None)
            self.act(hub, wanted.announcement, SlotMissed(agent=wanted.agent, round=wanted.round))
        elif after is not book and not self.store.write(f"slots/{wanted.agent}", after, revision=revision):
            hub.todo.insert(0, wanted)

    def settle(self, hub: Hub, agent: str) -> None:
        """Judge the book that was looked at, by announcements read now, or by what the hub read before."""
        kept = hub.seen.pop(f"slots/{agent}", None)
        if kept is None:
            return
        revision, book = kept
        keys = {name: f"group/{name}" for name in book.holds}
        seen = {name: (hub.seen.get(key) or self.store.read(key))[1] for name, key in keys.items()}
        after, _ = settle(book, seen, now_ms=self.now_ms)
        hub.seen[f"settled/{agent}"] = (revision, after)

    def write_settled(self, hub: Hub, agent: str) -> None:
        kept = hub.seen.pop(f"settled/{agent}", None)
        if kept is not None:
            self.store.write(f"slots/{agent}", kept[1], revision=kept[0])

    def deliver(self, message: Outgoing) -> None:
        """Let the agent read what it needs to answer: first its book, then the announcement."""
        worker = self.workers.get(message.to)
        if worker is None:
            return
        name = message.payload["announcement"]
        if message.type is GroupMessage.GROUP_INVITE and message.payload["incarnation"] == worker.incarnation:
            worker.said += self._answers(message.to, worker, name, message.payload["round"])
        elif message.type is GroupMessage.TASK_START and worker.manner != "never starts":
            shown = {"epoch": message.payload["epoch"], "token": message.payload["token"]}
            worker.started[name] = {"agent": message.to, "incarnation": worker.incarnation, **shown}

    def _answers(self, agent: str, worker: Worker, name: str, number: int) -> list[tuple[str, int, GroupEvent]]:
        if worker.manner == "silent":
            return []
        _, book = self.store.read(f"slots/{agent}")
        wanted = Take(agent=agent, announcement=name, round=number, incarnation=worker.incarnation, expires_ms=0)
        revision, _ = self.store.read(f"group/{name}")
        if worker.manner == "rejects":
            event: GroupEvent = GroupRejected(agent=agent, incarnation=worker.incarnation, round=number, reason="never")
        else:
            event = GroupAccepted(agent=agent, incarnation=worker.incarnation, round=number, hold=held(book, wanted))
        return [(name, revision, event)]

    def say(self, hub: Hub, agent: str) -> None:
        """Write what the agent has to say, against the revision it read; it reads again if that is no more."""
        worker = self.workers[agent]
        if not worker.said:
            return
        name, revision, event = worker.said.pop(0)
        current, announcement = self.store.read(f"group/{name}")
        if current == revision:
            hub.seen[f"group/{name}"] = (current, announcement)
            self.act(hub, name, event)
        elif isinstance(event, GroupAccepted | GroupRejected):
            worker.said += self._answers(agent, worker, name, event.round)

    def labour(self, hub: Hub, agent: str, name: str, does: str) -> None:
        """Let an agent report on what it was told to start, also when it is no member any more."""
        shown = self.workers[agent].started.get(name)
        if shown is None:
            return
        events: dict[str, GroupEvent] = {
            "starts": TaskUpdated(**shown),
            "updates": TaskUpdated(**shown, progress=0.5),
            "completes": TaskCompleted(**shown, result=agent),
            "fails": TaskFailed(**shown, reason="broken"),
        }
        self.act(hub, name, events[does])

    def kill(self, agent: str) -> None:
        """The agent dies and comes back at once; what it knew is gone."""
        worker = self.workers[agent]
        self.deaths.append(AgentDied(agent=agent, incarnation=worker.incarnation))
        worker.incarnation += 1
        worker.started, worker.said = {}, []

    def named(self, agent: str) -> list[tuple[Announcement, int]]:
        """Return the announcements that count on the agent, and the round of its slot."""
        found: list[tuple[Announcement, int]] = []
        for announcement in self.announcements():
            member: Member | None = announcement.members.get(agent)
            invitation = announcement.invitations.get(agent)
            if announcement.state.is_over:
                continue
            if member is not None:
                found.append((announcement, member.round))
            elif invitation is not None and invitation.accepted:
                found.append((announcement, invitation.round))
        return found
