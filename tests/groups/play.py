"""One announcement and its agents' books, played step by step: every step written, every slot changed at once."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from meshd.groups.covering import Cover, cover
from meshd.groups.happenings import (
    GroupAccepted,
    GroupEvent,
    GroupInvited,
    GroupRejected,
    SkillOffered,
    SlotMissed,
    TaskCompleted,
    TaskFailed,
    TaskStarted,
    TaskUpdated,
    Ticked,
)
from meshd.groups.model import Announcement, AnnouncementState, GroupMessage, Member, Offer, SkillNeed
from meshd.groups.protocol import announce, apply, next_visit
from meshd.groups.slots import SlotBook, Take, change, held
from meshd.groups.steps import Outgoing, Rules, Step

BEGIN_MS = 1_000_000


def steady(names: Iterable[str], offers: Iterable[Offer], *, max_size: int, salt: str) -> Cover | None:
    """Return the cheapest cover, whatever the announcement's id."""
    del salt
    return cover(names, offers, max_size=max_size)


RULES = Rules(select=steady)


def offered(agent: str, *skills: str, score: float = 0.5, incarnation: int = 1) -> Offer:
    return Offer(agent=agent, incarnation=incarnation, skills=skills, score=score, availability=1.0)


class Play:
    """What happens, and all that was said."""

    def __init__(self, *skills: str, rules: Rules = RULES, slots: int = 5, id: str = "t1", **more: Any) -> None:
        self.rules = rules
        self.slots = slots
        self.now_ms = BEGIN_MS
        draft = Announcement(id=id, initiator="boss", needs=tuple(SkillNeed(name=name) for name in skills), **more)
        self.now = announce(draft, now_ms=self.now_ms, rules=rules)
        self.books: dict[str, SlotBook] = {}
        self.said: list[Outgoing] = []

    def do(self, event: GroupEvent) -> Step:
        step = apply(self.now, event, now_ms=self.now_ms, rules=self.rules)
        self.now = step.announcement
        self.said += step.messages
        for wanted in step.slots:
            changed = change(self.book(wanted.agent), wanted, now_ms=self.now_ms)
            if changed is None:
                self.do(SlotMissed(agent=wanted.agent, round=wanted.round))
            else:
                self.books[wanted.agent] = changed
        return step

    def stands(self, state: AnnouncementState) -> bool:
        return self.now.state is state

    def book(self, agent: str) -> SlotBook:
        return self.books.get(agent, SlotBook(agent=agent, slots=self.slots))

    def offer(self, *offers: Offer) -> None:
        for each in offers:
            self.do(SkillOffered(offer=each))

    def invite(self, *offers: Offer) -> None:
        self.offer(*offers)
        self.do(GroupInvited())

    def accepted(self, agent: str) -> GroupAccepted:
        """Return what the agent says when it accepts."""
        invitation = self.now.invitations[agent]
        wanted = Take(
            agent=agent, announcement=self.now.id, round=invitation.round, incarnation=1, expires_ms=self.now_ms
        )
        return GroupAccepted(
            agent=agent,
            incarnation=invitation.incarnation,
            round=invitation.round,
            hold=held(self.book(agent), wanted),
        )

    def accept(self, *agents: str) -> None:
        for agent in agents:
            self.do(self.accepted(agent))

    def reject(self, agent: str, reason: str = "busy") -> Step:
        invitation = self.now.invitations[agent]
        return self.do(
            GroupRejected(agent=agent, incarnation=invitation.incarnation, round=invitation.round, reason=reason)
        )

    def start(self) -> None:
        self.do(TaskStarted())

    def run(self, *offers: Offer) -> None:
        """Bring the group to work."""
        self.invite(*offers)
        self.accept(*list(self.now.invitations))
        self.start()

    def update(self, agent: str, progress: float = 0.0, note: str = "") -> Step:
        return self.do(TaskUpdated(**self.shown(agent), progress=progress, note=note))

    def complete(self, agent: str, result: Any = None) -> Step:
        return self.do(TaskCompleted(**self.shown(agent), result=result))

    def fail(self, agent: str, reason: str = "broken") -> Step:
        return self.do(TaskFailed(**self.shown(agent), reason=reason))

    def shown(self, agent: str) -> dict[str, Any]:
        """Return what a member shows with everything it says."""
        member: Member = self.now.members[agent]
        return {
            "agent": agent,
            "incarnation": member.incarnation,
            "epoch": member.epoch,
            "token": member.token,
        }

    def wait(self, ms: int) -> Step:
        """Let time pass, then tick."""
        self.now_ms += ms
        return self.do(Ticked())

    def to_the_end(self) -> None:
        """Tick whenever a tick is due until it is over."""
        while (visit := next_visit(self.now, now_ms=self.now_ms, rules=self.rules)) is not None:
            before = self.now
            self.now_ms = max(visit, self.now_ms)
            self.do(Ticked())
            assert self.now is not before, "a visit that changes nothing would come again at once"

    def told(self, type: GroupMessage) -> Sequence[str]:
        return [message.to for message in self.said if message.type is type]

    def taken(self) -> Mapping[str, int]:
        return {agent: book.taken for agent, book in self.books.items() if book.taken}
