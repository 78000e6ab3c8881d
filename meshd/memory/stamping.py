"""Drafts become versions: a dot, a hybrid time, what its writer had seen, and a checksum over all of it.

Invariant: a version is later than everything it observes, and than everything this process saw before.
"""

from msgspec import structs

from meshd.clock import Clock, system_clock
from meshd.memory.access import Draft
from meshd.memory.hybrid_clock import Time, after, next_time
from meshd.memory.joining import last_of, observed_in
from meshd.memory.model import Dot, Flag, Header, Item, Version
from meshd.memory.sealing import Seal


class Stamper:
    """The clock of one writer, kept near the hub's."""

    def __init__(self, seal: Seal, clock: Clock = system_clock) -> None:
        self.seal = seal
        self._clock = clock
        self._offset_ms = 0
        self._time = Time(0)

    def now_ms(self) -> int:
        """Return the time by the hub's clock, as near as is known."""
        return self._clock() + self._offset_ms

    def correct(self, *, hub_ms: int, asked_ms: int) -> None:
        """Learn the hub's time from an answer to what was asked at `asked_ms` of this machine's.

        An answer that took long tells little: what is believed already stands unless the answer rules it out.
        """
        now_ms = self._clock()
        offset_ms = hub_ms - (asked_ms + now_ms) // 2
        if abs(offset_ms - self._offset_ms) > (now_ms - asked_ms) // 2 + 1:
            self._offset_ms = offset_ms

    def local_ms(self) -> int:
        """Return this machine's own time."""
        return self._clock()

    def see(self, version: Version) -> None:
        """Be later than this version from now on."""
        self._time = after(self._time, Time(version.header.ms, version.header.tick))

    def set_back(self) -> None:
        """Forget times seen that were ahead of the hub's clock: what they stamped is to be stamped again."""
        self._time = Time(min(self._time.ms, self.now_ms() - 1))

    def make(self, draft: Draft, dot: Dot) -> Version:
        """Return the draft as the version of this name.

        Raises:
            PayloadTooLargeError: what it says of itself is too long.
        """
        for version in draft.over:
            self.see(version)
        self._time = next_time(self._time, self.now_ms())
        author = draft.author
        header = Header(
            actor=dot.actor,
            seq=dot.seq,
            observed=observed_in(draft.over, actor=dot.actor),
            ms=self._time.ms,
            tick=self._time.tick,
            flags=Flag.TOMBSTONE if draft.body is None else Flag.NONE,
            expires_ms=draft.expires_ms,
            key=draft.key,
            policy=draft.policy,
            kind=draft.kind,
            priority=draft.priority,
            rank=author.rank,
            node=author.node,
            agent=author.agent,
            task=author.task,
            note=draft.note,
            undoes=draft.undoes,
            edition=1 + max([version.header.edition for version in draft.over], default=0),
        )
        return self.seal.make(header, b"" if draft.body is None else draft.body(header))

    def again(self, version: Version, dot: Dot) -> Version:
        """Return the same write as a new version at the time it is now, for one whose own time or name cannot be.

        It has observed what the write had, and the write itself: what stands beside that stands beside this.
        """
        self._time = next_time(self._time, self.now_ms())
        header = structs.replace(
            version.header,
            actor=dot.actor,
            seq=dot.seq,
            observed=observed_in((version,), actor=dot.actor),
            ms=self._time.ms,
            tick=self._time.tick,
        )
        return self.seal.make(header, version.body)

    def beside(self, version: Version, dot: Dot, *, gone: Item = ()) -> Version:
        """Return the same write under another name, of the same time: for one that stores disagree about.

        It supersedes the write wherever that is, and what is `gone`, and stands beside what stood beside it.
        """
        header = structs.replace(
            version.header,
            actor=dot.actor,
            seq=dot.seq,
            observed=observed_in((version, *gone), actor=dot.actor),
            tick=version.header.tick + 1,
        )
        return self.seal.make(header, version.body)


def overlooked(item: Item, draft: Draft, *, actor: str) -> bool:
    """Return whether `actor` wrote the key, perhaps under what is current now, and the draft's writer had not seen it.

    As a later number of one actor observes the earlier ones, writing it would hide that version without a conflict.
    """
    return last_of(item, actor=actor) > last_of(draft.over, actor=actor)
