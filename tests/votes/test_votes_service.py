"""Votes on real stores: several processes, one truth."""

import asyncio
from datetime import timedelta
from random import Random
from string import ascii_letters

import pytest

from meshd.clock import ManualClock
from meshd.errors import (
    AlreadyExistsError,
    AlreadyVotedError,
    ClosedError,
    DeadlineError,
    FencedError,
    InvalidArgumentError,
    InvalidPayloadError,
    NotElectorError,
    NotFoundError,
)
from meshd.votes.announcing import proposal_topic
from meshd.votes.box import RETENTION_MS
from meshd.votes.codec import MAX_CONTENT_BYTES, key_of
from meshd.votes.model import Choice, Elector, Proposal, ProposalState, Quorum
from meshd.votes.service import VoteService
from meshd.votes.three_calls import Agreement, ThreeCalls
from meshd.votes.waggle import dance
from tests.votes.conftest import AGENTS, OpenSeat, Seat

PENDING, ACCEPTED, REJECTED, EXPIRED = ProposalState
SOON = timedelta(seconds=5)


async def test_the_third_of_five_live_agents_accepts(votes: VoteService) -> None:
    proposal = await votes.propose({"refund": 12}, id="p1")
    assert (proposal.electorate, proposal.need, proposal.state) == (AGENTS, 3, PENDING)
    assert (await votes.vote("p1", "a0", True)).state is PENDING
    assert (await votes.vote("p1", "a1", "yes")).state is PENDING
    decided = await votes.vote("p1", "a2", Choice.YES, intensity=0.9, reason="cheap")
    assert (decided.state, decided.votes["a2"].reason, decided.votes["a2"].intensity_permil) == (ACCEPTED, "cheap", 900)
    assert await votes.get("p1") == decided


async def test_two_noes_of_four_reject(open_seat: OpenSeat) -> None:
    votes = (await open_seat(AGENTS[:4])).votes
    await votes.propose("x", id="p1")
    await votes.vote("p1", "a0", False)
    assert (await votes.vote("p1", "a1", False)).state is REJECTED


async def test_every_process_sees_the_same(seat: Seat, open_seat: OpenSeat) -> None:
    other = await open_seat()
    proposal = await seat.votes.propose(["any", {"json": None}], electorate=AGENTS[:3], waggle=dance(0.9))
    await other.votes.vote(proposal.id, "a0", True)
    decided = await seat.votes.vote(proposal.id, "a1", True)
    assert decided.state is ACCEPTED
    assert await other.votes.get(proposal.id) == decided
    assert list(await other.votes.list()) == [decided]


async def test_times_are_the_stores(votes: VoteService, clock: ManualClock) -> None:
    proposal = await votes.propose("x", timeout=timedelta(seconds=7))
    assert (proposal.created_ms, proposal.expires_ms) == (clock(), clock() + 7_000)
    clock.advance(seconds=2)
    voted = await votes.vote(proposal.id, "a0", True)
    assert voted.votes["a0"].at_ms == clock()
    assert (voted.created_ms, voted.expires_ms) == (proposal.created_ms, proposal.expires_ms)


async def test_a_proposal_expires_after_thirty_seconds_whoever_looks(votes: VoteService, clock: ManualClock) -> None:
    await votes.propose("x", id="p1")
    clock.advance(ms=30_000)
    with pytest.raises(ClosedError) as caught:
        await votes.vote("p1", "a0", True)
    assert caught.value.state == "expired"
    assert (await votes.get("p1")).state is EXPIRED


async def test_who_reads_an_overdue_proposal_ends_it_for_everybody(seat: Seat, clock: ManualClock) -> None:
    for name in ("p1", "p2", "p3"):
        await seat.votes.propose("x", id=name, electorate=AGENTS[:1])
    clock.advance(ms=30_000)
    assert [each.state for each in await seat.votes.list()] == [EXPIRED] * 3
    clock.now_ms -= 20_000
    with pytest.raises(ClosedError):
        await seat.votes.vote("p2", "a0", True)


