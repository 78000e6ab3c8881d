"""Announcements on real stores: one record each, a marker while it is open, changes that stand or are tried anew."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import (
    AlreadyExistsError,
    BackpressureError,
    FencedError,
    InvalidArgumentError,
    NotFoundError,
    RevisionMismatchError,
)
from meshd.groups.announcements import (
    DAY_MS,
    PREFIX,
    Announcements,
    Kept,
    StoreClock,
    key_of,
    marker_of,
)
from meshd.groups.happenings import TaskCancelled
from meshd.groups.model import Announcement, AnnouncementState, SkillNeed
from meshd.groups.offers import announce
from meshd.groups.protocol import apply
from meshd.groups.steps import Rules, Step
from meshd.records import RecordStore
from tests.conftest import OpenAgain

RULES = Rules()


def made(id: str = "t1", now_ms: int = 0) -> Announcement:
    draft = Announcement(id=id, initiator="boss", needs=(SkillNeed(name="x"),))
    return announce(draft, now_ms=now_ms, rules=RULES)


async def create(announcements: Announcements, id: str = "t1", *, by: str = "h1") -> Kept:
    return await announcements.create(id, lambda now_ms: made(id, now_ms), by=by)


def cancelled(current: Announcement, now_ms: int) -> Step:
    return apply(current, TaskCancelled(by="boss"), now_ms=now_ms, rules=RULES)


@pytest.fixture
def announcements(backend: Backend) -> Announcements:
    return Announcements(backend.records, kept_ms=60_000, max_open=3)


async def test_an_announcement_is_found_as_it_was_made(announcements: Announcements, clock: ManualClock) -> None:
    kept = await create(announcements)
    assert replace(await announcements.get("t1"), read_ms=kept.read_ms) == kept
    assert 0 <= kept.announcement.announced_ms - clock() < 10_000


async def test_its_times_are_the_stores(announcements: Announcements, clock: ManualClock) -> None:
    clock.advance(ms=3_600_000)
    kept = await create(announcements)
    assert 0 <= kept.announcement.announced_ms - clock() < 60_000


async def test_while_it_is_open_its_marker_names_who_leads_it(announcements: Announcements) -> None:
    await create(announcements, by="h1")
    await create(announcements, "t2", by="")
    assert [(marker.id, marker.by) for marker in await announcements.open_markers()] == [("t1", "h1"), ("t2", "")]


async def test_when_it_is_over_its_marker_is_gone_and_it_stays_for_a_while(
    announcements: Announcements, clock: ManualClock
) -> None:
    await create(announcements)
    done = await announcements.change("t1", cancelled)
    assert done.is_news
    assert done.before is AnnouncementState.ANNOUNCED
    assert list(await announcements.open_markers()) == []
    assert (await announcements.get("t1")).announcement.state is AnnouncementState.CANCELLED
    clock.advance(ms=60_001)
    assert await announcements.find("t1") is None
    with pytest.raises(NotFoundError, match=r"groups\.kept_seconds"):
        await announcements.get("t1")


async def test_one_that_is_open_outlives_its_deadline_by_a_day(
    announcements: Announcements, clock: ManualClock
) -> None:
    deadline_ms = (await create(announcements)).announcement.deadline_ms
    clock.advance(ms=deadline_ms + DAY_MS - 60_000 - clock())
    assert await announcements.find("t1") is not None


async def test_the_one_too_many_is_refused_by_the_name_of_the_setting(announcements: Announcements) -> None:
    for number in range(3):
        await create(announcements, f"t{number}")
    with pytest.raises(BackpressureError, match=r"3 announcements are open.*groups\.max_announcements"):
        await create(announcements, "t3")
    await announcements.change("t1", cancelled)
    await create(announcements, "t3")


async def test_many_announced_at_once_by_many_are_as_many_as_the_limit_and_the_rest_leaves_nothing(
    backend: Backend, open_again: OpenAgain
) -> None:
    processes = [Announcements((await open_again()).records, max_open=10) for _ in range(4)]

    async def announce_all(names: Sequence[str]) -> Sequence[str]:
        told = await asyncio.gather(
            *(create(processes[at % 4], name) for at, name in enumerate(names)), return_exceptions=True
        )
        refused = [str(each) for each in told if isinstance(each, BackpressureError)]
        kept = [each.announcement.id for each in told if isinstance(each, Kept)]
        assert all(re.search(r"^10 announcements are open.*groups\.max_announcements", each) for each in refused)
        assert len(kept) + len(refused) == len(names)
        return kept

    names = [f"t{number:02}" for number in range(60)]
    kept = await announce_all(names)
    assert len(kept) == 10
    assert [record.key for record in await backend.records.list("")] == [*map(key_of, kept), *map(marker_of, kept)]
    for name in kept[:4]:
        await processes[0].change(name, cancelled)
    more = await announce_all([name for name in names if name not in kept])
    assert len(more) == 4
    assert [marker.id for marker in await processes[0].open_markers()] == sorted([*kept[4:], *more])


async def test_when_all_room_is_taken_an_id_in_use_is_still_told_as_such(announcements: Announcements) -> None:
    for number in range(3):
        await create(announcements, f"t{number}")
    await announcements.change("t0", cancelled)
    await create(announcements, "t3")
    for name in ("t0", "t1"):
        with pytest.raises(AlreadyExistsError, match=name):
            await create(announcements, name)
    assert [marker.id for marker in await announcements.open_markers()] == ["t1", "t2", "t3"]


async def test_who_died_before_the_announcement_holds_a_place_that_the_same_id_takes(
    announcements: Announcements, backend: Backend
) -> None:
    for number in range(2):
        await create(announcements, f"t{number}")
    left = await backend.records.create(marker_of("t2"), b"h9")
    with pytest.raises(BackpressureError):
        await create(announcements, "t3")
    await create(announcements, "t2")
    marker = await backend.records.get(marker_of("t2"))
    assert marker is not None
    assert marker.born == left


async def test_a_store_that_takes_the_marker_and_then_no_more_keeps_nothing(
    announcements: Announcements, backend: Backend
) -> None:
    async def full() -> None:
        raise BackpressureError("the store's memory is full")

    slow: Any = Interposed(backend.records, full)
    with pytest.raises(BackpressureError, match="memory is full"):
        await create(Announcements(slow))
    assert list(await backend.records.list("")) == []
    await create(announcements)


async def test_an_id_in_use_is_refused_and_its_marker_stays(announcements: Announcements) -> None:
    await create(announcements, by="h1")
    with pytest.raises(AlreadyExistsError, match="t1"):
        await create(announcements, by="h2")
    assert [marker.by for marker in await announcements.open_markers()] == ["h1"]


async def test_the_id_of_one_that_is_over_is_refused_and_leaves_no_marker(announcements: Announcements) -> None:
    await create(announcements)
    await announcements.change("t1", cancelled)
    with pytest.raises(AlreadyExistsError):
        await create(announcements)
    assert list(await announcements.open_markers()) == []


async def test_what_cannot_be_announced_leaves_nothing(announcements: Announcements) -> None:
    with pytest.raises(InvalidArgumentError, match="needs 0 skills"):
        await announcements.create(
            "t1", lambda now_ms: announce(Announcement(id="t1", initiator="boss"), now_ms=now_ms, rules=RULES)
        )
    assert await announcements.find("t1") is None
    assert list(await announcements.open_markers()) == []


class Interposed:
    """Records, with something that happens between the marker and the announcement."""

    def __init__(self, records: RecordStore, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._records = records
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    async def create(self, key: str, value: bytes, **more: Any) -> int:
        if key.startswith(PREFIX):
            await self._meanwhile()
        return await self._records.create(key, value, **more)


async def test_it_is_not_written_once_its_marker_was_taken_for_litter(
    announcements: Announcements, backend: Backend
) -> None:
    slow: Any = Interposed(backend.records, lambda: announcements.forget_marker("t1"))
    with pytest.raises(FencedError):
        await create(Announcements(slow))
    assert await announcements.find("t1") is None
    await create(announcements)


async def test_a_change_is_tried_anew_until_it_stands(announcements: Announcements, open_again: OpenAgain) -> None:
    others = Announcements((await open_again()).records)
    await create(announcements)

    def add(current: Announcement, now_ms: int) -> Step:
        del now_ms
        count = int(current.metadata.get("count", 0))
        return Step(announcement=replace(current, metadata={"count": count + 1}))

    await asyncio.gather(*(each.change("t1", add) for each in [announcements, others] * 10))
    assert (await others.get("t1")).announcement.metadata == {"count": 20}


async def test_a_change_begins_with_what_was_seen_and_reads_again_when_that_is_old(
    announcements: Announcements, backend: Backend
) -> None:
    old = await create(announcements)
    seen: list[str] = []

    def note(current: Announcement, now_ms: int) -> Step:
        del now_ms
        seen.append(current.description)
        return Step(announcement=replace(current, description=current.description + "!"))

    newer = (await announcements.change("t1", note, seen=old)).kept
    assert seen == [""]
    await announcements.change("t1", note, seen=old)
    assert seen == ["", "", "!"]
    assert (await announcements.get("t1")).announcement.description == "!!"
    with pytest.raises(RevisionMismatchError):
        await backend.records.update(key_of("t1"), b"", revision=newer.revision)


async def test_what_the_rule_refuses_by_an_old_reading_is_asked_again_by_a_new_one(
    announcements: Announcements,
) -> None:
    old = await create(announcements)
    await announcements.change("t1", lambda current, _: Step(announcement=replace(current, token=5)))

    def fenced(current: Announcement, now_ms: int) -> Step:
        del now_ms
        if current.token < 5:
            raise FencedError("t1", token=5, current=current.token)
        return Step(announcement=replace(current, description="done"))

    done = await announcements.change("t1", fenced, seen=old)
    assert done.announcement.description == "done"


async def test_what_the_rule_refuses_now_is_refused(announcements: Announcements) -> None:
    kept = await create(announcements)

    def refusing(current: Announcement, now_ms: int) -> Step:
        raise FencedError(current.id, token=now_ms, current=0)

    with pytest.raises(FencedError):
        await announcements.change("t1", refusing, seen=kept)


async def test_nothing_is_written_when_nothing_changes(announcements: Announcements) -> None:
    kept = await create(announcements)
    done = await announcements.change("t1", lambda current, _: Step(announcement=current), seen=kept)
    assert done.kept is kept
    assert not done.is_news
    assert (await announcements.get("t1")).revision == kept.revision


async def test_a_marker_passes_to_one_hub_only(announcements: Announcements) -> None:
    await create(announcements, by="h1")
    (marker,) = await announcements.open_markers()
    assert await announcements.mark(marker, by="h2")
    assert not await announcements.mark(marker, by="h3")
    assert [each.by for each in await announcements.open_markers()] == ["h2"]


async def test_a_marker_removed_by_mistake_is_made_again(announcements: Announcements) -> None:
    await create(announcements)
    await announcements.forget_marker("t1")
    assert [marker.id for marker in await announcements.open_markers()] == ["t1"]


async def test_every_marker_is_listed_however_many(backend: Backend) -> None:
    announcements = Announcements(backend.records)
    await asyncio.gather(*(create(announcements, f"t{number}") for number in range(260)))
    assert len(await announcements.open_markers()) == 260


async def test_announcements_are_listed_by_state_and_page(announcements: Announcements, backend: Backend) -> None:
    for number in range(3):
        await create(announcements, f"t{number}")
    await announcements.change("t1", cancelled)
    await backend.records.put(key_of("t1x"), b"nonsense")
    assert [each.id for each in await announcements.list()] == ["t0", "t1", "t2"]
    assert [each.id for each in await announcements.list(limit=1, after="t0")] == ["t1"]
    over = await announcements.list(state=AnnouncementState.CANCELLED)
    assert [each.id for each in over] == ["t1"]


async def test_hubs_live_as_long_as_they_say(announcements: Announcements, clock: ManualClock) -> None:
    await announcements.hub_lives("h1", lease_ms=1_000)
    await announcements.hub_lives("h2", lease_ms=5_000)
    clock.advance(ms=1_001)
    assert await announcements.living_hubs() == {"h2"}
    await announcements.hub_resigns("h2")
    assert await announcements.living_hubs() == set()


def test_between_reads_the_stores_time_goes_on_by_the_own_clock() -> None:
    own_s = 50.0
    clock = StoreClock(lambda: own_s)
    assert (clock.is_stale, clock.now_ms()) == (True, 0)
    clock.note(1_000_000)
    own_s += 1.5
    assert (clock.is_stale, clock.now_ms()) == (False, 1_001_500)
    own_s += 60
    assert (clock.is_stale, clock.now_ms()) == (True, 1_061_500)
