"""How an agent is kept: one record of rows of JSON with a schema number, small since it is written with every slot.

What a row would end with and goes without saying is left out.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from meshd.codec import pack, unpack
from meshd.errors import CorruptDataError
from meshd.groups.enrolment import Enrolment
from meshd.groups.model import Candidate, Reputation, Skill
from meshd.groups.slots import Hold, SlotBook
from meshd.nodes.model import Level
from meshd.records import Record

PREFIX = "agent/"
SCHEMA = 1


class _Skill(msgspec.Struct, array_like=True):
    name: str
    level: Level
    success_rate: float = 1.0
    average_ms: float = 0.0
    completed: float = 0.0
    failed: float = 0.0
    count: int = 0
    measured_ms: float = 0.0
    at_ms: int = 0
    metadata: dict[str, Any] = {}


class _Hold(msgspec.Struct, array_like=True):
    announcement: str
    round: int
    incarnation: int
    expires_ms: int | None


class _Stored(msgspec.Struct, array_like=True):
    schema: int
    node: str
    incarnation: int
    slots: int
    cost: float
    skills: list[_Skill]
    holds: list[_Hold] = []
    given: float = 0.0
    given_ms: int = 0
    reputation: tuple[float, float, int] = (0.0, 0.0, 0)
    counted: tuple[str, ...] = ()


_SKILL: Sequence[Any] = (1.0, 0.0, 0.0, 0.0, 0, 0.0, 0, {})
_AGENT: Sequence[Any] = ([], 0.0, 0, (0.0, 0.0, 0), ())
"""What the ends of rows are taken for where they are left out."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Stored).decode


def key_of(agent: str) -> str:
    """Return the key of the record that is the agent."""
    return PREFIX + agent


def encode_enrolment(enrolment: Enrolment) -> bytes:
    """Return the agent as its record keeps it; weights to a millionth."""
    candidate = enrolment.candidate
    reputation = candidate.reputation
    return pack(
        _encode(
            _shortened(
                [
                    SCHEMA,
                    candidate.node,
                    candidate.incarnation,
                    candidate.slots,
                    candidate.cost,
                    [_stored(skill) for skill in candidate.skills.values()],
                    [
                        _Hold(hold.announcement, hold.round, hold.incarnation, hold.expires_ms)
                        for hold in enrolment.book.holds.values()
                    ],
                    round(candidate.given, 6),
                    candidate.given_ms,
                    (round(reputation.completed, 6), round(reputation.failed, 6), reputation.at_ms),
                    candidate.counted,
                ],
                _AGENT,
            )
        )
    )


def decode_enrolment(record: Record) -> Enrolment:
    """Return the agent a record keeps.

    Raises:
        CorruptDataError: the record was not written by `encode_enrolment`, or by a later meshd.
    """
    try:
        stored = _decode(unpack(record.value))
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise CorruptDataError(f"record {record.key!r} is no agent: {exc}") from exc
    if stored.schema != SCHEMA:
        raise CorruptDataError(f"an agent of schema {stored.schema} cannot be read: this meshd reads {SCHEMA}")
    return _enrolment(record.key.removeprefix(PREFIX), stored)


def _stored(skill: Skill) -> list[Any]:
    row = [
        skill.name,
        skill.level,
        skill.success_rate,
        skill.average_ms,
        round(skill.completed, 6),
        round(skill.failed, 6),
        skill.count,
        round(skill.measured_ms, 3),
        skill.at_ms,
        dict(skill.metadata),
    ]
    return _shortened(row, _SKILL)


def _shortened(row: list[Any], defaults: Sequence[Any]) -> list[Any]:
    """Return the row without what it ends with and would be read as anyway."""
    for default in reversed(defaults):
        if row[-1] != default:
            break
        row.pop()
    return row


def _enrolment(agent: str, stored: _Stored) -> Enrolment:
    completed, failed, at_ms = stored.reputation
    candidate = Candidate(
        agent=agent,
        node=stored.node,
        incarnation=stored.incarnation,
        skills={skill.name: _skill(skill) for skill in stored.skills},
        reputation=Reputation(completed=completed, failed=failed, at_ms=at_ms),
        slots=stored.slots,
        taken=len(stored.holds),
        cost=stored.cost,
        given=stored.given,
        given_ms=stored.given_ms,
        counted=stored.counted,
    )
    holds = {
        hold.announcement: Hold(
            announcement=hold.announcement,
            round=hold.round,
            incarnation=hold.incarnation,
            expires_ms=hold.expires_ms,
        )
        for hold in stored.holds
    }
    return Enrolment(candidate=candidate, book=SlotBook(agent=agent, slots=stored.slots, holds=holds))


def _skill(stored: _Skill) -> Skill:
    return Skill(
        name=stored.name,
        level=stored.level,
        success_rate=stored.success_rate,
        average_ms=stored.average_ms,
        completed=stored.completed,
        failed=stored.failed,
        count=stored.count,
        measured_ms=stored.measured_ms,
        at_ms=stored.at_ms,
        metadata=stored.metadata,
    )
