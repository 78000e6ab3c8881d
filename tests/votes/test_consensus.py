"""The consensus manager: announces each decision once to each elector, whoever dies when."""

import asyncio
from datetime import timedelta

import pytest

from meshd.clock import ManualClock
from meshd.errors import BackpressureError, FencedError, UnavailableError
from meshd.messages.model import Message
from meshd.messages.places import inbox_prefix
from meshd.messages.service import Messages
from meshd.records import Guard
from meshd.votes.announcing import CONSENSUS, tell_decision
from meshd.votes.codec import key_of
from meshd.votes.consensus import ConsensusManager, Round
from meshd.votes.model import ProposalState
from meshd.votes.retrying import FIRST_MS, LONGEST_MS, MAX_KEPT, Retries
from tests.votes.conftest import AGENTS, OpenSeat, Seat


async def inbox(seat: Seat, agent: str, kind: str) -> list[str]:
    """Return the proposals that messages of this kind, not handled yet, tell an agent of."""
    keys = [record.key for record in await seat.backend.records.list(inbox_prefix(agent))]
    return [key.rpartition(":")[2] for key in keys if f"/~{kind}:" in key]


async def decided(seat: Seat, name: str = "p1") -> None:
    await seat.votes.propose("x", id=name)
    for elector in AGENTS[:3]:
        await seat.votes.vote(name, elector.id, True)


async def test_every_elector_hears_of_a_proposal_and_of_its_decision_once(seat: Seat, open_seat: OpenSeat) -> None:
    await decided(seat)
    other = await open_seat()
    rounds = await asyncio.gather(seat.manager.run_once(), other.manager.run_once(), seat.manager.run_once())
    assert any(each.announced for each in rounds)
    assert await seat.manager.run_once() == Round()
    for elector in AGENTS:
        assert await inbox(seat, elector.id, "waggle") == ["p1"]
        assert await inbox(seat, elector.id, "decision") == ["p1"]
    assert (await seat.votes.get("p1")).announced


async def test_who_handled_the_decision_is_not_told_again(seat: Seat, open_seat: OpenSeat) -> None:
    await decided(seat)
    slow = await open_seat()
    before = await slow.votes.get("p1")
    await seat.manager.run_once()
    heard: list[str] = []
    async with seat.messages.listen("a4") as coming:
        async for message in coming:
            heard.append(message.type)
            if message.type == "decision":
                assert message.payload["state"] == "accepted"
                assert message.sender == CONSENSUS
                break
    await tell_decision(slow.messages.send, before)
    await slow.messages.send("a4", "last")
    async with slow.messages.listen("a4") as coming:
        heard.append((await anext(coming)).type)
    assert heard == ["waggle", "decision", "last"]
    assert await inbox(seat, "a4", "decision") == []


async def test_what_time_ended_is_announced(seat: Seat, clock: ManualClock) -> None:
    await seat.votes.propose("x", id="p1")
    assert await seat.manager.run_once() == Round(pending=1, due_in_ms=30_000)
    clock.advance(seconds=30)
    assert await seat.manager.run_once() == Round(announced=1, expired=1)
    assert await inbox(seat, "a0", "decision") == ["p1"]
    assert (await seat.votes.get("p1")).state is ProposalState.EXPIRED


class KilledError(Exception):
    """The manager was killed here."""


async def test_a_manager_killed_at_any_message_is_followed_by_one_that_tells_the_rest(seat: Seat) -> None:
    for killed_at in range(len(AGENTS) + 1):
        name = f"p{killed_at}"
        await decided(seat, name)
        sent: list[str] = []

        async def tell(
            to: str,
            type: str,
            payload: object,
            *,
            id: str,
            ttl: timedelta,
            sender: str,
            sent: list[str] = sent,
            limit: int = killed_at,
        ) -> Message:
            if len(sent) >= limit:
                raise KilledError
            sent.append(to)
            return await seat.messages.send(to, type, payload, id=id, ttl=ttl, sender=sender)

        dying = ConsensusManager(seat.votes, seat.agenda, tell=tell)
        if killed_at < len(AGENTS):
            with pytest.raises(KilledError):
                await dying.run_once()
        await seat.manager.run_once()
        for elector in AGENTS:
            assert (await inbox(seat, elector.id, "decision")).count(name) == 1


