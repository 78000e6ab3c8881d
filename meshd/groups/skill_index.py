"""The index of skills: a row per node, skill and level, with the names of the agents there; it finds holders alone.

A row stands under the skill and the level at a place that a hash of the node's name tells; a node with more agents of
one level than `MOST_IN_ROW` has several rows, each at a place of its own. Whoever looks begins at the place of a salt
and reads rows on, as a ring, until they name enough; of all these agents, which stand on a ring of their own by a hash
of their names, those from another place of the salt on are taken. So each holder is about as likely to be found, on a
full node as on one of its own, and finding costs the same however many there are.

Invariant: a node's rows are written by its latest life alone. A node that is gone falls out of the index by itself.
"""

import asyncio
import hashlib
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from meshd.codec import pack, unpack
from meshd.errors import AlreadyExistsError, CorruptDataError, FencedError, NotFoundError, RevisionMismatchError
from meshd.groups.model import Candidate
from meshd.nodes.model import Level
from meshd.records import Record, RecordStore

MOST_ASKED = 64
"""Holders of each skill one announcement asks."""
MOST_IN_ROW = 32
INDEX_MS = 900_000
FRESH_S = 0.5
"""How long one process goes on with the holders it found, where there are few enough to read them all."""
FEW = 256
LARGE_S = 30.0
"""How long a skill that more than `FEW` hold is taken for one of many."""
MAX_CACHED = 256
FIRST_ROWS = 16
"""Rows read at first; of a skill that many hold then `MOST_ASKED` at once, until they name enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """An agent that declares a skill, as the index shows it."""

    agent: str
    level: Level
    node: str
    incarnation: int


class _Row(msgspec.Struct, array_like=True):
    incarnation: int
    agents: list[str]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Row).decode

_Ring = Sequence[tuple[str, Holder]]
"""Agents by their places."""


class SkillIndex:
    """Who can do what, for those who look."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records
        self._few: dict[str, tuple[float, _Ring | None]] = {}

    def forget(self) -> None:
        """Look anew from now on."""
        self._few.clear()

    async def holders(self, skill: str, *, level: Level, salt: str, most: int) -> Sequence[Holder]:
        """Return up to `most` who declare the skill at the level or a higher one, each once, from the salt's place on.

        What is found of few holders may be half a second old.

        Raises:
            CorruptDataError: a row cannot be read.
        """
        ring = await self._all_of(skill)
        if ring is None:
            pages = await asyncio.gather(
                *(
                    self._around(skill, each, begin=place_of(f"rows {salt}"), most=most)
                    for each in Level
                    if each >= level
                )
            )
            ring = _ring(holder for page in pages for holder in page)
        first = bisect_left(ring, place_of(salt), key=lambda each: each[0])
        found: list[Holder] = []
        for place in range(first - len(ring), first):
            if len(found) == most:
                break
            holder = ring[place][1]
            if holder.level >= level:
                found.append(holder)
        return found

    async def _all_of(self, skill: str) -> _Ring | None:
        """Return every holder of a skill that few have, as they were a moment ago; `None` if there are many."""
        until_s, ring = self._few.get(skill, (0.0, None))
        if time.monotonic() < until_s:
            return ring
        holders, is_all = await self._first_of(skill, limit=FIRST_ROWS)
        if not is_all and len(holders) < FEW:
            holders, is_all = await self._first_of(skill, limit=FEW)
        is_all = is_all and len(holders) < FEW
        ring = _ring(holders) if is_all else None
        if len(self._few) >= MAX_CACHED:
            self._few.clear()
        self._few[skill] = (time.monotonic() + (FRESH_S if is_all else LARGE_S), ring)
        return ring

    async def _first_of(self, skill: str, *, limit: int) -> tuple[list[Holder], bool]:
        """Return the agents that so many rows of each level name, and whether these are all."""
        pages = await asyncio.gather(*(self._records.list(prefix_of(skill, level), limit=limit) for level in Level))
        holders = [holder for level, page in zip(Level, pages, strict=True) for holder in _read(page, skill, level)]
        return holders, all(len(page) < limit for page in pages)

    async def _around(self, skill: str, level: Level, *, begin: str, most: int) -> list[Holder]:
        """Return the agents of one level that rows name from a place on and around: `most`, or more, or all."""
        prefix = prefix_of(skill, level)
        holders: list[Holder] = []
        after, is_round, limit = prefix + begin, False, FIRST_ROWS
        while len(holders) < most:
            page = await self._records.list(prefix, limit=limit, after=after)
            holders += _read([row for row in page if not is_round or row.key <= prefix + begin], skill, level)
            if len(page) == limit:
                after = page[-1].key
            elif is_round:
                break
            else:
                after, is_round = "", True
            if is_round and after > prefix + begin:
                break
            limit = MOST_ASKED
        return holders


