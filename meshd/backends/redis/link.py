"""What the stores ask of the way to Redis: the same words for one server, a cluster, and one partition of either."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from redis.asyncio.connection import AbstractConnection

from meshd.backends.port import BackendOptions
from meshd.backends.redis.footing import Footing
from meshd.backends.redis.keys import Keys
from meshd.backends.redis.lane import Lane
from meshd.tasks.model import Durability


class Link(Protocol):
    """The way to one mesh's keys; `Connection` has the words of each method."""

    @property
    def url(self) -> str: ...
    @property
    def options(self) -> BackendOptions: ...
    @property
    def keys(self) -> Keys: ...

    def now(self) -> str: ...

    async def run(
        self,
        name: str,
        *,
        key: str,
        args: Sequence[str | bytes | int],
        retry: bool = True,
        confirm: Durability | None = None,
    ) -> Any: ...

    def saw(self, key: str, token: int) -> None: ...

    async def footings(self, *, fresh: bool = False) -> Sequence[Footing]: ...

    async def command(self, *command: str | bytes | int, retry: bool = True) -> Any: ...

    async def peek(self, *command: str | bytes | int, retry: bool = True) -> Any: ...

    async def pipeline(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]: ...

    async def lend(self) -> AbstractConnection: ...

    async def take_back(self, connection: AbstractConnection) -> None: ...

    def waiting(self, key: str) -> AbstractAsyncContextManager[Lane]: ...