async def test_a_proposer_that_died_before_telling_is_stood_in_for(
    seat: Seat, open_seat: OpenSeat, clock: ManualClock
) -> None:
    silent = await open_seat(is_talkative=False)
    await silent.votes.propose("x", id="p1")
    await seat.manager.run_once()
    assert await inbox(seat, "a0", "waggle") == []
    clock.advance(seconds=3)
    await seat.manager.run_once()
    await seat.manager.run_once()
    assert [await inbox(seat, elector.id, "waggle") for elector in AGENTS] == [["p1"]] * 5


async def test_a_proposal_that_was_never_made_is_forgotten(seat: Seat, clock: ManualClock) -> None:
    await seat.agenda.add("p1", ttl_ms=3_600_000)
    await seat.manager.run_once()
    assert len(await seat.agenda.page()) == 1
    clock.advance(seconds=61)
    await seat.manager.run_once()
    assert list(await seat.agenda.page()) == []


async def test_a_manager_that_no_longer_leads_announces_nothing_for_good(seat: Seat) -> None:
    await decided(seat)
    born = await seat.backend.records.create("leader/consensus", b"1", ttl_ms=10_000)
    old = Guard(key="leader/consensus", born=born)
    await seat.backend.records.delete("leader/consensus")
    await seat.backend.records.create("leader/consensus", b"2", ttl_ms=10_000)
    with pytest.raises(FencedError):
        await seat.manager.run_once(old)
    assert not (await seat.votes.get("p1")).announced


async def test_a_store_that_is_away_ends_the_round_and_loses_nothing(seat: Seat) -> None:
    await decided(seat)

    async def away(to: str, type: str, payload: object, *, id: str, ttl: timedelta, sender: str) -> object:
        raise UnavailableError("away")

    with pytest.raises(UnavailableError):
        await ConsensusManager(seat.votes, seat.agenda, tell=away).run_once()
    assert await seat.manager.run_once() == Round(announced=1)


async def test_who_has_no_room_is_told_later_and_nobody_else_again(seat: Seat, clock: ManualClock) -> None:
    await decided(seat)
    sent: list[str] = []
    full = {"a4"}

    async def tell(to: str, type: str, payload: object, *, id: str, ttl: timedelta, sender: str) -> object:
        sent.append(to)
        if to in full:
            raise BackpressureError("full")
        return await seat.messages.send(to, type, payload, id=id, ttl=ttl, sender=sender)

    manager = ConsensusManager(seat.votes, seat.agenda, tell=tell)
    assert await manager.run_once() == Round(failed=1, due_in_ms=1_000)
    assert sorted(sent) == ["a0", "a1", "a2", "a3", "a4"]
    assert await manager.run_once() == Round(due_in_ms=1_000)
    clock.advance(seconds=1)
    assert await manager.run_once() == Round(failed=1, due_in_ms=2_000)
    assert sent[5:] == ["a4"]
    full.clear()
    clock.advance(seconds=2)
    assert await manager.run_once() == Round(announced=1)
    assert sent[5:] == ["a4", "a4"]
    assert list(await seat.agenda.page()) == []


async def test_who_has_no_room_for_a_proposal_keeps_nobody_from_its_decision(
    seat: Seat, open_seat: OpenSeat, clock: ManualClock
) -> None:
    silent = await open_seat(is_talkative=False)
    await silent.votes.propose("x", id="p1")
    sent: list[tuple[str, str]] = []

    async def tell(to: str, type: str, payload: object, *, id: str, ttl: timedelta, sender: str) -> object:
        sent.append((to, type))
        if (to, type) == ("a4", "waggle"):
            raise BackpressureError("full")
        return await seat.messages.send(to, type, payload, id=id, ttl=ttl, sender=sender)

    manager = ConsensusManager(seat.votes, seat.agenda, tell=tell)
    clock.advance(seconds=3)
    assert await manager.run_once() == Round(pending=1, due_in_ms=1_000)
    clock.advance(seconds=1)
    assert await manager.run_once() == Round(pending=1, due_in_ms=2_000)
    assert sent[5:] == [("a4", "waggle")]
    for elector in AGENTS[:3]:
        await seat.votes.vote("p1", elector.id, True)
    assert await manager.run_once() == Round(announced=1)


