"""Who can do what: a record per agent, and an index of skills that finds holders without looking at anybody else.

The index is a record per agent and skill, under the skill and its level, at a place that a hash of the agent's name
tells. Whoever looks begins at a place a salt tells and reads on as a ring: each holder is about as likely to be found,
and finding costs the same however many there are. An agent that is gone falls out of the index by itself.

Invariant: an agent's record has one regular writer, the node it lives on; another life of the agent ends that.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

import msgspec

from meshd.errors import (
    AlreadyExistsError,
    BackpressureError,
    CorruptDataError,
    NotFoundError,
    RevisionMismatchError,
)
from meshd.groups.enrolment import Enrolment, enrolled
from meshd.groups.enrolment_codec import PREFIX, decode_enrolment, encode_enrolment, key_of
from meshd.groups.model import Candidate
from meshd.nodes.model import Level
from meshd.records import Record, RecordStore

MOST_ASKED = 64
"""Holders of each skill one announcement asks."""
KEPT_MS = 30 * 86_400_000
"""How long what is known of an agent outlives its last write."""
INDEX_MS = 900_000
FRESH_S = 0.5
"""How long one process goes on with the holders it found, where there are few enough to read them all."""
FEW = 256
LARGE_S = 30.0
"""How long a skill that more than `FEW` hold is taken for one of many."""
MAX_CACHED = 256
TRIES = 200
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.001, 0.5
_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """An agent that declares a skill, as the index shows it."""

    agent: str
    level: Level
    node: str
    incarnation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAgent:
    """An agent's record as somebody has it."""

    enrolment: Enrolment
    revision: int
    read_ms: int
    """Store time of the read, …"""
    read_s: float = field(default_factory=lambda: time.monotonic())  # noqa: PLW0108 -- for tests on virtual time
    """… and the reader's own then."""

    @property
    def now_ms(self) -> int:
        """Store time now, as far as the reader can tell."""
        return self.read_ms + round((time.monotonic() - self.read_s) * 1000)


Rule = Callable[[Enrolment, int], Enrolment]
"""Takes the agent and the store's time; returns the same object when there is nothing to change."""


class _Row(msgspec.Struct, array_like=True):
    node: str
    incarnation: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Row).decode


