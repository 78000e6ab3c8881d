"""The records of the agents that live on one node, as that node keeps them: it writes them alone, so it need not read.

What they can do the node shows for all of them together: one write for each skill and level.

Invariant: changes to one agent are made one after another, each on what stands; a later life of the agent ends them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from meshd.errors import FencedError, NotFoundError, UnavailableError
from meshd.groups.enrolment import Enrolment
from meshd.groups.model import Candidate
from meshd.groups.registry import KeptAgent, Registry, Rule
from meshd.nodes.model import Level


@dataclass(slots=True, kw_only=True)
class _Entry:
    declared: Candidate
    kept: KeptAgent
    is_sure: bool = True
    """Whether `kept` is what stands: not after a write whose answer was lost."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Books:
    """Everybody who lives here."""

    def __init__(self, registry: Registry, *, node: str) -> None:
        self._registry = registry
        self._entries: dict[str, _Entry] = {}
        self._rows = registry.rows(node)
        self._ended = set[tuple[str, Level]]()
        """Skills and levels that earlier lives of the agents here declared."""
        self._showing = asyncio.Lock()
        self._is_hidden = False
        self.is_shown = True
        """Whether who is entered is found, as far as this node knows."""

    @property
    def agents(self) -> Sequence[str]:
        return list(self._entries)

    async def enter(self, declared: Candidate) -> Enrolment:
        """Enter an agent, or declare it anew; it is found once it is shown.

        Raises:
            FencedError: a later life of it is entered elsewhere.
        """
        kept, before = await self._registry.enrol(declared)
        entry = self._entries.get(declared.agent)
        if entry is None:
            self._entries[declared.agent] = _Entry(declared=declared, kept=kept)
        else:
            async with entry.turn:
                entry.declared, entry.kept = declared, kept
        if before is not None and before.node == declared.node:
            self._ended |= {(skill.name, skill.level) for skill in before.skills.values()}
        self.is_shown = False
        return kept.enrolment

    async def show(self, *, incarnation: int) -> None:
        """Have those found by their skills, for longer, that are entered in this life of the node.

        Raises:
            FencedError: there is a later life of the node.
            UnavailableError: the store is away.
        """
        async with self._showing:
            if self._is_hidden:
                return
            self.is_shown = True
            try:
                await self._show(incarnation)
            except UnavailableError:
                self.is_shown = False
                raise

    async def hide(self) -> None:
        """Have nobody found any more, for good; what they hold is still kept here."""
        self._is_hidden = True
        async with self._showing:
            await self._rows.hide()

    def forget(self, agent: str) -> None:
        """It lives elsewhere in a later life."""
        self._entries.pop(agent, None)
        self.is_shown = False

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
                entry.kept, _ = await self._registry.enrol(entry.declared)
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

    async def _show(self, incarnation: int) -> None:
        here = [entry for entry in self._entries.values() if entry.declared.incarnation == incarnation]
        if not await self._rows.show((entry.declared for entry in here), incarnation=incarnation):
            for entry in here:
                entry.is_sure = False
        shown = {(skill.name, skill.level) for entry in here for skill in entry.declared.skills.values()}
        await self._rows.end_earlier(self._ended - shown, incarnation=incarnation)
        self._ended.clear()

    def _own(self, entry: _Entry, found: Enrolment) -> Enrolment:
        mine, current = entry.declared.incarnation, found.candidate.incarnation
        if current != mine:
            raise FencedError(f"life of agent {entry.declared.agent}", token=mine, current=current)
        return found
