"""What arrives from the hub: checked, kept, and told to whoever reads or follows here.

Invariant: a version whose checksum is wrong is never kept, and no clock is raised over it until a sound one came.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence

from meshd.errors import CorruptDataError
from meshd.memory.model import LOCAL, MAX_BATCH, MAX_BATCH_BYTES, Applied, NodeClock, Reply, Version
from meshd.memory.replication.cache import Cache
from meshd.memory.replication.counters import Counters
from meshd.memory.replication.local import ReplicaFile
from meshd.memory.replication.watchers import Watchers
from meshd.memory.sealing import Seal
from meshd.memory.sessions import Seen

logger = logging.getLogger(__name__)

_MANY = 20
"""Of more versions, those that are here already are left out before they are taken to the file."""
_NEWS = frozenset({Applied.APPLIED, Applied.SIBLING})


class Intake:
    """Takes versions of other writers into the local store."""

    def __init__(
        self, file: ReplicaFile, seal: Seal, *, cache: Cache, seen: Seen, watchers: Watchers, counters: Counters
    ) -> None:
        self._file = file
        self._seal = seal
        self._cache = cache
        self.seen = seen
        self._watchers = watchers
        self.counters = counters
        self.damaged: dict[str, set[str]] = {}
        """Keys of which damaged bytes came, and the actors said to have written them."""

    async def take(self, versions: Iterable[Version], *, skip: tuple[str, int] = ("", 0)) -> bool:
        """Keep these; return whether all were sound. Those of actor and up to the number in `skip` are here."""
        sound: list[Version] = []
        here: list[Version] = []
        is_all = True
        actor, upto = skip
        for version in versions:
            header = version.header
            if header.actor == LOCAL or (header.actor == actor and header.seq <= upto):
                continue
            self.counters.bytes_received += len(version.blob)
            if self._is_here(version):
                here.append(version)
            elif self._is_sound(version):
                sound.append(version)
            else:
                is_all = False
        self.seen.add(here)
        if len(sound) > _MANY:
            sound = await self._unknown(sound)
        for chunk in chunks(sound):
            self._follow(chunk, await self._file.store.absorb(chunk))
        return is_all

    async def cover(self, clock: NodeClock) -> None:
        """Have the local clock cover this one: everything it covers has been taken."""
        barred = {actor for actors in self.damaged.values() for actor in actors}
        covered = {actor: seq for actor, seq in clock.items() if actor not in barred and actor != LOCAL}
        await self._file.store.absorb([], clock=covered)
        self.seen.cover(covered)

    async def forget(self, keys: Sequence[str]) -> None:
        """Tell readers that these are gone from the local store."""
        self._cache.forget(keys)
        self._watchers.tell(keys)

    def tell(self, versions: Sequence[Version]) -> None:
        """Note versions of this node's own, just kept."""
        self.seen.add(versions)
        self._watchers.tell(version.key for version in versions)

    def _follow(self, chunk: Sequence[Version], replies: Sequence[Reply]) -> None:
        self._cache.apply(chunk, replies)
        self.seen.add(chunk)
        counters = self.counters
        news: list[str] = []
        for version, reply in zip(chunk, replies, strict=True):
            if reply.applied in _NEWS:
                news.append(version.key)
                counters.conflicts += reply.applied is Applied.SIBLING
            elif reply.applied is Applied.REFUSED:
                logger.warning("memory key %r: a version the hub has is refused here: %s", version.key, reply.refusal)
        counters.received += len(news)
        counters.pace.moved(len(news))
        self._watchers.tell(news)

    def _is_here(self, version: Version) -> bool:
        """Return whether the very bytes are in memory, so in the file too."""
        item = self._cache.get(version.header.key)
        if not item or all(each.blob != version.blob for each in item):
            return False
        self.damaged.pop(version.header.key, None)
        return True

    async def _unknown(self, versions: Sequence[Version]) -> list[Version]:
        """Return those that the file's clock does not cover: it would take no other."""
        covered = (await self._file.store.clock()).clock
        return [each for each in versions if each.header.seq > covered.get(each.header.actor, 0)]

    def _is_sound(self, version: Version) -> bool:
        try:
            self._seal.check(version)
        except CorruptDataError as exc:
            self.counters.damaged += 1
            self.damaged.setdefault(version.key, set()).add(version.header.actor)
            logger.warning("refused, and asked for again: %s", exc)
            return False
        if version.key in self.damaged:
            del self.damaged[version.key]
        return True


def chunks(versions: Sequence[Version]) -> Iterator[Sequence[Version]]:
    """Yield these in parts that a store takes at once."""
    start = size = 0
    for at, version in enumerate(versions):
        length = len(version.blob)
        if at > start and (at - start >= MAX_BATCH or size + length > MAX_BATCH_BYTES):
            yield versions[start:at]
            start, size = at, 0
        size += length
    if start < len(versions):
        yield versions[start:]
