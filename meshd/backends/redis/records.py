"""`RecordStore` on Redis: a hash per record, and one index in key order."""

from collections.abc import Sequence
from typing import Any

from meshd.backends.redis.keys import COMMON
from meshd.backends.redis.link import Link
from meshd.errors import AlreadyExistsError, NotFoundError, RevisionMismatchError
from meshd.records import Record, check_record

MAX_KEYS_PER_STEP = 256
MAX_REPLY_BYTES = 4 * 1024 * 1024


class RedisRecordStore:
    """The records of one mesh."""

    def __init__(self, connection: Link) -> None:
        self._store = connection

    async def get(self, key: str) -> Record | None:
        reply = await self._run("record_read", key)
        if reply[0] == b"missing":
            return None
        return Record(key=key, revision=int(reply[1]), value=reply[2])

    async def put(self, key: str, value: bytes, *, ttl_ms: int | None = None) -> int:
        check_record(key, value)
        reply = await self._run("record_write", key, value, _life(ttl_ms), "put", "")
        return int(reply[1])

    async def create(self, key: str, value: bytes, *, ttl_ms: int | None = None) -> int:
        check_record(key, value)
        reply = await self._run("record_write", key, value, _life(ttl_ms), "create", "", retry=False)
        if reply[0] == b"exists":
            raise AlreadyExistsError(f"record {key!r} exists already")
        return int(reply[1])

    async def update(self, key: str, value: bytes, *, revision: int, ttl_ms: int | None = None) -> int:
        check_record(key, value)
        reply = await self._run("record_write", key, value, _life(ttl_ms), "update", revision, retry=False)
        if reply[0] == b"missing":
            raise NotFoundError(f"record {key!r} does not exist")
        if reply[0] == b"mismatch":
            raise RevisionMismatchError(key, expected=revision, current=int(reply[1]))
        return int(reply[1])

    async def delete(self, key: str, *, revision: int | None = None) -> bool:
        reply = await self._run("record_delete", key, "" if revision is None else revision, retry=False)
        if reply[0] == b"mismatch":
            raise RevisionMismatchError(key, expected=revision or 0, current=int(reply[1]))
        return bool(reply[0] == b"ok")

    async def list(self, prefix: str, *, limit: int = 100, after: str = "") -> Sequence[Record]:
        found: list[Record] = []
        end = b"(" + prefix.encode() + b"\xff" if prefix else b"+"
        begin = b"[" + prefix.encode() if after < prefix else b"(" + after.encode()
        if not after and not prefix:
            begin = b"-"
        while len(found) < limit:
            step = min(limit - len(found), MAX_KEYS_PER_STEP)
            reply = await self._run("record_list", begin, end, step, MAX_REPLY_BYTES)
            found += [
                Record(key=reply[at].decode(), revision=int(reply[at + 1]), value=reply[at + 2])
                for at in range(1, len(reply), 3)
            ]
            if not reply[0]:
                break
            begin = b"(" + reply[0]
        return found

    async def _run(self, name: str, *args: str | bytes | int, retry: bool = True) -> Any:
        return await self._store.run(name, key=self._store.keys.clock(COMMON), args=args, retry=retry)


def _life(ttl_ms: int | None) -> str | int:
    return "" if ttl_ms is None else ttl_ms
