"""How an announcement is kept: one record of JSON with a schema number, its parts as rows.

What an offer, an invitation or a member says is in the order of its row; a later meshd may add to the end of a row.
"""

from operator import attrgetter
from typing import Any

import msgspec

from meshd.codec import pack, unpack
from meshd.errors import CorruptDataError, InvalidPayloadError
from meshd.groups.model import (
    Announcement,
    AnnouncementState,
    Invitation,
    Member,
    Offer,
    PartialPolicy,
    SkillNeed,
    Urgency,
)
from meshd.nodes.model import Level
from meshd.records import Record

SCHEMA = 1


class _Need(msgspec.Struct, array_like=True):
    name: str
    level: Level


class _Offer(msgspec.Struct, array_like=True):
    agent: str
    incarnation: int
    skills: tuple[str, ...]
    score: float
    availability: float
    estimated_ms: float
    cost: float
    given: float
    node: str
    unanswered: int
    free: int = 0


class _Invitation(msgspec.Struct, array_like=True):
    agent: str
    incarnation: int
    round: int
    roles: tuple[str, ...]
    expires_ms: int
    accepted: bool
    node: str


class _Member(msgspec.Struct, array_like=True):
    agent: str
    incarnation: int
    roles: tuple[str, ...]
    round: int
    epoch: int
    token: int
    starts_until_ms: int
    is_reminded: bool
    started: bool
    progress: float
    note: str
    updated_ms: int
    is_done: bool
    node: str


class _Stored(msgspec.Struct, kw_only=True, omit_defaults=True):
    schema: int
    id: str
    initiator: str
    state: AnnouncementState
    needs: list[_Need]
    announced_ms: int
    deadline_ms: int
    description: str = ""
    payload: Any = None
    max_size: int = 5
    urgency: Urgency = Urgency.NORMAL
    partial: PartialPolicy = PartialPolicy.FAIL
    depends_on: tuple[str, ...] = ()
    awaits: tuple[str, ...] = ()
    parent: str = ""
    epoch: int = 0
    token: int = 0
    round: int = 0
    offers: list[_Offer] = []
    invitations: list[_Invitation] = []
    refused: dict[str, str] = {}
    dead: dict[str, int] = {}
    members: list[_Member] = []
    is_partial: bool = False
    reformations: int = 0
    offers_until_ms: int = 0
    formed_ms: int = 0
    forms_until_ms: int = 0
    ended_ms: int = 0
    reason: str = ""
    results: dict[str, Any] = {}
    metadata: dict[str, Any] = {}


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Stored).decode
_OFFER = attrgetter(*_Offer.__struct_fields__)
_INVITATION = attrgetter(*_Invitation.__struct_fields__)
_MEMBER = attrgetter(*_Member.__struct_fields__)
_PLAIN = tuple(
    name
    for name in _Stored.__struct_fields__
    if name not in {"schema", "needs", "offers", "invitations", "members", "refused", "dead", "results", "metadata"}
)


def encode(announcement: Announcement) -> bytes:
    """Return the announcement as its record keeps it.

    Raises:
        InvalidPayloadError: payload, metadata or a result has no JSON form.
    """
    stored = _Stored(
        schema=SCHEMA,
        needs=[_Need(need.name, need.level) for need in announcement.needs],
        offers=[_Offer(*_OFFER(each)) for each in announcement.offers.values()],
        invitations=[_Invitation(*_INVITATION(each)) for each in announcement.invitations.values()],
        members=[_Member(*_MEMBER(each)) for each in announcement.members.values()],
        refused=dict(announcement.refused),
        dead=dict(announcement.dead),
        results=dict(announcement.results),
        metadata=dict(announcement.metadata),
        **{name: getattr(announcement, name) for name in _PLAIN},
    )
    try:
        return pack(_encode(stored))
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidPayloadError(f"announcement {announcement.id} has no JSON form: {exc}") from exc


def decode(record: Record) -> Announcement:
    """Return the announcement a record keeps.

    Raises:
        CorruptDataError: the record was not written by `encode`, or by a later meshd.
    """
    try:
        stored = _decode(unpack(record.value))
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise CorruptDataError(f"record {record.key!r} is no announcement: {exc}") from exc
    if stored.schema != SCHEMA:
        raise CorruptDataError(f"an announcement of schema {stored.schema} cannot be read: this meshd reads {SCHEMA}")
    return Announcement(
        needs=tuple(SkillNeed(name=each.name, level=each.level) for each in stored.needs),
        offers={row.agent: _offer(row) for row in stored.offers},
        invitations={row.agent: _invitation(row) for row in stored.invitations},
        members={row.agent: _member(row) for row in stored.members},
        refused=stored.refused,
        dead=stored.dead,
        results=stored.results,
        metadata=stored.metadata,
        **{name: getattr(stored, name) for name in _PLAIN},
    )


def offer_row(offer: Offer) -> list[Any]:
    """Return an offer as it travels in a SKILL_OFFER."""
    return list(_OFFER(offer))


def offers_from_rows(rows: Any) -> list[Offer]:
    """Return the offers that travelled.

    Raises:
        CorruptDataError: they are not what `offer_row` makes.
    """
    try:
        return [_offer(row) for row in msgspec.convert(rows, list[_Offer])]
    except msgspec.ValidationError as exc:
        raise CorruptDataError(f"{rows!r} are no offers: {exc}") from exc


def _offer(row: _Offer) -> Offer:
    return Offer(
        agent=row.agent,
        incarnation=row.incarnation,
        skills=row.skills,
        score=row.score,
        availability=row.availability,
        estimated_ms=row.estimated_ms,
        cost=row.cost,
        given=row.given,
        node=row.node,
        unanswered=row.unanswered,
        free=row.free,
    )


def _invitation(row: _Invitation) -> Invitation:
    return Invitation(
        agent=row.agent,
        incarnation=row.incarnation,
        round=row.round,
        roles=row.roles,
        expires_ms=row.expires_ms,
        accepted=row.accepted,
        node=row.node,
    )


def _member(row: _Member) -> Member:
    return Member(
        agent=row.agent,
        incarnation=row.incarnation,
        roles=row.roles,
        round=row.round,
        epoch=row.epoch,
        token=row.token,
        starts_until_ms=row.starts_until_ms,
        is_reminded=row.is_reminded,
        started=row.started,
        progress=row.progress,
        note=row.note,
        updated_ms=row.updated_ms,
        is_done=row.is_done,
        node=row.node,
    )
