"""Counts what a server is asked, command by command: MONITOR names each script by its hash, where INFO cannot."""

import re
import socket
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Self

from benchmarks.lab.processes import BrokenRunError
from benchmarks.lab.servers import Server
from meshd.backends.redis import scripts

_LINE = re.compile(rb'^\+\d+\.\d+ \[\d+ (\S+)\] "([^"]*)"(?: "([0-9a-f]{40})")?')


class Monitor:
    """Every call that clients make during the block, by command, or by name for a script of meshd.

    Raises `BrokenRunError` at its end if there was a script it cannot name: then its counts mean nothing.
    """

    def __init__(self, server: Server) -> None:
        self.calls: Counter[str] = Counter()
        self._server = server
        self._names = {
            scripts.load(name, flagged=flagged).sha: name for name in scripts.names() for flagged in (True, False)
        }

    def __enter__(self) -> Self:
        self._socket = socket.create_connection(self._server.address, timeout=10)
        self._socket.sendall(b"MONITOR\r\n")
        self._lines = self._socket.makefile("rb")
        assert self._lines.readline().startswith(b"+OK")
        self._socket.settimeout(None)
        self._began = time.monotonic()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.seconds = time.monotonic() - self._began
        self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._lines.close()
        self._socket.close()
        if kind is None and self.calls["EVALSHA"]:
            raise BrokenRunError(f"{self.calls['EVALSHA']} calls of scripts that this tree does not have")

    def per_second(self, name: str) -> float:
        return self.calls[name] / self.seconds

    def _read(self) -> None:
        for line in self._lines:
            match = _LINE.match(line)
            if match is not None and match[1] != b"lua":
                self.calls[self._names.get((match[3] or b"").decode(), match[2].decode().upper())] += 1
