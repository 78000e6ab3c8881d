"""From what a caller says to a draft of an announcement: skills, priorities and policies by their names. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from meshd.errors import InvalidArgumentError
from meshd.groups.model import Announcement, PartialPolicy, SkillNeed, Urgency
from meshd.groups.skills import level_named
from meshd.ids import check_name

MAX_DEPENDS_ON = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a caller wants done, in the caller's words."""

    description: str
    skills: Iterable[SkillNeed | str]
    """What the group needs: `python>=advanced`, or `python` at any level; each covered once."""
    payload: Any = None
    """What the members get: JSON."""
    max_size: int | None = None
    """Most members; `None`: as many as the setting allows."""
    priority: Urgency | str = "normal"
    """critical, high, normal, low or background."""
    partial: PartialPolicy | str = "fail"
    """When a skill is not covered in time: fail, extend or start."""
    deadline: timedelta | None = None
    """When all is to be over, from now or from when the last of `depends_on` has completed."""
    formation: timedelta | None = None
    """How long the group may take to form, from the same moment."""
    depends_on: Iterable[str] = ()
    """Announcements that have to complete first."""
    parent: str = ""
    """The announcement this is a part of; it ends when that one does."""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


def draft(wanted: Wanted, *, id: str, initiator: str, now_ms: int, limit: int) -> Announcement:
    """Return the announcement to be made; `limit` is the largest group, and what holds when no size is said.

    Raises:
        InvalidArgumentError: a word is not understood, or something is over its limit.
    """
    size = limit if wanted.max_size is None else wanted.max_size
    if not 1 <= size <= limit:
        raise InvalidArgumentError(f"a group of {size} is not 1 to {limit}: setting groups.max_size is the limit")
    parents = tuple(dict.fromkeys(wanted.depends_on))
    if len(parents) > MAX_DEPENDS_ON:
        raise InvalidArgumentError(f"announcement {id} waits for {len(parents)} others: at most {MAX_DEPENDS_ON}")
    for other in (*parents, *filter(None, [wanted.parent])):
        if check_name("announcement", other) == id:
            raise InvalidArgumentError(f"announcement {id} cannot wait for itself, or be a part of itself")
    return Announcement(
        id=id,
        initiator=initiator,
        description=wanted.description,
        payload=wanted.payload,
        needs=tuple(need_of(each) for each in wanted.skills),
        max_size=size,
        urgency=urgency_of(wanted.priority),
        partial=partial_of(wanted.partial),
        depends_on=parents,
        parent=wanted.parent,
        deadline_ms=_after(now_ms, wanted.deadline, what="deadline"),
        forms_until_ms=_after(now_ms, wanted.formation, what="time to form"),
        metadata=wanted.metadata,
    )


def need_of(said: SkillNeed | str) -> SkillNeed:
    """Return the need said as `python>=advanced` (or `python=advanced`), or as `python` at any level.

    Raises:
        InvalidArgumentError: it is neither.
    """
    if isinstance(said, SkillNeed):
        return said
    name, is_levelled, level = said.replace(">=", "=", 1).partition("=")
    check_name("skill", name.strip())
    return (
        SkillNeed(name=name.strip(), level=level_named(level.strip())) if is_levelled else SkillNeed(name=name.strip())
    )


def urgency_of(said: Urgency | str) -> Urgency:
    """Return the priority of this name.

    Raises:
        InvalidArgumentError: there is none.
    """
    if isinstance(said, Urgency):
        return said
    known = {each.name.lower(): each for each in Urgency}
    if said.lower() not in known:
        raise InvalidArgumentError(f"priority {said!r} is not one of {', '.join(known)}")
    return known[said.lower()]


def partial_of(said: PartialPolicy | str) -> PartialPolicy:
    """Return the policy of this name.

    Raises:
        InvalidArgumentError: there is none.
    """
    try:
        return PartialPolicy(said)
    except ValueError:
        raise InvalidArgumentError(f"partial {said!r} is not one of {', '.join(PartialPolicy)}") from None


def is_same(known: Announcement, wanted: Announcement) -> bool:
    """Return whether the announcement that is there is what is asked for once more."""
    return all(
        getattr(known, name) == getattr(wanted, name)
        for name in ("description", "payload", "needs", "max_size", "urgency", "partial", "depends_on", "parent")
    )


def _after(now_ms: int, length: timedelta | None, *, what: str) -> int:
    if length is None:
        return 0
    milliseconds = round(length.total_seconds() * 1000)
    if milliseconds <= 0:
        raise InvalidArgumentError(f"{what} {length.total_seconds():g} s is not over 0")
    return now_ms + milliseconds
