"""Who is in a mesh: a record per agent, and the index of skills that finds holders without looking at anybody else.

Invariant: an agent's record has one regular writer, the node it lives on; another life of the agent ends that.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from meshd.errors import (
    AlreadyExistsError,
    BackpressureError,
    NotFoundError,
    RevisionMismatchError,
)
from meshd.groups.enrolment import Enrolment, enrolled
from meshd.groups.enrolment_codec import PREFIX, decode_enrolment, encode_enrolment, key_of
from meshd.groups.model import Candidate
from meshd.groups.skill_index import INDEX_MS, MOST_ASKED, Holder, Rows, SkillIndex
from meshd.nodes.model import Level
from meshd.pauses import jittered
from meshd.records import Record, RecordStore

KEPT_MS = 30 * 86_400_000
"""How long what is known of an agent outlives its last write."""
TRIES = 200
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.001, 0.5
_PAGE = 100


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


class Registry:
    """All agents of one mesh."""

    def __init__(self, records: RecordStore, *, index_ms: int = INDEX_MS, rng: Random | None = None) -> None:
        """An agent is found by its skills for `index_ms` after its node showed them."""
        self._records = records
        self._index_ms = index_ms
        self._rng = rng or Random()
        self._index = SkillIndex(records)

    def rows(self, node: str) -> Rows:
        """Return what shows the skills of a node's agents, so that they are found."""
        self._index.forget()
        return Rows(self._records, node=node, ttl_ms=self._index_ms)

    async def enrol(self, declared: Candidate) -> tuple[KeptAgent, Candidate | None]:
        """Enter an agent, or declare it anew: what was recorded of it and the slots it holds stay.

        Returns it, and what it was before.

        Raises:
            FencedError: a later life of the agent is entered.
        """
        while True:
            before = await self.find(declared.agent)
            if before is not None:
                known = before.enrolment.candidate
                with suppress(NotFoundError):
                    return await self.change(
                        declared.agent, lambda found, _: enrolled(found, declared), seen=before
                    ), known
                continue
            enrolment = enrolled(None, declared)
            with suppress(AlreadyExistsError):
                await self._records.create(key_of(declared.agent), encode_enrolment(enrolment), ttl_ms=KEPT_MS)
                return await self._get(declared.agent), None

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
                await asyncio.sleep(jittered(self._rng, attempt, first_s=FIRST_PAUSE_S, longest_s=LONGEST_PAUSE_S))
        raise BackpressureError(f"agent {agent}: others changed its record {TRIES} times in a row; try again")

    async def holders(
        self, skill: str, *, level: Level = Level.NOVICE, salt: str = "", most: int = MOST_ASKED
    ) -> Sequence[Holder]:
        """Return up to `most` who declare the skill at the level or a higher one, each once.

        The salt tells with whom it begins. What is found of few holders may be half a second old.
        """
        return await self._index.holders(skill, level=level, salt=salt, most=most)

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


def _kept(record: Record) -> KeptAgent:
    return KeptAgent(enrolment=decode_enrolment(record), revision=record.revision, read_ms=record.read_ms)
