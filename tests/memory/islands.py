"""Memories of their own that meet when a test says so: conflicts on purpose, without a network."""

from collections.abc import AsyncIterator, Sequence

from meshd.clock import Clock
from meshd.errors import WriteConflictError
from meshd.memory.access import Access, Acks, Author, Draft, Session, Written
from meshd.memory.core import Shared
from meshd.memory.entries import name_of
from meshd.memory.model import Applied, Batch, Dot, Item, Member, Strategy, Version
from meshd.memory.prefixes import Rules
from meshd.memory.sealing import Seal
from meshd.memory.service import Memory
from meshd.memory.stamping import Stamper
from tests.memory.reference import ReferenceStore


class Island(Access):
    """A store that one writer reaches; under `strong` it is its own hub."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.store = ReferenceStore(clock)
        self._name = name
        self._clock = clock
        self._seq = 0
        self._stamper = Stamper(Seal(), clock)

    async def read(self, keys: Sequence[str], *, session: Session | None = None) -> Sequence[Item]:
        return await self.store.get(keys)

    async def list(self, prefix: str, *, limit: int, after: str = "") -> Sequence[tuple[str, Item]]:
        return await self.store.list(prefix, limit=limit, after=after)

    async def write(
        self, drafts: Sequence[Draft], *, strategy: Strategy, acks: Acks | None = None
    ) -> Sequence[Written]:
        return [await self._write(draft, strategy) for draft in drafts]

    async def _write(self, draft: Draft, strategy: Strategy) -> Written:
        version = self._stamper.make(draft, Dot(self._name, self._seq + 1))
        conditions = {} if draft.expects is None else {draft.key: draft.expects}
        batch = Batch(
            actor=self._name, first=self._seq + 1, last=self._seq + 1, versions=[version], conditions=conditions
        )
        (reply,) = (await self.store.push(batch)).replies
        if reply.applied is Applied.CONFLICT:
            expected, current = (tuple(map(name_of, dots)) for dots in (draft.expects or (), reply.current))
            raise WriteConflictError(draft.key, expected=expected, current=current)
        self._seq += 1
        return Written(version=version, reply=reply, is_sent=strategy is not Strategy.EVENTUAL)

    async def changes(self, prefix: str) -> AsyncIterator[tuple[str, Item]]:
        async with self.store.follow() as feed:
            while True:
                change = await feed.get(timeout_ms=10_000)
                for key in {version.key for version in (change.versions if change else ())}:
                    if key.startswith(prefix):
                        yield key, (await self.store.get([key]))[0]

    async def history(self, keys: Sequence[str], *, limit: int) -> Sequence[Sequence[Version]]:
        return await self.store.history(keys, limit=limit)

    async def contested(self, prefix: str, *, limit: int, after: str = "") -> Sequence[tuple[str, Item]]:
        return await self.store.contested(prefix, limit=limit, after=after)

    async def session(self) -> Session:
        return (await self.store.clock()).clock

    async def members(self) -> Sequence[Member]:
        return await self.store.members()

    async def quarantine(self, node: str, *, reason: str) -> None:
        await self.store.quarantine(node, reason=reason)

    async def readmit(self, node: str) -> bool:
        return await self.store.readmit(node)

    async def now_ms(self) -> int:
        return self._clock()

    def memory(self, rules: Rules | None = None, *, agent: str = "", rank: int = 0) -> Memory:
        """Return the service on this island, writing as an agent of the node it is named after."""
        author = Author(node=self._name, agent=agent or f"agent-{self._name}", rank=rank)
        return Memory(Shared(access=self, rules=rules or Rules()), author=author)


async def meet(*islands: Island) -> None:
    """Have every island receive what the others have."""
    for here in islands:
        for there in islands:
            if here is not there:
                clock = await there.store.clock()
                versions, after = await there.store.newer((await here.store.clock()).clock)
                assert not after
                await here.store.absorb(versions, clock=clock.clock)
