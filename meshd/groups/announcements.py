"""The announcements of one mesh: one record each, changed by read, rule and compare-and-set until the change stands.

Invariant: while an announcement is open there is a marker `open/<id>`. It is made before the announcement, which is
written only while the marker lives, and it is removed after the announcement is over. So whoever lists the markers
finds all that is open, whatever dies in between; and since a marker is made only where there is room for it, no more
than the limit are open, however many are announced at the same moment (but see `forget_marker`).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from random import Random

from meshd.errors import (
    AlreadyExistsError,
    BackpressureError,
    CorruptDataError,
    FencedError,
    MeshError,
    NoRoomError,
    NotFoundError,
    RevisionMismatchError,
)
from meshd.groups.codec import decode, encode
from meshd.groups.model import Announcement, AnnouncementState
from meshd.groups.steps import Step
from meshd.pauses import jittered
from meshd.records import Guard, Record, RecordStore, Room

logger = logging.getLogger(__name__)

PREFIX = "announcement/"
OPEN_PREFIX = "open/"
HUB_PREFIX = "hub/"
DAY_MS = 86_400_000
MARKER_MS = 31 * DAY_MS
TRIES = 100
"""Most times one change is tried anew because others changed the announcement in between."""
FIRST_PAUSE_S = 0.001
LONGEST_PAUSE_S = 0.1
MAX_HUBS = 10_000
_PAGE = 250

Rule = Callable[[Announcement, int], Step]
"""Takes the announcement and the store's time; a step with the same object changes nothing."""


def key_of(announcement_id: str) -> str:
    """Return the key of the record that is the announcement."""
    return PREFIX + announcement_id


def marker_of(announcement_id: str) -> str:
    """Return the key of the record that is there while the announcement is open."""
    return OPEN_PREFIX + announcement_id


class StoreClock:
    """The store's time between two reads of it: the last read, and what has passed since by this process's clock."""

    STALE_S = 30.0
    """So long a read is gone on with."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._noted_ms = 0
        self._noted_s = float("-inf")

    @property
    def is_stale(self) -> bool:
        """Whether the store's time is to be read anew."""
        return self._monotonic() - self._noted_s > self.STALE_S

    def note(self, read_ms: int) -> None:
        """Take the time of a read that has just come back."""
        self._noted_ms, self._noted_s = read_ms, self._monotonic()

    def now_ms(self) -> int:
        """Return the store's time, behind by no more than the last read took to come back; 0 before any read."""
        return self._noted_ms and self._noted_ms + int((self._monotonic() - self._noted_s) * 1_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An announcement as its record has it in one revision."""

    announcement: Announcement
    revision: int
    read_ms: int
    """Store time at which it was so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Step):
    """A step that stands."""

    kept: Kept
    """The announcement after it."""
    before: AnnouncementState
    """Its state before."""

    @property
    def is_news(self) -> bool:
        """Whether the announcement has another state now, so that who watches is to be told (`Post.changed`)."""
        return self.before is not self.announcement.state


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """There is something open."""

    id: str
    by: str
    """The hub that leads it; empty: nobody."""
    revision: int
    born_ms: int
    read_ms: int

    @property
    def age_ms(self) -> int:
        return self.read_ms - self.born_ms