@pytest.mark.parametrize("is_gone", [True, False])
async def test_a_proposal_that_fails_keeps_no_other_from_its_turn(seat: Seat, is_gone: bool) -> None:
    await decided(seat, "p1")
    await decided(seat, "p2")

    async def tell(to: str, type: str, payload: object, *, id: str, ttl: timedelta, sender: str) -> object:
        if id == "decision:p1" and is_gone:
            await seat.backend.records.delete(key_of("p1"))
        if id == "decision:p1" and not is_gone:
            await seat.backend.records.put(key_of("p1"), b"damaged")
        return await seat.messages.send(to, type, payload, id=id, ttl=ttl, sender=sender)

    manager = ConsensusManager(seat.votes, seat.agenda, tell=tell)
    assert await manager.run_once() == Round(announced=1, failed=1, due_in_ms=1_000)
    assert await inbox(seat, "a0", "decision") == ["p1", "p2"]
    assert await manager.run_once() == Round(due_in_ms=1_000)


def test_what_is_remembered_of_failures_is_bounded() -> None:
    retries = Retries()
    for number in range(2 * MAX_KEPT):
        retries.failed(f"p{number}", age_ms=0)
    assert [retries.wait_ms(name, age_ms=0) for name in ("p0", f"p{MAX_KEPT}")] == [0, FIRST_MS]
    waits = [retries.failed("p", age_ms=0) for _ in range(8)]
    assert (waits[:3], waits[-1]) == ([FIRST_MS, 2 * FIRST_MS, 4 * FIRST_MS], LONGEST_MS)


async def cast_by_message(seat: Seat, sender: str, payload: object) -> dict[str, object]:
    message = Message(id="m1", sender=sender, to=CONSENSUS, type="vote", payload=payload)
    return await seat.manager.take(message)


async def test_votes_come_as_messages_too(seat: Seat) -> None:
    await seat.votes.propose("x", id="p1", electorate=AGENTS[:1])
    voter = Messages(seat.backend.records, seat.backend.events, sender="a0")
    await voter.send(CONSENSUS, "vote", {"proposal": "p1", "choice": "yes", "intensity": 0.5, "reason": "fine"})
    async with seat.messages.listen(CONSENSUS) as coming:
        message = await anext(coming)
        assert await seat.manager.take(message) == {"counted": True, "state": "accepted"}
    await voter.aclose()
    kept = (await seat.votes.get("p1")).votes["a0"]
    assert (kept.intensity_permil, kept.reason) == (500, "fine")


@pytest.mark.parametrize(
    ("sender", "payload", "error"),
    [
        ("a0", {"proposal": "p0", "choice": True}, "not_found"),
        ("who", {"proposal": "p1", "choice": True}, "not_elector"),
        ("a0", {"proposal": "p1", "choice": "maybe"}, "invalid_argument"),
        ("a0", {"proposal": "p1"}, "invalid_argument"),
        ("a0", {"proposal": 1, "choice": True}, "invalid_argument"),
        ("a0", {"proposal": "p1", "choice": True, "intensity": "much"}, "invalid_argument"),
        ("a0", {"proposal": "p1", "choice": True, "extra": 1}, "invalid_argument"),
        ("a0", ["p1", True], "invalid_argument"),
        ("a0", {"proposal": "p1", "choice": []}, "invalid_argument"),
        ("a0", {"proposal": "p1", "choice": True, "incarnation": 2.5}, "invalid_argument"),
        ("a0", {"proposal": "p1", "choice": True, "incarnation": False}, "invalid_argument"),
        ("a0", {"proposal": "p1", "choice": True, "incarnation": 2**60}, "invalid_argument"),
    ],
)
async def test_a_message_that_is_no_vote_is_answered_with_the_reason(
    seat: Seat, sender: str, payload: object, error: str
) -> None:
    await seat.votes.propose("x", id="p1")
    said = await cast_by_message(seat, sender, payload)
    assert (said["counted"], said["error"]) == (False, error)
    assert (await seat.votes.get("p1")).votes == {}


async def test_what_is_announced_costs_later_rounds_nothing(seat: Seat) -> None:
    for number in range(30):
        await decided(seat, f"p{number}")
    assert (await seat.manager.run_once()).announced == 30
    assert list(await seat.agenda.page()) == []