async def test_refusals_have_types(votes: VoteService) -> None:
    await votes.propose("x", id="p1")
    await votes.vote("p1", "a0", True)
    await votes.vote("p1", "a0", True)
    with pytest.raises(AlreadyVotedError):
        await votes.vote("p1", "a0", False)
    with pytest.raises(NotElectorError):
        await votes.vote("p1", "stranger", True)
    with pytest.raises(NotFoundError):
        await votes.vote("p2", "a0", True)
    with pytest.raises(FencedError):
        await votes.vote("p1", "a1", True, incarnation=0)
    with pytest.raises(InvalidArgumentError):
        await votes.vote("p1", "a1", "maybe")
    with pytest.raises(InvalidArgumentError):
        await votes.vote("p1", "a1", True, intensity=2)
    with pytest.raises(NotFoundError):
        await votes.decision("p2")


async def test_a_restarted_agent_votes_only_if_it_had_not(votes: VoteService) -> None:
    await votes.propose("x", id="p1")
    await votes.vote("p1", "a0", True, incarnation=1)
    with pytest.raises(AlreadyVotedError):
        await votes.vote("p1", "a0", False, incarnation=2)
    voted = await votes.vote("p1", "a1", False, incarnation=2)
    assert voted.votes["a1"].incarnation == 2


async def test_the_same_id_again_keeps_the_votes(votes: VoteService) -> None:
    await votes.propose({"n": (1, 2)}, id="p1")
    await votes.vote("p1", "a0", True)
    again = await votes.propose({"n": [1, 2]}, id="p1", electorate=["other"])
    assert list(again.votes) == ["a0"]
    with pytest.raises(AlreadyExistsError):
        await votes.propose({"n": 3}, id="p1")


async def test_many_processes_propose_one_id_once(open_seat: OpenSeat) -> None:
    seats = [await open_seat() for _ in range(3)]
    made = await asyncio.gather(*(seat.votes.propose("x", id="p1") for seat in seats))
    assert len({(each.id, each.created_ms, each.electorate) for each in made}) == 1


async def test_all_votes_of_many_at_once_count(open_seat: OpenSeat) -> None:
    electors = [Elector(id=f"e{number}") for number in range(40)]
    seats = [await open_seat(electors) for _ in range(4)]
    await seats[0].votes.propose("x", id="p1", quorum=Quorum(permil=1_000))
    await asyncio.gather(
        *(seats[number % 4].votes.vote("p1", elector.id, True) for number, elector in enumerate(electors))
    )
    assert {seat.state for seat in [await each.votes.get("p1") for each in seats]} == {ACCEPTED}


async def test_voters_of_one_process_share_writes_and_each_gets_its_own_answer(open_seat: OpenSeat) -> None:
    seat = await open_seat(is_talkative=False)
    votes, records = seat.votes, seat.backend.records
    electors = [Elector(id=f"e{number:03}") for number in range(100)]
    await votes.propose("x", id="p1", electorate=electors, quorum=Quorum(count=90))
    before = await records.get(key_of("p1"))
    said = [*(votes.vote("p1", elector.id, True) for elector in electors[:90]), votes.vote("p1", "e000", False)]
    said += [votes.vote("p1", "stranger", True), votes.vote("p1", "e003", True), votes.vote("p1", "e090", True)]
    *counted, other, stranger, again, late = await asyncio.gather(*said, return_exceptions=True)
    answers = [each for each in counted if isinstance(each, Proposal)]
    assert [len(each.votes) for each in answers] == list(range(1, 91))
    assert {each.state for each in answers[:89]} == {PENDING}
    assert answers[89] == again == await votes.get("p1")
    assert answers[89].state is ACCEPTED
    assert [type(each) for each in (other, stranger, late)] == [AlreadyVotedError, NotElectorError, ClosedError]
    after = await records.get(key_of("p1"))
    assert before is not None
    assert after is not None
    assert after.revision - before.revision <= 4


async def test_a_voter_that_goes_away_takes_nobody_elses_vote_with_it(votes: VoteService) -> None:
    await votes.propose("x", id="p1", quorum=Quorum(permil=1_000))
    said = [asyncio.create_task(votes.vote("p1", elector.id, True)) for elector in AGENTS]
    await asyncio.sleep(0)
    said[0].cancel()
    said[2].cancel()
    answers = await asyncio.gather(*said, return_exceptions=True)
    assert [isinstance(each, asyncio.CancelledError) for each in answers] == [True, False, True, False, False]
    assert {"a1", "a3", "a4"} <= set((await votes.get("p1")).votes)