class Announcements:
    """All announcements of one mesh, open or over."""

    def __init__(
        self, records: RecordStore, *, kept_ms: int = 3_600_000, max_open: int = 1_000, rng: Random | None = None
    ) -> None:
        """Keep what is over for `kept_ms`; refuse more than `max_open` at once."""
        self._records = records
        self._kept_ms = kept_ms
        self._room = Room(prefix=OPEN_PREFIX, most=max_open)
        self._rng = rng or Random()
        self.clock = StoreClock()

    async def create(
        self,
        announcement_id: str,
        make: Callable[[int], Announcement],
        *,
        by: str = "",
        marked: Callable[[], Awaitable[None]] | None = None,
    ) -> Kept:
        """Keep a new announcement, `make(store time)`, and return it. What `make` raises passes, and nothing is kept.

        `marked` is awaited once the marker stands, before there is an announcement.

        Raises:
            AlreadyExistsError: there is one of this id.
            BackpressureError: too many are open, or the store is full; nothing is kept.
            FencedError: this process stood still for seconds meanwhile; try again.
        """
        marker = marker_of(announcement_id)
        try:
            born = await self._mark(marker, by, room=self._room)
        except NoRoomError as exc:
            raise await self._refusal(announcement_id) from exc
        if marked is not None:
            await marked()
        if self.clock.is_stale:
            await self._read_clock(marker)
        try:
            made = make(self.clock.now_ms())
            value = encode(made)
        except Exception:
            await self._tidy(announcement_id)
            raise
        guard = Guard(key=marker, born=born)
        try:
            revision = await self._records.create(key_of(made.id), value, ttl_ms=self._life_ms(made), guard=guard)
        except AlreadyExistsError:
            await self._tidy(announcement_id)
            raise _taken(announcement_id) from None
        except BackpressureError:
            await self._tidy(announcement_id)
            raise
        return Kept(announcement=made, revision=revision, read_ms=self.clock.now_ms())

    async def find(self, announcement_id: str) -> Kept | None:
        """Return the announcement as it stands, `None` when none of this id is kept (any more).

        Raises:
            CorruptDataError: its record cannot be read.
        """
        record = await self._records.get(key_of(announcement_id))
        return None if record is None else self._kept(record)

    async def get(self, announcement_id: str) -> Kept:
        """Return the announcement as it stands.

        Raises:
            NotFoundError: none of this id is kept.
        """
        kept = await self.find(announcement_id)
        if kept is None:
            raise NotFoundError(
                f"announcement {announcement_id!r} is not kept: it never was, or ended longer ago than the setting "
                "groups.kept_seconds"
            )
        return kept

    def now_ms(self) -> int:
        """Return the store's time as of the last read, and what has passed since; 0 before any read."""
        return self.clock.now_ms()

    async def change(self, announcement_id: str, rule: Rule, *, seen: Kept | None = None) -> Done:
        """Return the step once its announcement stands; nothing is written when the rule returns the same object.

        With `seen` the rule is first tried on that, without a read; if it was changed meanwhile, it is read again. What
        the rule raises passes. When the announcement is over, its marker is removed. The caller carries the step.

        Raises:
            NotFoundError: none of this id is kept.
            BackpressureError: others changed it all the time.
        """
        for attempt in range(TRIES):
            kept = seen or await self.get(announcement_id)
            is_remembered, seen = seen is not None, None
            try:
                step = rule(kept.announcement, max(self.now_ms(), kept.read_ms))
            except Exception:
                if is_remembered:
                    continue
                raise
            if step.announcement is kept.announcement:
                return _done(step, kept, kept)
            written = await self._written(kept, step.announcement)
            if written is not None:
                return _done(step, kept, written)
            if not is_remembered:
                await asyncio.sleep(jittered(self._rng, attempt, first_s=FIRST_PAUSE_S, longest_s=LONGEST_PAUSE_S))
        raise BackpressureError(f"announcement {announcement_id}: others changed it {TRIES} times in a row; try again")

    async def open_markers(self) -> Sequence[Marker]:
        """Return what is open: all of it."""
        found: list[Marker] = []
        after = ""
        while True:
            page = await self._records.list(OPEN_PREFIX, limit=_PAGE, after=after)
            for record in page:
                name = record.key.removeprefix(OPEN_PREFIX)
                found.append(
                    Marker(
                        id=name,
                        by=record.value.decode(errors="replace"),
                        revision=record.revision,
                        born_ms=record.born_ms,
                        read_ms=record.read_ms,
                    )
                )
            if page:
                self.clock.note(page[-1].read_ms)
                after = page[-1].key
            if len(page) < _PAGE:
                return found

    async def mark(self, marker: Marker, *, by: str) -> bool:
        """Name the hub that leads it from now on; return whether nobody else did meanwhile."""
        try:
            await self._records.update(marker_of(marker.id), by.encode(), revision=marker.revision, ttl_ms=MARKER_MS)
        except (NotFoundError, RevisionMismatchError):
            return False
        return True

    async def forget_marker(self, announcement_id: str) -> None:
        """Remove a marker whose announcement is over, or was never written; one that turns out open is marked again.

        That is refused for no want of room: what is open has a marker, were it one more than the limit.
        """
        await self._records.delete(marker_of(announcement_id))
        kept = await self.find(announcement_id)
        if kept is not None and not kept.announcement.state.is_over:
            await self._mark(marker_of(announcement_id), "")

    async def hub_lives(self, hub: str, *, lease_ms: int) -> None:
        """Note that a hub leads what markers say it leads, for so long."""
        await self._records.put(HUB_PREFIX + hub, b"", ttl_ms=lease_ms)

    async def hub_resigns(self, hub: str) -> None:
        """Note that a hub leads nothing any more."""
        await self._records.delete(HUB_PREFIX + hub)

    async def living_hubs(self) -> Collection[str]:
        """Return the hubs that have lately said that they live."""
        records = await self._records.list(HUB_PREFIX, limit=MAX_HUBS)
        return {record.key.removeprefix(HUB_PREFIX) for record in records}

    async def list(
        self, *, state: AnnouncementState | None = None, limit: int = 100, after: str = ""
    ) -> Sequence[Announcement]:
        """Return up to `limit` announcements after the one of this id, by id, without those that cannot be read."""
        found: list[Announcement] = []
        place = PREFIX + after if after else ""
        while len(found) < limit:
            page = await self._records.list(PREFIX, limit=_PAGE, after=place)
            for record in page:
                try:
                    announcement = self._kept(record).announcement
                except CorruptDataError as exc:
                    logger.warning("%s; it is left out", exc)
                    continue
                if state is None or announcement.state is state:
                    found.append(announcement)
            if len(page) < _PAGE:
                break
            place = page[-1].key
        return found[:limit]

    async def _mark(self, marker: str, by: str, *, room: Room | None = None) -> int:
        """Make the marker and return its life; one left over from who died before the announcement is used again."""
        try:
            return await self._records.create(marker, by.encode(), ttl_ms=MARKER_MS, room=room)
        except AlreadyExistsError:
            record = await self._records.get(marker)
            return await self._mark(marker, by, room=room) if record is None else record.born

    async def _refusal(self, announcement_id: str) -> MeshError:
        """Return why no marker could be made: the id is that of one that is over, or too many are open."""
        if await self._records.get(key_of(announcement_id)) is not None:
            return _taken(announcement_id)
        return BackpressureError(
            f"{self._room.most} announcements are open, as many as the setting groups.max_announcements allows: "
            "wait until some have ended, or raise it"
        )

    async def _read_clock(self, marker: str) -> None:
        record = await self._records.get(marker)
        if record is None:
            raise FencedError(f"record {marker!r}", token=0, current=0)
        self.clock.note(record.read_ms)

    async def _tidy(self, announcement_id: str) -> None:
        """Remove a marker made in vain: there is no open announcement of this id."""
        kept = await self.find(announcement_id)
        if kept is None or kept.announcement.state.is_over:
            await self._records.delete(marker_of(announcement_id))

    async def _written(self, kept: Kept, wanted: Announcement) -> Kept | None:
        """Return what stands now, `None` when somebody else was quicker."""
        try:
            revision = await self._records.update(
                key_of(wanted.id), encode(wanted), revision=kept.revision, ttl_ms=self._life_ms(wanted)
            )
        except RevisionMismatchError:
            return None
        if wanted.state.is_over:
            await self._records.delete(marker_of(wanted.id))
        return Kept(announcement=wanted, revision=revision, read_ms=self.clock.now_ms())

    def _life_ms(self, announcement: Announcement) -> int:
        if announcement.state.is_over:
            return self._kept_ms
        if announcement.state is AnnouncementState.WAITING:
            return MARKER_MS
        return max(0, announcement.deadline_ms - self.clock.now_ms()) + DAY_MS

    def _kept(self, record: Record) -> Kept:
        self.clock.note(record.read_ms)
        return Kept(announcement=decode(record), revision=record.revision, read_ms=record.read_ms)


def _taken(announcement_id: str) -> AlreadyExistsError:
    return AlreadyExistsError(f"announcement {announcement_id!r} exists already: use another id")


def _done(step: Step, before: Kept, after: Kept) -> Done:
    return Done(
        announcement=after.announcement,
        slots=step.slots,
        messages=step.messages,
        kept=after,
        before=before.announcement.state,
    )
