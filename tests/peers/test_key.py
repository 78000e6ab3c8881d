"""The key of a mesh's links, on every store."""

import asyncio

import pytest

from meshd.backends import Backend
from meshd.errors import CorruptDataError
from meshd.peers.key import KEY_RECORD, key_of
from tests.conftest import OpenAgain


async def test_all_who_ask_for_the_key_get_the_same(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    keys = await asyncio.gather(*(key_of(each.records) for each in (backend, other) * 5))
    assert len(set(keys)) == 1
    assert len(keys[0]) == 32
    record = await backend.records.get(KEY_RECORD)
    assert record is not None
    assert record.value == keys[0]


async def test_a_record_that_is_no_key_is_reported(backend: Backend) -> None:
    await backend.records.put(KEY_RECORD, b"short")
    with pytest.raises(CorruptDataError, match="5 bytes, not 32"):
        await key_of(backend.records)
