"""Small versioned documents: compare-and-set, time to live, prefixes, rising revisions."""

import asyncio

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import AlreadyExistsError, ConflictError, InvalidArgumentError, NotFoundError, RevisionMismatchError
from meshd.records import MAX_RECORD_BYTES, Record
from tests.conftest import OpenAgain
from tests.support.waiting import wait_until

EVERY_BYTE = bytes(range(256))


def newborn(*, key: str, value: bytes, revision: int, now_ms: int) -> Record:
    """A record as it is read in the millisecond it was created in."""
    return Record(key=key, value=value, revision=revision, born=revision, born_ms=now_ms, read_ms=now_ms)


async def gone(backend: Backend, clock: ManualClock, key: str, *, after_ms: int) -> None:
    """Let the record's time run out, for the mesh's clock and for the wall's."""
    clock.advance(ms=after_ms + 1)

    async def is_gone() -> bool:
        return await backend.records.get(key) is None

    await wait_until(is_gone)


async def test_what_is_put_is_read_back_by_another_process(
    backend: Backend, open_again: OpenAgain, clock: ManualClock
) -> None:
    other = await open_again()
    revision = await backend.records.put("votes/p1", EVERY_BYTE)
    record = await other.records.get("votes/p1")
    assert record == newborn(key="votes/p1", value=EVERY_BYTE, revision=revision, now_ms=clock())


async def test_a_record_never_written_is_none(backend: Backend) -> None:
    assert await backend.records.get("nothing") is None


async def test_put_writes_whatever_was_there(backend: Backend) -> None:
    await backend.records.put("k", b"1")
    revision = await backend.records.put("k", b"2")
    record = await backend.records.get("k")
    assert record is not None
    assert (record.value, record.revision) == (b"2", revision)


async def test_revisions_rise_over_all_records(backend: Backend) -> None:
    revisions = [
        await backend.records.put("a", b"1"),
        await backend.records.create("b", b"1"),
        await backend.records.put("a", b"2"),
        await backend.records.put("c", b"1"),
    ]
    revisions.append(await backend.records.update("b", b"2", revision=revisions[1]))
    await backend.records.delete("a")
    revisions.append(await backend.records.create("a", b"3"))
    assert revisions == sorted(set(revisions))


async def test_a_record_keeps_its_birth_until_it_is_gone(backend: Backend, clock: ManualClock) -> None:
    begun_ms = clock()
    born = await backend.records.create("k", b"1")
    clock.advance(seconds=1)
    revision = await backend.records.update("k", b"2", revision=born)
    clock.advance(seconds=1)
    assert await backend.records.put("k", b"3") > revision
    record = await backend.records.get("k")
    assert record is not None
    assert (record.born, record.born_ms, record.read_ms) == (born, begun_ms, begun_ms + 2_000)


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_a_key_written_anew_begins_another_life(backend: Backend, clock: ManualClock, is_deleted: bool) -> None:
    first = await backend.records.put("k", b"1", ttl_ms=40)
    if is_deleted:
        await backend.records.delete("k")
        clock.advance(ms=1)
    else:
        await gone(backend, clock, "k", after_ms=40)
    second = await backend.records.put("k", b"2")
    record = await backend.records.get("k")
    assert record is not None
    assert first < second == record.born
    assert record.born_ms == clock()


async def test_a_list_says_of_each_record_what_a_read_of_it_says(backend: Backend, clock: ManualClock) -> None:
    for key in ("k1", "k2", "k3"):
        await backend.records.put(key, key.encode())
        clock.advance(ms=10)
    await backend.records.put("k2", b"again", ttl_ms=60_000)
    second = await backend.records.get("k2")
    assert second is not None
    assert second.expires_ms == clock() + 60_000
    assert list(await backend.records.list("k")) == [await backend.records.get(key) for key in ("k1", "k2", "k3")]


async def test_a_count_is_of_the_keys_with_the_prefix(backend: Backend) -> None:
    for key in ("b/2", "a/1", "b/10", "b", "c", "b/ä"):
        await backend.records.put(key, b"1")
    await backend.records.delete("b/2")
    assert [await backend.records.count(prefix) for prefix in ("b/", "b", "", "d")] == [2, 3, 5, 0]


async def test_revisions_are_store_time_so_that_they_rise_over_lost_writes(
    backend: Backend, clock: ManualClock
) -> None:
    first = await backend.records.put("k", b"1")
    clock.advance(ms=5)
    assert first + 5_000 <= await backend.records.put("other", b"1")
    assert first >= (clock() - 5) * 1_000


async def test_create_refuses_a_taken_key_and_changes_nothing(backend: Backend, clock: ManualClock) -> None:
    revision = await backend.records.create("k", b"mine")
    with pytest.raises(AlreadyExistsError):
        await backend.records.create("k", b"theirs")
    assert await backend.records.get("k") == newborn(key="k", value=b"mine", revision=revision, now_ms=clock())


async def test_of_many_creators_one_wins(backend: Backend, open_again: OpenAgain) -> None:
    backends = [backend, *[await open_again() for _ in range(3)]]
    answers = await asyncio.gather(
        *(backends[n % 4].records.create("leader", str(n).encode()) for n in range(20)), return_exceptions=True
    )
    assert sum(isinstance(answer, int) for answer in answers) == 1
    assert sum(isinstance(answer, AlreadyExistsError) for answer in answers) == 19


