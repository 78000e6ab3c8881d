"""An announcement survives its record, with everything it has; what is no announcement is refused."""

from dataclasses import fields, replace
from typing import Any

import pytest

from meshd.codec import pack
from meshd.errors import CorruptDataError, InvalidPayloadError
from meshd.groups.codec import decode, encode, offer_row, offers_from_rows
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

OFFER = Offer(
    agent="a1",
    incarnation=7,
    skills=("x", "y"),
    score=0.75,
    availability=0.4,
    estimated_ms=12.5,
    cost=2.0,
    given=1.5,
    node="n1",
    unanswered=1,
)
INVITATION = Invitation(agent="a2", incarnation=3, round=4, roles=("x",), expires_ms=99, accepted=True, node="n2")
MEMBER = Member(
    agent="a3",
    incarnation=2,
    roles=("y", "z"),
    round=3,
    epoch=2,
    token=17,
    starts_until_ms=44,
    is_reminded=True,
    started=True,
    progress=0.5,
    note="half",
    updated_ms=43,
    is_done=True,
    node="n3",
)
FULL = Announcement(
    id="t1",
    initiator="boss",
    description="do it",
    payload={"rows": [1, 2, None]},
    needs=(SkillNeed(name="x", level=Level.EXPERT), SkillNeed(name="y"), SkillNeed(name="z")),
    max_size=3,
    urgency=Urgency.HIGH,
    partial=PartialPolicy.START,
    depends_on=("t0", "s0"),
    awaits=("s0",),
    parent="p",
    state=AnnouncementState.REFORMING,
    epoch=2,
    token=18,
    round=5,
    offers={"a1": OFFER},
    invitations={"a2": INVITATION},
    refused={"a4": "busy"},
    dead={"a5": 6},
    members={"a3": MEMBER},
    is_partial=True,
    reformations=1,
    announced_ms=1,
    offers_until_ms=2,
    formed_ms=3,
    forms_until_ms=4,
    deadline_ms=5,
    ended_ms=6,
    reason="why",
    results={"y": {"n": 1.5}, "z": None},
    metadata={"k": "v"},
)


def record_of(value: bytes) -> Record:
    return Record(key="announcement/t1", value=value, revision=1, born=1, born_ms=1, read_ms=1)


def test_everything_an_announcement_has_is_kept() -> None:
    plain = Announcement(id="t1", initiator="boss")
    forgotten = [
        each.name
        for each in fields(FULL)
        if each.name != "id" and getattr(FULL, each.name) == getattr(plain, each.name)
    ]
    assert forgotten == ["initiator"], "the example must differ from the defaults everywhere"
    assert decode(record_of(encode(FULL))) == FULL


def test_an_announcement_of_defaults_is_short() -> None:
    plain = Announcement(id="t1", initiator="boss", needs=(SkillNeed(name="x"),), deadline_ms=9)
    assert decode(record_of(encode(plain))) == plain
    assert len(encode(plain)) < 150


def test_a_long_announcement_is_kept_compressed() -> None:
    long = replace(FULL, description="word " * 2_000)
    assert len(encode(long)) < 2_000
    assert decode(record_of(encode(long))) == long


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"schema":2}', pack(b'{"schema":1,"id":5}'), b"\x01zzz"])
def test_what_is_no_announcement_is_refused_by_name(value: bytes) -> None:
    with pytest.raises(CorruptDataError):
        decode(record_of(value))


def test_a_later_schema_is_refused() -> None:
    with pytest.raises(CorruptDataError, match="schema 9"):
        decode(record_of(encode(FULL).replace(b'"schema":1', b'"schema":9')))


def test_a_payload_without_a_json_form_is_refused() -> None:
    with pytest.raises(InvalidPayloadError, match="t1"):
        encode(replace(FULL, payload=object()))


def test_an_offer_travels_whole() -> None:
    assert offers_from_rows([offer_row(OFFER)]) == [OFFER]


@pytest.mark.parametrize("row", [None, [], ["a1"], ["a1", "x"], {"agent": "a1"}])
def test_what_is_no_offer_is_refused(row: Any) -> None:
    with pytest.raises(CorruptDataError):
        offers_from_rows([row])