class Registry:
    """All agents of one mesh."""

    def __init__(self, records: RecordStore, *, index_ms: int = INDEX_MS, rng: Random | None = None) -> None:
        """An agent is found by its skills for `index_ms` after it was enrolled or renewed."""
        self._records = records
        self._index_ms = index_ms
        self._rng = rng or Random()
        self._few: dict[str, tuple[float, Sequence[Holder] | None]] = {}

    async def enrol(self, declared: Candidate) -> KeptAgent:
        """Enter an agent, or declare it anew: what was recorded of it and the slots it holds stay. Found at once.

        Raises:
            FencedError: a later life of the agent is entered.
        """
        before = await self.find(declared.agent)
        kept = await self._entered(declared)
        gone = [] if before is None else _places(before.enrolment.candidate)
        fresh = {key for key, _ in _places(declared)}
        await asyncio.gather(*(self._records.delete(key) for key, _ in gone if key not in fresh))
        await self.renew(declared)
        return kept

    async def renew(self, declared: Candidate) -> None:
        """Be found by these skills for longer."""
        self._few.clear()
        row = _encode(_Row(declared.node, declared.incarnation))
        await asyncio.gather(
            *(self._records.put(key, row, ttl_ms=self._index_ms) for key, _ in _places(declared)),
        )

    async def withdraw(self, declared: Candidate) -> None:
        """Be found no more, in this life; what is known of the agent stays."""
        self._few.clear()
        for key, _ in _places(declared):
            record = await self._records.get(key)
            if record is not None and _decode(record.value).incarnation <= declared.incarnation:
                await self._delete(record)

    async def find(self, agent: str) -> KeptAgent | None:
        """Return what is known of an agent; `None` if nothing is.

        Raises:
            CorruptDataError: its record cannot be read.
        """
        record = await self._records.get(key_of(agent))
        return None if record is None else _kept(record)

    async def change(self, agent: str, rule: Rule, *, seen: KeptAgent | None = None) -> KeptAgent:
        """Return the agent once its record stands as `rule` says; nothing is written when the rule changes nothing.

        The rule sees `seen` first, if given, and the record only when that is no longer what stands.

        Raises:
            NotFoundError: the agent was never enrolled, or long ago.
            BackpressureError: others changed it all the time.
        """
        for attempt in range(TRIES):
            kept, seen = seen or await self._get(agent), None
            wanted = rule(kept.enrolment, kept.now_ms)
            if wanted is kept.enrolment:
                return kept
            try:
                return await self._updated(kept, wanted)
            except RevisionMismatchError:
                await asyncio.sleep(self._rng.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)))
        raise BackpressureError(f"agent {agent}: others changed its record {TRIES} times in a row; try again")

    async def holders(
        self, skill: str, *, level: Level = Level.NOVICE, salt: str = "", most: int = MOST_ASKED
    ) -> Sequence[Holder]:
        """Return up to `most` who declare the skill at the level or a higher one, each once.

        The salt tells with whom it begins. What is found of few holders may be half a second old.
        """
        every, begin = await self._all_of(skill), _place(salt)
        if every is None:
            levels = [each for each in Level if each >= level]
            pages = await asyncio.gather(*(self._ring(skill, each, begin=begin, most=most) for each in levels))
            every = [holder for page in pages for holder in page]
        return _around([holder for holder in every if holder.level >= level], begin)[:most]

    async def candidates(
        self, *, skill: str | None = None, level: Level = Level.NOVICE, limit: int = _PAGE, after: str = ""
    ) -> Sequence[Candidate]:
        """Return up to `limit` agents by name after one of them, or up to `limit` holders of a skill."""
        if skill is not None:
            holders = await self.holders(skill, level=level, most=limit)
            found = await asyncio.gather(*(self._records.get(key_of(holder.agent)) for holder in holders))
            records = [record for record in found if record is not None]
        else:
            records = list(await self._records.list(PREFIX, limit=limit, after=PREFIX + after if after else ""))
        return [_kept(record).enrolment.candidate for record in records]

    async def _entered(self, declared: Candidate) -> KeptAgent:
        while True:
            try:
                return await self.change(declared.agent, lambda before, _: enrolled(before, declared))
            except NotFoundError:
                enrolment = enrolled(None, declared)
            try:
                await self._records.create(key_of(declared.agent), encode_enrolment(enrolment), ttl_ms=KEPT_MS)
            except AlreadyExistsError:
                continue
            return await self._get(declared.agent)

    async def _get(self, agent: str) -> KeptAgent:
        kept = await self.find(agent)
        if kept is None:
            raise NotFoundError(f"agent {agent!r} is not known here: enrol it first")
        return kept

    async def _updated(self, kept: KeptAgent, wanted: Enrolment) -> KeptAgent:
        agent = wanted.candidate.agent
        revision = await self._records.update(
            key_of(agent), encode_enrolment(wanted), revision=kept.revision, ttl_ms=KEPT_MS
        )
        return KeptAgent(enrolment=wanted, revision=revision, read_ms=kept.read_ms, read_s=kept.read_s)

    async def _all_of(self, skill: str) -> Sequence[Holder] | None:
        """Return every holder of a skill that few have, as they were a moment ago; `None` if there are many."""
        until_s, holders = self._few.get(skill, (0.0, None))
        if time.monotonic() < until_s:
            return holders
        pages = await asyncio.gather(*(self._ring(skill, level, begin="", most=FEW) for level in Level))
        every = [holder for page in pages for holder in page]
        holders = every if len(every) < FEW else None
        if len(self._few) >= MAX_CACHED:
            self._few.clear()
        self._few[skill] = (time.monotonic() + (LARGE_S if holders is None else FRESH_S), holders)
        return holders

    async def _ring(self, skill: str, level: Level, *, begin: str, most: int) -> list[Holder]:
        """Return up to `most` holders of one level, from a place on and around."""
        prefix = _prefix(skill, level)
        records = list(await self._records.list(prefix, limit=most, after=prefix + begin))
        if begin and len(records) < most:
            rest = await self._records.list(prefix, limit=most - len(records))
            records += [record for record in rest if record.key <= prefix + begin]
        return [_holder(record, prefix=prefix, level=level) for record in records]

    async def _delete(self, record: Record) -> None:
        try:
            await self._records.delete(record.key, revision=record.revision)
        except RevisionMismatchError:
            return


def _kept(record: Record) -> KeptAgent:
    return KeptAgent(enrolment=decode_enrolment(record), revision=record.revision, read_ms=record.read_ms)


def _prefix(skill: str, level: Level) -> str:
    return f"skill/{skill}/{int(level)}/"


def _places(declared: Candidate) -> list[tuple[str, str]]:
    """Return the key of each skill's record, and the skill."""
    place = _place(declared.agent)
    return [
        (f"{_prefix(skill.name, skill.level)}{place}:{declared.agent}", skill.name)
        for skill in declared.skills.values()
    ]


def _place(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=4).hexdigest()


def _holder(record: Record, *, prefix: str, level: Level) -> Holder:
    try:
        row = _decode(record.value)
    except msgspec.DecodeError as exc:
        raise CorruptDataError(f"record {record.key!r} is no place in the index of skills: {exc}") from exc
    agent = record.key.removeprefix(prefix).partition(":")[2]
    return Holder(agent=agent, level=level, node=row.node, incarnation=row.incarnation)


def _around(holders: Iterable[Holder], begin: str) -> list[Holder]:
    """Return them around the ring, from a place on; an agent that is found twice, at its highest level."""
    best: dict[str, tuple[str, Holder]] = {}
    for holder in holders:
        if holder.agent not in best or best[holder.agent][1].level < holder.level:
            best[holder.agent] = (_place(holder.agent), holder)
    ring = sorted(best.values(), key=lambda each: (each[0] < begin, each[0], each[1].agent))
    return [holder for _, holder in ring]
