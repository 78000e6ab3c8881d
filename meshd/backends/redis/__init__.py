"""Redis behind the ports: `open_backend` is the door."""

from meshd.backends.redis.backend import open_backend

__all__ = ["open_backend"]
