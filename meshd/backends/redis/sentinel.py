"""Redis Sentinel: who is the primary of a service right now.

    redis+sentinel://[user:password@]host:26379,host2:26379/service[/db][?sentinel_username=…&sentinel_password=…&…]

The login and all other options are those of the Redis servers, as in a plain URL; `rediss+sentinel` speaks TLS to the
servers and `sentinel_tls=true` to the sentinels. Sentinels disagree while a failover is under way: the answer of the
newest configuration counts, and a server that is no primary after all is refused by `durability.refuse_unready`.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlunsplit

import redis.asyncio as driver
import redis.exceptions as broken
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from meshd.backends import redact, split_url
from meshd.backends.redis.lane import Lane
from meshd.errors import ConfigurationError

SENTINEL_MARK = "+sentinel"
"""What follows the scheme of a URL that names sentinels."""
DEFAULT_PORT = 26379
ASK_S = 1.0
"""Longest wait for one sentinel."""

Address = tuple[str, int]
_QUESTIONS = ("GET-MASTER-ADDR-BY-NAME", "MASTER")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelUrl:
    """Where to ask, for what, and how to connect to what is found."""

    sentinels: Sequence[Address]
    service: str
    login: dict[str, Any]
    """How to connect to a sentinel."""
    redis_url: str
    """Options of the connections to the primary, with a place in it that is not used."""

    @classmethod
    def parse(cls, url: str) -> "SentinelUrl":
        """Take a URL apart.

        Raises:
            ConfigurationError: it names no sentinels or no service.
        """
        parts = split_url(url)
        login, _, hosts = parts.netloc.rpartition("@")
        service, _, db = parts.path.strip("/").partition("/")
        try:
            sentinels = [_address(host) for host in hosts.split(",")]
        except ValueError:
            sentinels = []
        if not sentinels or not service or not (db or "0").isdecimal():
            raise ConfigurationError(
                f"store url {redact(url)!r} is not understood: write redis+sentinel://host:26379,host2:26379/service/db"
            )
        options = dict(parse_qsl(parts.query))
        own = {name: options.pop(name) for name in list(options) if name.startswith("sentinel_")}
        return cls(
            sentinels=sentinels,
            service=unquote(service),
            login=_login(own, url=url),
            redis_url=urlunsplit(
                SplitResult(
                    scheme=parts.scheme.removesuffix(SENTINEL_MARK),
                    netloc=f"{login}@primary" if login else "primary",
                    path=f"/{db or 0}",
                    query=urlencode(options),
                    fragment="",
                )
            ),
        )


class Sentinels:
    """The sentinels of one service, each asked over a connection that stays open."""

    def __init__(self, place: SentinelUrl) -> None:
        self._place = place
        self._lanes: dict[Address, Lane] = {}
        self._connecting = {sentinel: asyncio.Lock() for sentinel in place.sentinels}
        self._asking: asyncio.Task[Address] | None = None
        self._turn = 0

    async def primary(self) -> Address:
        """Return where the primary is, once most sentinels answered; who asks meanwhile shares the answer.

        Raises:
            ConfigurationError: no sentinel knows the service.
            redis.exceptions.ConnectionError: no sentinel answers.
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_all(), name="meshd sentinels")
            self._asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._asking)

    async def name_another(self, address: Address) -> bool:
        """Return whether the primary is not at `address`; one sentinel is asked, the next one each time.

        Raises:
            ConfigurationError: no sentinel knows the service any more.
            redis.exceptions.RedisError: this one does not answer.
        """
        self._turn += 1
        told = await self._ask(self._place.sentinels[self._turn % len(self._place.sentinels)])
        return (told is None or told[1] != address) and await self.primary() != address

    async def aclose(self) -> None:
        """Close every connection to a sentinel."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})
        for lane in self._lanes.values():
            await _end(lane)

    async def _ask_all(self) -> Address:
        asking = {asyncio.create_task(self._ask(address)) for address in self._place.sentinels}
        answers: list[tuple[int, Address] | None] = []
        failure: Exception | None = None
        try:
            for next_answer in asyncio.as_completed(asking):
                try:
                    answers.append(await next_answer)
                except (broken.RedisError, OSError) as exc:
                    failure = exc
                if 2 * sum(answer is not None for answer in answers) > len(asking):
                    break
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        return self._newest(answers, failure)

    def _newest(self, answers: Sequence[tuple[int, Address] | None], failure: Exception | None) -> Address:
        known = [answer for answer in answers if answer is not None]
        if known:
            newest = max(epoch for epoch, _ in known)
            return Counter(address for epoch, address in known if epoch == newest).most_common(1)[0][0]
        if answers:
            raise ConfigurationError(f"no sentinel knows a service {self._place.service!r}")
        raise broken.ConnectionError(f"no sentinel answers: {failure or 'timed out'}")

    async def _ask(self, sentinel: Address) -> tuple[int, Address] | None:
        async with self._connecting[sentinel]:
            lane = self._lanes.get(sentinel)
            if lane is None or lane.is_closed:
                lane = self._lanes[sentinel] = Lane(await self._connect(sentinel))
        try:
            async with asyncio.timeout(ASK_S):
                return await self._answer(lane)
        except TimeoutError:
            await _end(lane)
            raise

    async def _answer(self, lane: Lane) -> tuple[int, Address] | None:
        place, state = (lane.call(("SENTINEL", question, self._place.service)) for question in _QUESTIONS)
        state.add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        found: Sequence[bytes] | None = await place
        if found is None:
            return None
        fields: Sequence[bytes] = await state
        said = dict(zip(fields[::2], fields[1::2], strict=True))
        return int(said[b"config-epoch"]), (found[0].decode(), int(found[1]))

    async def _connect(self, sentinel: Address) -> AbstractConnection:
        login = dict(self._place.login)
        kind = driver.SSLConnection if login.pop("tls") else driver.Connection
        connection: AbstractConnection = kind(
            host=sentinel[0],
            port=sentinel[1],
            socket_timeout=ASK_S,
            socket_connect_timeout=ASK_S,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            **login,
        )
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection


class _AtPrimary(AbstractConnection):
    """A connection that goes wherever the primary is at that moment."""

    sentinels: Sentinels

    async def connect(self) -> None:
        if not self.is_connected:
            place: Any = self
            place.host, place.port = await self.sentinels.primary()
        await super().connect()  # type: ignore[no-untyped-call]


def connection_class(base: type[AbstractConnection], sentinels: Sentinels) -> type[AbstractConnection]:
    """Return the driver's connection class, made to go to the primary."""
    return cast("type[AbstractConnection]", type("PrimaryConnection", (_AtPrimary, base), {"sentinels": sentinels}))


async def _end(lane: Lane) -> None:
    lane.close()
    await lane.connection.disconnect(nowait=True)


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":") if ":" in text.rpartition("]")[2] else (text, "", str(DEFAULT_PORT))
    if not host:
        raise ValueError(text)
    return host.strip("[]"), int(port)


def _login(options: dict[str, str], *, url: str) -> dict[str, Any]:
    names = {"sentinel_username": "username", "sentinel_password": "password", "sentinel_tls": "tls"}
    unknown = sorted(options.keys() - names.keys())
    if unknown:
        raise ConfigurationError(f"store url {redact(url)!r}: unknown option {unknown[0]}; use {', '.join(names)}")
    given: dict[str, Any] = {names[name]: value for name, value in options.items()}
    return {**given, "tls": given.get("tls", "") in ("true", "1", "yes")}