class Rows:
    """What one life of a node shows of its agents. Used by that node alone."""

    def __init__(self, records: RecordStore, *, node: str, ttl_ms: int) -> None:
        """What is not shown anew for `ttl_ms` is found no more."""
        self._records = records
        self._node = node
        self._ttl_ms = ttl_ms
        self._written: dict[str, int] = {}
        """Key of each row → its revision."""

    async def show(self, agents: Iterable[Candidate], *, incarnation: int) -> bool:
        """Have exactly these agents found by their skills, for longer; one write for each skill and level.

        Returns whether all that was shown before was still there.

        Raises:
            FencedError: a later life of the node shows its agents.
            UnavailableError: the store is away; some may be found already.
        """
        rows = {
            key: pack(_encode(_Row(incarnation, names)))
            for (skill, level), held in _by_skill(agents).items()
            for key, names in self._parted(skill, level, held)
        }
        known = self._written.keys() & rows.keys()
        kept = await asyncio.gather(*(self._write(key, row, incarnation=incarnation) for key, row in rows.items()))
        await asyncio.gather(*(self._remove(key) for key in self._written.keys() - rows.keys()))
        return all(kept) or not known

    async def end_earlier(self, skills: Iterable[tuple[str, Level]], *, incarnation: int) -> None:
        """Remove what others showed for the node in no later life, under these skills and levels."""
        for skill, level in skills:
            number = 0
            while (record := await self._records.get(key := self._key(skill, level, number))) is not None:
                if key not in self._written and _row(record).incarnation <= incarnation:
                    self._written[key] = record.revision
                    await self._remove(key)
                number += 1

    async def hide(self) -> None:
        """Have none of them found any more."""
        await asyncio.gather(*(self._remove(key) for key in list(self._written)))

    def _parted(self, skill: str, level: Level, names: Sequence[str]) -> list[tuple[str, list[str]]]:
        return [
            (self._key(skill, level, number), list(names[first : first + MOST_IN_ROW]))
            for number, first in enumerate(range(0, len(names), MOST_IN_ROW))
        ]

    def _key(self, skill: str, level: Level, number: int) -> str:
        part = f".{number}" if number else ""
        return f"{prefix_of(skill, level)}{place_of(self._node + part)}{part}:{self._node}"

    async def _write(self, key: str, row: bytes, *, incarnation: int) -> bool:
        """Write the row over what this or an earlier life wrote; return whether it was there as this one left it."""
        revision, is_kept = self._written.get(key), key in self._written
        while True:
            try:
                if revision is None:
                    self._written[key] = await self._records.create(key, row, ttl_ms=self._ttl_ms)
                else:
                    self._written[key] = await self._records.update(key, row, revision=revision, ttl_ms=self._ttl_ms)
            except (AlreadyExistsError, RevisionMismatchError):
                revision, is_kept = await self._revision(key, incarnation=incarnation), False
            except NotFoundError:
                revision, is_kept = None, False
            else:
                return is_kept

    async def _revision(self, key: str, *, incarnation: int) -> int | None:
        record = await self._records.get(key)
        if record is None:
            return None
        current = _row(record).incarnation
        if current > incarnation:
            self._written.pop(key, None)
            raise FencedError(f"life of node {self._node}", token=incarnation, current=current)
        return record.revision

    async def _remove(self, key: str) -> None:
        with suppress(RevisionMismatchError):
            await self._records.delete(key, revision=self._written[key])
        self._written.pop(key, None)


def prefix_of(skill: str, level: Level) -> str:
    """Return how the keys of all rows of a skill and level begin."""
    return f"skill/{skill}/{int(level)}/"


def place_of(name: str) -> str:
    """Return the place of a name on a ring."""
    return hashlib.blake2b(name.encode(), digest_size=4).hexdigest()


def _by_skill(agents: Iterable[Candidate]) -> Mapping[tuple[str, Level], list[str]]:
    found: dict[tuple[str, Level], list[str]] = {}
    for agent in sorted(agents, key=lambda each: each.agent):
        for skill in agent.skills.values():
            found.setdefault((skill.name, skill.level), []).append(agent.agent)
    return found


def _read(records: Iterable[Record], skill: str, level: Level) -> list[Holder]:
    skipped = len(prefix_of(skill, level))
    holders: list[Holder] = []
    for record in records:
        row, node = _row(record), record.key[skipped:].partition(":")[2]
        holders += [Holder(agent=agent, level=level, node=node, incarnation=row.incarnation) for agent in row.agents]
    return holders


def _row(record: Record) -> _Row:
    try:
        return _decode(unpack(record.value))
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise CorruptDataError(f"record {record.key!r} is no row of the index of skills: {exc}") from exc


def _ring(holders: Iterable[Holder]) -> _Ring:
    """Return them by their places; an agent that is found twice, in its latest life, and there at its highest level."""
    best: dict[str, Holder] = {}
    for holder in holders:
        known = best.get(holder.agent)
        if known is None or (known.incarnation, known.level) < (holder.incarnation, holder.level):
            best[holder.agent] = holder
    return sorted(((place_of(agent), holder) for agent, holder in best.items()), key=lambda each: each[0])
