"""What the consensus manager still has to do: one small record per proposal that is not announced yet.

Invariant: a proposal never stands without its entry until its decision is announced, since the entry is written first.
So a round looks at these few, not at every proposal of the last day.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from meshd.records import RecordStore

PREFIX = "agenda/"
_UNTOLD = b"untold"
_TOLD = b"told"
_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One proposal that is not announced yet."""

    proposal_id: str
    is_told: bool
    """Whether every elector was sent the proposal."""
    age_ms: int


class Agenda:
    """The entries of one mesh."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    async def add(self, proposal_id: str, *, ttl_ms: int) -> None:
        """Enter a proposal that is about to be made."""
        await self._records.put(PREFIX + proposal_id, _UNTOLD, ttl_ms=ttl_ms)

    async def told(self, proposal_id: str, *, ttl_ms: int) -> None:
        """Note that every elector was sent the proposal."""
        await self._records.put(PREFIX + proposal_id, _TOLD, ttl_ms=ttl_ms)

    async def done(self, proposal_id: str) -> None:
        """Strike a proposal that is announced. Harmless when it was struck."""
        await self._records.delete(PREFIX + proposal_id)

    async def page(self, *, after: str = "") -> Sequence[Entry]:
        """Return up to a hundred entries after the proposal of this id, by id."""
        found = await self._records.list(PREFIX, limit=_PAGE, after=PREFIX + after if after else "")
        return [
            Entry(
                proposal_id=record.key.removeprefix(PREFIX),
                is_told=record.value == _TOLD,
                age_ms=record.read_ms - record.born_ms,
            )
            for record in found
        ]
