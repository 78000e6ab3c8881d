"""Redis without meshd: to look at what it keeps, and to hurt it."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import redis

Raw = Callable[..., Any]
"""Runs one command and returns the driver's answer."""


@contextmanager
def raw_commands(port: int) -> Generator[Raw]:
    """Open a plain client of the server on `port`."""
    client = redis.Redis(host="127.0.0.1", port=port)
    try:
        commands: Raw = client.execute_command  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        yield commands
    finally:
        client.close()