async def test_superseding_ends_the_old_and_counts_on(votes: VoteService) -> None:
    await votes.propose("x", id="p1")
    await votes.vote("p1", "a0", True)
    second = await votes.propose("x", id="p2", supersedes="p1", electorate=["a0", "new"])
    assert (second.epoch, second.supersedes) == (2, "p1")
    assert second.electorate == (AGENTS[0], Elector(id="new"))
    assert (await votes.get("p1")).state is EXPIRED
    with pytest.raises(ClosedError):
        await votes.vote("p1", "a1", True)
    with pytest.raises(NotFoundError):
        await votes.propose("x", supersedes="p0")


async def test_proposals_are_listed_by_type_and_state(votes: VoteService) -> None:
    made = [await votes.propose("x", type=kind) for kind in ("decision", "action", "topology")]
    await votes.propose("x", type="action", electorate=AGENTS[:1], id="done")
    await votes.vote("done", "a0", True)
    assert [each.type for each in await votes.list(state="pending")] == ["decision", "action", "topology"]
    assert [each.id for each in await votes.list(type="action")] == [made[1].id, "done"]
    assert [each.id for each in await votes.list(type="action", state=ACCEPTED)] == ["done"]
    assert len(await votes.list(limit=2)) == 2
    with pytest.raises(InvalidArgumentError, match="open"):
        await votes.list(state="open")


async def test_who_waits_for_a_superseded_proposal_hears_at_once(seat: Seat, open_seat: OpenSeat) -> None:
    other = await open_seat()
    await seat.votes.propose("x", id="p1")
    async with seat.backend.events.subscribe(proposal_topic("p1")) as hints:
        await other.votes.propose("x", id="p2", supersedes="p1")
        hint = await hints.get(timeout_ms=9_000)
    assert hint is not None
    assert hint.body["state"] == "expired"