async def test_update_needs_the_current_revision_and_names_it(backend: Backend) -> None:
    first = await backend.records.create("k", b"1")
    second = await backend.records.update("k", b"2", revision=first)
    with pytest.raises(RevisionMismatchError) as caught:
        await backend.records.update("k", b"3", revision=first)
    assert (caught.value.expected, caught.value.current) == (first, second)
    record = await backend.records.get("k")
    assert record is not None
    assert record.value == b"2"


async def test_update_of_a_missing_record_is_not_found(backend: Backend) -> None:
    with pytest.raises(NotFoundError):
        await backend.records.update("k", b"1", revision=1)


async def test_concurrent_compare_and_set_loses_no_increment(backend: Backend, open_again: OpenAgain) -> None:
    backends = [backend, await open_again()]
    await backend.records.create("counter", b"0")

    async def increment(store: Backend) -> None:
        while True:
            record = await store.records.get("counter")
            assert record is not None
            try:
                await store.records.update("counter", b"%d" % (int(record.value) + 1), revision=record.revision)
            except ConflictError:
                continue
            return

    await asyncio.gather(*(increment(backends[n % 2]) for n in range(16)))
    record = await backend.records.get("counter")
    assert record is not None
    assert record.value == b"16"


async def test_delete_says_whether_there_was_a_record(backend: Backend) -> None:
    await backend.records.put("k", b"1")
    assert await backend.records.delete("k") is True
    assert await backend.records.delete("k") is False
    assert await backend.records.get("k") is None


async def test_delete_with_an_old_revision_keeps_the_record(backend: Backend) -> None:
    old = await backend.records.put("k", b"1")
    new = await backend.records.put("k", b"2")
    with pytest.raises(RevisionMismatchError):
        await backend.records.delete("k", revision=old)
    assert await backend.records.delete("k", revision=new) is True


async def test_a_record_whose_time_ran_out_is_gone_and_its_key_is_free(backend: Backend, clock: ManualClock) -> None:
    await backend.records.put("k", b"1", ttl_ms=40)
    await gone(backend, clock, "k", after_ms=40)
    assert list(await backend.records.list("")) == []
    await backend.records.create("k", b"2")


async def test_an_expired_record_cannot_be_updated(backend: Backend, clock: ManualClock) -> None:
    revision = await backend.records.put("k", b"1", ttl_ms=40)
    await gone(backend, clock, "k", after_ms=40)
    with pytest.raises(NotFoundError):
        await backend.records.update("k", b"2", revision=revision)
    assert await backend.records.delete("k") is False


async def test_an_update_does_not_inherit_the_old_time_to_live(backend: Backend, clock: ManualClock) -> None:
    revision = await backend.records.put("kept", b"1", ttl_ms=40)
    await backend.records.put("short", b"1", ttl_ms=40)
    await backend.records.update("kept", b"2", revision=revision)
    await gone(backend, clock, "short", after_ms=40)
    assert await backend.records.get("kept") is not None


async def test_a_list_holds_a_prefix_in_key_order(backend: Backend) -> None:
    for key in ("b/2", "a/1", "b/10", "b", "c", "b/1"):
        await backend.records.put(key, key.encode())
    found = await backend.records.list("b/")
    assert [(record.key, record.value) for record in found] == [("b/1", b"b/1"), ("b/10", b"b/10"), ("b/2", b"b/2")]


async def test_the_empty_prefix_lists_everything(backend: Backend) -> None:
    for key in ("b", "a", "ä"):
        await backend.records.put(key, b"1")
    assert [record.key for record in await backend.records.list("")] == ["a", "b", "ä"]


async def test_a_prefix_is_taken_literally(backend: Backend) -> None:
    for key in ("a%b", "axb", "a_b", "a*b", "a[b", "a?b", "a\\b"):
        await backend.records.put(key, b"1")
    for prefix in ("a%", "a_", "a*", "a[", "a?", "a\\"):
        assert [record.key for record in await backend.records.list(prefix)] == [prefix + "b"]


async def test_a_list_is_read_in_pages(backend: Backend) -> None:
    keys = [f"k{number:03}" for number in range(25)]
    for key in reversed(keys):
        await backend.records.put(key, b"1")
    found: list[str] = []
    while page := await backend.records.list("k", limit=10, after=found[-1] if found else ""):
        assert len(page) <= 10
        found.extend(record.key for record in page)
    assert found == keys


async def test_the_largest_record_fits_and_one_byte_more_is_refused(backend: Backend) -> None:
    largest = (EVERY_BYTE * (MAX_RECORD_BYTES // 256 + 1))[:MAX_RECORD_BYTES]
    await backend.records.put("k", largest)
    record = await backend.records.get("k")
    assert record is not None
    assert record.value == largest
    with pytest.raises(InvalidArgumentError):
        await backend.records.put("k", largest + b"!")
    with pytest.raises(InvalidArgumentError):
        await backend.records.create("k2", largest + b"!")
    with pytest.raises(InvalidArgumentError):
        await backend.records.update("k", largest + b"!", revision=record.revision)


@pytest.mark.parametrize("key", ["", "x" * 257, "a\nb", "a\x00b"])
async def test_a_key_outside_the_limits_is_refused(backend: Backend, key: str) -> None:
    with pytest.raises(InvalidArgumentError):
        await backend.records.put(key, b"1")
    with pytest.raises(InvalidArgumentError):
        await backend.records.create(key, b"1")


@pytest.mark.parametrize("key", ["x" * 256, "a b/c:{d}", "größe/✓"])
async def test_any_other_key_is_accepted(backend: Backend, key: str) -> None:
    await backend.records.put(key, b"1")
    assert [record.key for record in await backend.records.list(key)] == [key]
