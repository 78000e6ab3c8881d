"""`RecordStore` on Redis: a string per record, and one index in key order."""

from collections.abc import Sequence
from typing import Any

from meshd.backends.redis.keys import COMMON
from meshd.backends.redis.link import Link
from meshd.backends.redis.record_codec import decode
from meshd.errors import AlreadyExistsError, FencedError, NoRoomError, NotFoundError, RevisionMismatchError
from meshd.records import Guard, Record, Room, check_record

MAX_KEYS_PER_STEP = 256
MAX_REPLY_BYTES = 4 * 1024 * 1024


class RedisRecordStore:
    """The records of one mesh."""

    def __init__(self, connection: Link) -> None:
        self._store = connection

    async def get(self, key: str) -> Record | None:
        reply = await self._run("record_read", key)
        return None if reply[0] == b"missing" else decode(key, reply[2], read_ms=int(reply[1]))

    async def put(self, key: str, value: bytes, *, ttl_ms: int | None = None, guard: Guard | None = None) -> int:
        check_record(key, value)
        reply = await self._run("record_write", key, value, _life(ttl_ms), "put", "", guard=guard, is_write=True)
        return int(reply[1])

    async def create(
        self,
        key: str,
        value: bytes,
        *,
        ttl_ms: int | None = None,
        guard: Guard | None = None,
        room: Room | None = None,
    ) -> int:
        check_record(key, value)
        args = (key, value, _life(ttl_ms), "create", "")
        while True:
            reply = await self._run("record_write", *args, guard=guard, room=room, is_write=True, retry=False)
            if reply[0] == b"exists":
                raise AlreadyExistsError(f"record {key!r} exists already")
            if room is not None and reply[0] == b"full":
                raise NoRoomError(room.prefix, most=room.most)
            if reply[0] != b"again":
                return int(reply[1])

    async def update(
        self, key: str, value: bytes, *, revision: int, ttl_ms: int | None = None, guard: Guard | None = None
    ) -> int:
        check_record(key, value)
        args = (key, value, _life(ttl_ms), "update", revision)
        reply = await self._run("record_write", *args, guard=guard, is_write=True, retry=False)
        if reply[0] == b"missing":
            raise NotFoundError(f"record {key!r} does not exist")
        if reply[0] == b"mismatch":
            raise RevisionMismatchError(key, expected=revision, current=int(reply[1]))
        return int(reply[1])

    async def delete(self, key: str, *, revision: int | None = None, guard: Guard | None = None) -> bool:
        expected = "" if revision is None else revision
        reply = await self._run("record_delete", key, expected, guard=guard, is_write=True, retry=False)
        if reply[0] == b"mismatch":
            raise RevisionMismatchError(key, expected=revision or 0, current=int(reply[1]))
        return bool(reply[0] == b"ok")

    async def list(self, prefix: str, *, limit: int = 100, after: str = "") -> Sequence[Record]:
        found: list[Record] = []
        begin, end = _range(prefix)
        if after >= prefix and after:
            begin = b"(" + after.encode()
        while len(found) < limit:
            step = min(limit - len(found), MAX_KEYS_PER_STEP)
            reply = await self._run("record_list", begin, end, step, MAX_REPLY_BYTES)
            last, read_ms, *records = reply
            found += [
                decode(key.decode(), kept, read_ms=int(read_ms))
                for key, kept in zip(records[::2], records[1::2], strict=True)
            ]
            if not last:
                break
            begin = b"(" + last
        return found

    async def count(self, prefix: str) -> int:
        return int(await self._run("record_count", *_range(prefix)))

    async def _run(
        self,
        name: str,
        *args: str | bytes | int,
        guard: Guard | None = None,
        room: Room | None = None,
        is_write: bool = False,
        retry: bool = True,
    ) -> Any:
        if is_write:
            args = (*args, "", "") if guard is None else (*args, guard.key, guard.born)
        if room is not None:
            args = (*args, *_range(room.prefix), room.most)
        reply = await self._store.run(name, key=self._store.keys.clock(COMMON), args=args, retry=retry)
        if guard is not None and reply[0] == b"fenced":
            raise FencedError(f"record {guard.key!r}", token=guard.born, current=int(reply[1]))
        return reply


def _range(prefix: str) -> tuple[bytes, bytes]:
    """Return both ends of the keys that start with `prefix`."""
    return (b"[" + prefix.encode(), b"(" + prefix.encode() + b"\xff") if prefix else (b"-", b"+")


def _life(ttl_ms: int | None) -> str | int:
    return "" if ttl_ms is None else ttl_ms
