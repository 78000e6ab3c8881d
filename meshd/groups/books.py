"""The records of the agents that live on one node, as that node keeps them: it writes them alone, so it need not read.

Invariant: changes to one agent are made one after another, each on what stands; a later life of the agent ends them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from meshd.errors import FencedError, NotFoundError
from meshd.groups.enrolment import Enrolment
from meshd.groups.model import Candidate
from meshd.groups.registry import KeptAgent, Registry, Rule


@dataclass(slots=True, kw_only=True)
class _Entry:
    declared: Candidate
    kept: KeptAgent
    is_sure: bool = True
    """Whether `kept` is what stands: not after a write whose answer was lost."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Books:
    """Everybody who lives here."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._entries: dict[str, _Entry] = {}

    @property
    def agents(self) -> Sequence[str]:
        return list(self._entries)

    async def enter(self, declared: Candidate) -> Enrolment:
        """Enter an agent, or declare it anew.

        Raises:
            FencedError: a later life of it is entered elsewhere.
        """
        kept = await self._registry.enrol(declared)
        entry = self._entries.get(declared.agent)
        if entry is None:
            self._entries[declared.agent] = _Entry(declared=declared, kept=kept)
        else:
            async with entry.turn:
                entry.declared, entry.kept = declared, kept
        return kept.enrolment

    async def renew(self, agent: str) -> None:
        """Read its record anew, and have it found by its skills for longer.

        Raises:
            FencedError: a later life of it is entered elsewhere.
        """
        entry = self._entries[agent]
        entry.is_sure = False
        await self.make_sure(agent)
        await self._registry.renew(entry.declared)

    async def withdraw(self, agent: str) -> None:
        """Have it found no more; what it holds is still kept here."""
        entry = self._entries.get(agent)
        if entry is not None:
            await self._registry.withdraw(entry.declared)

    def forget(self, agent: str) -> None:
        """It lives elsewhere in a later life."""
        self._entries.pop(agent, None)

    def find(self, agent: str) -> Enrolment | None:
        """Return the agent as it was written last; `None` if it does not live here."""
        entry = self._entries.get(agent)
        return None if entry is None else entry.kept.enrolment

    def now_ms(self, agent: str) -> int:
        """Return the store's time, as far as the agent's record tells."""
        return self._entries[agent].kept.now_ms

    async def change(self, agent: str, rule: Rule) -> Enrolment:
        """Return the agent once its record stands as `rule` says. One that the store has lost is entered anew.

        Raises:
            NotFoundError: it does not live here.
            FencedError: a later life of it is entered elsewhere.
        """
        entry = self._entries.get(agent)
        if entry is None:
            raise NotFoundError(f"agent {agent!r} does not live on this node")
        async with entry.turn:
            seen = entry.kept if entry.is_sure else None
            entry.is_sure = False
            try:
                entry.kept = await self._registry.change(
                    agent, lambda found, now_ms: rule(self._own(entry, found), now_ms), seen=seen
                )
            except NotFoundError:
                entry.kept = await self._registry.enrol(entry.declared)
                entry.kept = await self._registry.change(agent, rule, seen=entry.kept)
            entry.is_sure = True
            return entry.kept.enrolment

    async def make_sure(self, agent: str) -> None:
        """Read its record anew if the answer to a write of it was lost.

        Raises:
            FencedError: a later life of it is entered elsewhere.
        """
        if not self._entries[agent].is_sure:
            await self.change(agent, lambda found, _: found)

    def _own(self, entry: _Entry, found: Enrolment) -> Enrolment:
        mine, current = entry.declared.incarnation, found.candidate.incarnation
        if current != mine:
            raise FencedError(f"life of agent {entry.declared.agent}", token=mine, current=current)
        return found