async def test_a_damaged_proposal_hides_no_other(seat: Seat, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("p1", "p2", "p3"):
        await seat.votes.propose("x", id=name)
    await seat.backend.records.put(key_of("p2"), b"damaged")
    assert [each.id for each in await seat.votes.list()] == ["p1", "p3"]
    counted = await seat.votes.statistics()
    assert (counted.proposals[PENDING], counted.damaged) == (2, 1)
    assert key_of("p2") in caplog.text


async def test_a_page_of_damaged_proposals_is_not_the_last(seat: Seat) -> None:
    for number in range(100):
        await seat.backend.records.put(key_of(f"a{number:03}"), b"damaged")
    await seat.votes.propose("x", id="b")
    assert [each.id for each in await seat.votes.list(limit=1)] == ["b"]
    assert (await seat.votes.statistics()).damaged == 100


async def test_more_than_a_page_is_listed_and_counted(votes: VoteService) -> None:
    for number in range(103):
        await votes.propose(number, id=f"p{number:03}", electorate=AGENTS[:1])
    await votes.vote("p102", "a0", True)
    assert [each.id for each in await votes.list(state=ACCEPTED)] == ["p102"]
    counted = await votes.statistics()
    assert (counted.proposals[PENDING], counted.proposals[ACCEPTED], counted.votes) == (102, 1, 1)


async def test_nobody_may_vote_where_nobody_lives(open_seat: OpenSeat) -> None:
    votes = (await open_seat(())).votes
    with pytest.raises(InvalidArgumentError, match="electorate of 0"):
        await votes.propose("x")


async def test_limits(votes: VoteService) -> None:
    with pytest.raises(InvalidArgumentError, match=str(MAX_CONTENT_BYTES)):
        await votes.propose("x" * MAX_CONTENT_BYTES)
    with pytest.raises(InvalidPayloadError):
        await votes.propose(object())
    with pytest.raises(InvalidArgumentError, match="electorate of 1001"):
        await votes.propose("x", electorate=[f"e{number}" for number in range(1_001)])
    assert await votes.list() == []


async def test_the_largest_proposal_fits_and_its_last_reasons_are_left_out(open_seat: OpenSeat) -> None:
    rng = Random(1)
    names = [f"{number:04}{rng.getrandbits(240):060x}" for number in range(1_000)]
    electors = [Elector(id=name, incarnation=rng.getrandbits(53), weight=10**6) for name in names]
    votes = (await open_seat(electors, is_talkative=False)).votes
    content = "".join(rng.choices(ascii_letters, k=MAX_CONTENT_BYTES - 2))
    await votes.propose(content, id="p1", quorum=Quorum(permil=1_000))
    reasons = ["".join(map(chr, rng.choices(range(0x4E00, 0x9F00), k=500))) for _ in range(300)]
    for elector, reason in zip(electors[:300], reasons, strict=True):
        await votes.vote("p1", elector.id, True, reason=reason)
    voted = await votes.get("p1")
    assert len(voted.votes) == 300
    kept = [voted.votes[elector.id].reason for elector in electors[:300]]
    assert kept[0] == reasons[0]
    assert kept[-1] == ""


async def test_who_waits_learns_the_decision_at_once(seat: Seat, open_seat: OpenSeat) -> None:
    other = await open_seat()
    await seat.votes.propose("x", id="p1", electorate=AGENTS[:1])
    waiting = asyncio.create_task(other.votes.decision("p1", timeout=SOON))
    await asyncio.sleep(0)
    await seat.votes.vote("p1", "a0", True)
    assert (await waiting).state is ACCEPTED
    assert (await seat.votes.decision("p1", timeout=timedelta())).state is ACCEPTED


async def test_who_waits_too_long_is_told(votes: VoteService) -> None:
    await votes.propose("x", id="p1")
    with pytest.raises(DeadlineError, match="p1"):
        await votes.decision("p1", timeout=timedelta(milliseconds=50))


async def test_a_decision_says_how_safe_it_is(seat: Seat) -> None:
    await seat.votes.propose("x", id="p1", electorate=AGENTS[:1])
    decided = await seat.votes.vote("p1", "a0", True)
    assert decided.durability == (await seat.backend.health()).durability


async def test_a_decided_proposal_is_kept_for_a_day(seat: Seat, clock: ManualClock) -> None:
    await seat.votes.propose("x", id="p1", electorate=AGENTS[:1])
    clock.advance(seconds=20)
    await seat.votes.vote("p1", "a0", True)
    record = await seat.backend.records.get(key_of("p1"))
    assert record is not None
    assert record.expires_ms == clock() + RETENTION_MS


async def test_an_agent_named_as_elector_keeps_its_present_life(votes: VoteService) -> None:
    proposal = await votes.propose("x", electorate=["a3", Elector(id="boss", may_veto=True)])
    assert proposal.electorate == (AGENTS[3], Elector(id="boss", may_veto=True))


async def test_an_agent_that_moved_votes_once(open_seat: OpenSeat) -> None:
    votes = (await open_seat([Elector(id="a", incarnation=3), Elector(id="a", incarnation=7)])).votes
    assert (await votes.propose("x")).electorate == (Elector(id="a", incarnation=7),)


async def test_three_calls_agree_on_a_value(votes: VoteService) -> None:
    calls = ThreeCalls(votes, electorate=[f"n{number}" for number in range(5)])
    await calls.propose("leader", "n1", "n0")
    assert await calls.vote("leader", "n0", True)
    assert await calls.vote("leader", "n1", False)
    assert await calls.vote("leader", "n2", True)
    await calls.propose("leader", "n1", "n0")
    assert await calls.reach_consensus("leader", 3) is None
    assert await calls.vote("leader", "n3", True)
    assert await calls.reach_consensus("leader", 3) == Agreement("n1")
    assert await calls.reach_consensus("leader", 5) == Agreement("n1")
    with pytest.raises(AlreadyVotedError):
        await calls.vote("leader", "n3", False)
    with pytest.raises(AlreadyExistsError):
        await calls.propose("leader", "n2", "n0")
    assert await calls.reach_consensus("leader", 3) == Agreement("n1")


async def test_three_calls_refuse_what_nobody_proposed(votes: VoteService) -> None:
    calls = ThreeCalls(votes)
    assert not await calls.vote("leader", "a0", True)
    assert await calls.reach_consensus("leader", 1) is None


async def test_an_agreed_none_is_an_agreement(votes: VoteService) -> None:
    calls = ThreeCalls(votes)
    await calls.propose("nothing", None, "a0")
    assert await calls.reach_consensus("nothing", 1) is None
    await calls.vote("nothing", "a0", True)
    assert await calls.reach_consensus("nothing", 1) == Agreement(None)
