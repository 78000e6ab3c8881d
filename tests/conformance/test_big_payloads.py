"""A store never looks inside payload, context or result: any bytes come back as they were."""

import pytest

from meshd.backends import Backend
from tests.conftest import OpenAgain
from tests.support.builders import (
    a_claimer,
    a_task,
    claim_all,
    claim_one,
    completed,
    failed,
    get_one,
    hold_of,
    start_one,
    submit_one,
)

EVERY_BYTE = bytes(range(256))
MEBIBYTE = EVERY_BYTE * 4_096


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\r\n", b"\xff\xfe", EVERY_BYTE], ids=repr)
async def test_any_payload_is_handed_out_byte_for_byte(backend: Backend, payload: bytes) -> None:
    await submit_one(backend, a_task(payload=payload, context=payload))
    task = await claim_one(backend)
    assert (task.payload, task.context) == (payload, payload)


async def test_a_mebibyte_comes_through_submit_claim_and_get(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    new = a_task(payload=MEBIBYTE, context=MEBIBYTE[::-1])
    await submit_one(backend, new)
    claimed = await claim_one(other)
    stored = await get_one(other, new.id)
    for task in (claimed, stored):
        assert task.payload == MEBIBYTE
        assert task.context == MEBIBYTE[::-1]


async def test_a_result_of_a_mebibyte_is_read_by_another_process(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    await submit_one(backend, a_task())
    task = await start_one(backend)
    await backend.tasks.finish([completed(task, MEBIBYTE)])
    assert (await get_one(other, task.id)).result == MEBIBYTE


async def test_a_large_payload_is_unharmed_by_a_retry_elsewhere(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    await submit_one(backend, a_task(payload=MEBIBYTE, context=EVERY_BYTE))
    await backend.tasks.finish([failed(await start_one(backend, a_claimer("n1")), retry_in_ms=0)])
    again = await start_one(other, a_claimer("n2"))
    assert (again.payload, again.context) == (MEBIBYTE, EVERY_BYTE)
    await other.tasks.finish([completed(again)])
    assert (await get_one(backend, again.id)).payload == MEBIBYTE


async def test_a_batch_of_large_tasks_is_claimed_whole_over_time(backend: Backend) -> None:
    for _ in range(4):
        await backend.tasks.submit([a_task(payload=MEBIBYTE) for _ in range(2)])
    claimed: list[str] = []
    while batch := await claim_all(backend, limit=8):
        assert all(task.payload == MEBIBYTE for task in batch)
        claimed.extend(task.id for task in batch)
    assert len(set(claimed)) == 8


async def test_errors_and_notes_of_any_text_are_kept(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    text = 'zero \x00, quote \', "double", ünï✓😀\r\n\t\\end'
    await backend.tasks.progress(hold_of(task), fraction=None, note=text)
    assert (await get_one(backend, task.id)).note == text
    await backend.tasks.finish([failed(task, message=text, retry_in_ms=None)])
    assert (await get_one(backend, task.id)).errors[0].message == text
