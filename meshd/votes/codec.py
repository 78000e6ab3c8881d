"""How a proposal is kept: one record of JSON with a schema number, small enough for a thousand electors.

Electors and votes are rows, and a vote names its elector by its place in the electorate, which never changes. When a
proposal was made is what the store says of its record. A record out of room keeps every vote and leaves reasons out.
"""

from dataclasses import replace
from typing import Any

import msgspec

from meshd.codec import pack, unpack
from meshd.errors import CorruptDataError, InvalidArgumentError, InvalidPayloadError
from meshd.records import MAX_RECORD_BYTES, Record
from meshd.votes.model import CastVote, Choice, Elector, Proposal, ProposalState, Quorum, Waggle

PREFIX = "proposal/"
SCHEMA = 1
MAX_CONTENT_BYTES = 65_536


class _Elector(msgspec.Struct, array_like=True):
    id: str
    incarnation: int
    weight: int
    may_veto: bool


class _Vote(msgspec.Struct, array_like=True):
    place: int
    choice: Choice
    incarnation: int
    intensity_permil: int
    at_ms: int
    reason: str


class _Stored(msgspec.Struct, kw_only=True):
    schema: int
    id: str
    proposer: str
    type: str
    content: Any
    electorate: list[_Elector]
    epoch: int
    supersedes: str
    quorum: Quorum
    need: int
    state: ProposalState
    votes: list[_Vote]
    waggle: Waggle
    timeout_ms: int
    decided_ms: int
    announced: bool
    durability: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Stored).decode


def key_of(proposal_id: str) -> str:
    """Return the key of the record that is the proposal."""
    return PREFIX + proposal_id


def check_content(content: object) -> Any:
    """Return what is voted on as plain JSON types.

    Raises:
        InvalidPayloadError: it has no JSON form.
        InvalidArgumentError: its JSON text is over `MAX_CONTENT_BYTES`.
    """
    try:
        text = _encode(content)
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidPayloadError(f"content of a proposal has no JSON form: {exc}") from exc
    if len(text) > MAX_CONTENT_BYTES:
        raise InvalidArgumentError(
            f"content of a proposal is {len(text)} bytes, over the limit of {MAX_CONTENT_BYTES}: keep it in the memory "
            "and vote on its key"
        )
    return msgspec.json.decode(text)


def encode(proposal: Proposal) -> bytes:
    """Return the proposal as its record keeps it; a record out of room leaves the reasons given last out."""
    data = pack(_encode(_stored(proposal)))
    reasoned = sorted((vote for vote in proposal.votes.values() if vote.reason), key=lambda vote: vote.at_ms)
    while len(data) > MAX_RECORD_BYTES and reasoned:
        vote = reasoned.pop()
        proposal = replace(proposal, votes={**proposal.votes, vote.voter: replace(vote, reason="")})
        data = pack(_encode(_stored(proposal)))
    return data


def decode(record: Record) -> Proposal:
    """Return the proposal a record keeps.

    Raises:
        CorruptDataError: the record was not written by `encode`, or by a later meshd.
    """
    try:
        stored = _decode(unpack(record.value))
        if stored.schema != SCHEMA:
            raise CorruptDataError(f"a proposal of schema {stored.schema} cannot be read: this meshd reads {SCHEMA}")
        return _proposal(stored, created_ms=record.born_ms)
    except (msgspec.DecodeError, IndexError, UnicodeDecodeError) as exc:
        raise CorruptDataError(f"record {record.key!r} is no proposal: {exc}") from exc


def _stored(proposal: Proposal) -> _Stored:
    places = {elector.id: place for place, elector in enumerate(proposal.electorate)}
    return _Stored(
        schema=SCHEMA,
        id=proposal.id,
        proposer=proposal.proposer,
        type=proposal.type,
        content=proposal.content,
        electorate=[_Elector(each.id, each.incarnation, each.weight, each.may_veto) for each in proposal.electorate],
        epoch=proposal.epoch,
        supersedes=proposal.supersedes,
        quorum=proposal.quorum,
        need=proposal.need,
        state=proposal.state,
        votes=[
            _Vote(places[voter], vote.choice, vote.incarnation, vote.intensity_permil, vote.at_ms, vote.reason)
            for voter, vote in proposal.votes.items()
        ],
        waggle=proposal.waggle,
        timeout_ms=proposal.expires_ms - proposal.created_ms,
        decided_ms=proposal.decided_ms,
        announced=proposal.announced,
        durability=proposal.durability,
    )


def _proposal(stored: _Stored, *, created_ms: int) -> Proposal:
    electorate = tuple(
        Elector(id=each.id, incarnation=each.incarnation, weight=each.weight, may_veto=each.may_veto)
        for each in stored.electorate
    )
    votes = {
        electorate[each.place].id: CastVote(
            voter=electorate[each.place].id,
            choice=each.choice,
            incarnation=each.incarnation,
            intensity_permil=each.intensity_permil,
            reason=each.reason,
            at_ms=each.at_ms,
        )
        for each in stored.votes
    }
    return Proposal(
        id=stored.id,
        proposer=stored.proposer,
        type=stored.type,
        content=stored.content,
        electorate=electorate,
        epoch=stored.epoch,
        supersedes=stored.supersedes,
        quorum=stored.quorum,
        need=stored.need,
        state=stored.state,
        votes=votes,
        waggle=stored.waggle,
        created_ms=created_ms,
        expires_ms=created_ms + stored.timeout_ms,
        decided_ms=stored.decided_ms,
        announced=stored.announced,
        durability=stored.durability,
    )
