"""What an acknowledged write survives on this server, asked once a minute."""

from time import monotonic

from meshd.backends.redis.connection import Connection
from meshd.tasks.model import Durability

REFRESH_S = 60.0


class DurabilityProbe:
    """Knows the durability level of one server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._level = Durability.D0
        self._known_until = 0.0

    async def level(self) -> Durability:
        """Return D1 while the server writes an append-only file, else D0.

        `appendfsync always` would be D2, but no command that managed servers allow tells it apart.
        """
        if monotonic() >= self._known_until:
            info = await self._connection.info("persistence")
            self._level = Durability.D1 if int(info.get("aof_enabled", 0)) else Durability.D0
            self._known_until = monotonic() + REFRESH_S
        return self._level
