"""Which prefixes this process is the master of, as long as it writes under them."""

from datetime import timedelta

from meshd.errors import NotMasterError, UnavailableError
from meshd.memory.model import Mastery
from meshd.memory.prefixes import Rules
from meshd.memory.stamping import Stamper
from meshd.memory.store import MemoryStore


class Masteries:
    """Masteries taken with the first write under a prefix, and prolonged by later ones."""

    def __init__(self, store: MemoryStore, stamper: Stamper, *, holder: str, rules: Rules, ttl: timedelta) -> None:
        self._store = store
        self._stamper = stamper
        self._holder = holder
        self._rules = rules
        self._ttl_ms = round(ttl.total_seconds() * 1000)
        self._held: dict[str, Mastery] = {}

    def prefix_of(self, key: str) -> str:
        """Return the prefix whose master writes the key: the one of its rule, empty for the whole memory."""
        return self._rules.of(key).prefix

    async def take(self, prefix: str) -> tuple[str, int]:
        """Return prefix and epoch to write under.

        Raises:
            NotMasterError: another holder is the master now.
        """
        held = self._held.get(prefix)
        if held is None or held.until_ms - self._stamper.now_ms() < self._ttl_ms // 2:
            held = await self._store.take_mastery(prefix, holder=self._holder, ttl_ms=self._ttl_ms)
            if held.holder != self._holder:
                self._held.pop(prefix, None)
                raise NotMasterError(prefix, master=held.holder)
            self._held[prefix] = held
        return prefix, held.epoch

    def forget(self, prefix: str) -> None:
        """Ask the hub again before the next write."""
        self._held.pop(prefix, None)

    async def aclose(self) -> None:
        """Resign everywhere, if the hub can be reached. Idempotent."""
        held, self._held = self._held, {}
        for mastery in held.values():
            try:
                await self._store.resign(mastery)
            except UnavailableError:
                return
