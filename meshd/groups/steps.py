"""What a step of the protocol is made of: the announcement after it, what is to be said, which slots change."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from meshd.groups.covering import Cover, cover
from meshd.groups.model import Announcement, GroupMessage, Invitation, Member, Offer, SkillNeed
from meshd.groups.shares import DEFAULT_SHARES, ShareRules
from meshd.groups.slots import Release, SlotChange

MAX_REMEMBERED = 256
"""Most agents whose refusal, or death, an announcement remembers; the oldest are forgotten."""


V = TypeVar("V")


class Select(Protocol):
    """Which offers are invited; `covering.cover` is one."""

    def __call__(self, names: Iterable[str], offers: Iterable[Offer], *, max_size: int, salt: str) -> Cover | None:
        """Return who is to cover what, every name covered; `None` when no such group was found."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the protocol can be told: who is chosen, and how long it waits."""

    select: Select = cover
    shares: ShareRules = DEFAULT_SHARES
    """By which offers are kept where there are more than `max_offers`; `select` has its own."""
    offer_window_ms: int = 200
    """How long better offers are waited for."""
    enough_offers: int = 12
    """With so many, and every skill covered, the best are invited at once."""
    hold_ms: int = 5_000
    """How long an invited agent has to answer."""
    hold_margin_ms: int = 500
    """A hold that ends sooner is not formed with."""
    formation_ms: int = 30_000
    """From the announcement, and again from the loss of a member."""
    start_ms: int = 5_000
    """How long a member has to start; it is reminded once."""
    lifetime_ms: int = 300_000
    """Until the deadline of an announcement that names none."""
    max_reformations: int = 3
    max_offers: int = 64
    """Offers kept; of more, the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to be sent once the announcement is written. The same id is the same message, however often sent."""

    type: GroupMessage
    to: str
    id: str
    payload: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one event makes of an announcement.

    To be done in this order: the announcement is written (compare-and-set), the slots are changed, the messages are
    sent. If the write is refused, nothing of it happens.
    """

    announcement: Announcement
    slots: tuple[SlotChange, ...] = ()
    messages: tuple[Outgoing, ...] = ()

    def then(self, rule: Callable[[Announcement], "Step"]) -> "Step":
        """Return this step and what `rule` makes of its announcement, as one."""
        after = rule(self.announcement)
        return Step(
            announcement=after.announcement,
            slots=(*self.slots, *after.slots),
            messages=(*self.messages, *after.messages),
        )


def say(
    announcement: Announcement, type: GroupMessage, to: Iterable[str], *, stamp: int | str, **payload: Any
) -> tuple[Outgoing, ...]:
    """Return the message to each, by name; `stamp` tells it from others of its type about the same announcement."""
    return tuple(
        Outgoing(
            type=type,
            to=name,
            id=f"{announcement.id}:{type}:{stamp}",
            payload={"announcement": announcement.id, **payload},
        )
        for name in sorted(set(to))
    )


def mark(agent: str) -> str:
    """Return what stands for an agent in a stamp: short, and another for every agent."""
    return hashlib.blake2b(agent.encode(), digest_size=8).hexdigest()


def open_needs(announcement: Announcement, *, accepted_only: bool = False) -> tuple[SkillNeed, ...]:
    """Return the gap: needs with neither result, member nor invitation; `accepted_only`: only accepted ones fill it."""
    filled = {role for member in announcement.members.values() for role in member.roles}
    for invitation in announcement.invitations.values():
        if invitation.accepted or not accepted_only:
            filled.update(invitation.roles)
    return tuple(
        need for need in announcement.needs if need.name not in filled and need.name not in announcement.results
    )


def refuse(announcement: Announcement, agent: str, reason: str) -> Announcement:
    """Return the announcement with an agent that is not asked again, and without its offer."""
    refused = {**announcement.refused, agent: reason}
    return replace(announcement, refused=dict(_newest(refused)), offers=without(announcement.offers, agent))


def bury(announcement: Announcement, agent: str, incarnation: int) -> Announcement:
    """Return the announcement with this life of an agent over, and without its offer; a later life may offer."""
    dead = {**announcement.dead, agent: max(incarnation, announcement.dead.get(agent, 0))}
    offer = announcement.offers.get(agent)
    gone = offer is not None and offer.incarnation <= incarnation
    offers = without(announcement.offers, agent) if gone else announcement.offers
    return replace(announcement, dead=dict(_newest(dead)), offers=offers)


def releases(announcement: Announcement, holders: Iterable[Invitation | Member]) -> tuple[Release, ...]:
    """Return the slots of these, free."""
    return tuple(
        Release(agent=holder.agent, announcement=announcement.id, round=holder.round)
        for holder in sorted(holders, key=lambda one: one.agent)
    )


def without(entries: Mapping[str, V], name: str) -> dict[str, V]:
    """Return the entries but one."""
    return {key: value for key, value in entries.items() if key != name}


def _newest(entries: Mapping[str, V]) -> list[tuple[str, V]]:
    return list(entries.items())[-MAX_REMEMBERED:]
