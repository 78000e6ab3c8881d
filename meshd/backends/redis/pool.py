"""The driver's connections to where a URL leads: to that server, or to whatever its sentinels call the primary."""

import redis.asyncio as driver
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from meshd.backends import redact, split_url
from meshd.backends.port import BackendOptions
from meshd.backends.redis.sentinel import SENTINEL_MARK, Sentinels, SentinelUrl, connection_class
from meshd.errors import ConfigurationError


def open_pool(url: str, options: BackendOptions) -> tuple[driver.BlockingConnectionPool, Sentinels | None]:
    """Return a pool that connects when it is used first, and the sentinels it asks where.

    Raises:
        ConfigurationError: the URL is not understood.
    """
    if not split_url(url).scheme.endswith(SENTINEL_MARK):
        return _pool(url, options), None
    place = SentinelUrl.parse(url)
    sentinels = Sentinels(place)
    pool = _pool(place.redis_url, options)
    pool.connection_class = connection_class(pool.connection_class, sentinels)
    return pool, sentinels


def _pool(url: str, options: BackendOptions) -> driver.BlockingConnectionPool:
    tcp_only = {} if url.startswith("unix:") else {"socket_keepalive": True}
    timeout_s = options.timeout_ms / 1000
    try:
        return driver.BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
            url,
            max_connections=options.pool_size,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            decode_responses=False,
            **tcp_only,
        )
    except ValueError as exc:
        raise ConfigurationError(f"store url {redact(url)!r} is not understood: {exc}") from exc
