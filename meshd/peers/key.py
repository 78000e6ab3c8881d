"""The key of a mesh's links: made once, by whoever needs it first; whoever may read the store is a member."""

import os

from meshd.errors import AlreadyExistsError, CorruptDataError
from meshd.peers.sealing import KEY_BYTES
from meshd.records import RecordStore

KEY_RECORD = "peers/key"


async def key_of(records: RecordStore) -> bytes:
    """Return the mesh's key, the same for all who ask.

    Raises:
        CorruptDataError: the record holds something else.
        UnavailableError: the store is away.
    """
    while True:
        record = await records.get(KEY_RECORD)
        if record is not None:
            break
        try:
            await records.create(KEY_RECORD, os.urandom(KEY_BYTES))
        except AlreadyExistsError:
            continue
    if len(record.value) != KEY_BYTES:
        raise CorruptDataError(f"record {KEY_RECORD!r} has {len(record.value)} bytes, not {KEY_BYTES}: delete it")
    return record.value
