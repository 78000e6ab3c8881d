"""A process that leads: `python -m tests.votes.leader_process URL MESH NAME LEASE_MS`.

While it leads the scope `work` it writes `effect/<NAME>` under its guard, again and again. Once leadership was taken
from it, it tries one write more and leaves in `late/<NAME>` what came of it.
"""

import asyncio
import signal
import sys
from datetime import timedelta

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.errors import ConflictError
from meshd.records import Guard
from meshd.votes.leadership import Leaders
from meshd.votes.leading import Lease


async def lead(backend: Backend, name: str, lease: Lease) -> None:
    leaders = Leaders(backend.records, backend.events, holder=name)
    while True:
        guard = Guard(key="none", born=0)
        try:
            async with leaders.leader("work", lease=lease) as leadership:
                guard = leadership.guard
                while True:
                    await backend.records.put(f"effect/{name}", b"%d" % leadership.token, guard=guard)
                    await asyncio.sleep(0.02)
        except ConflictError:
            try:
                await backend.records.put(f"effect/{name}", b"late", guard=guard)
                said = "accepted"
            except ConflictError as exc:
                said = exc.code
            await backend.records.put(f"late/{name}", said.encode())


async def main(url: str, mesh: str, name: str, lease_ms: int) -> None:
    backend = await open_backend(url, BackendOptions(mesh=mesh))
    leading = asyncio.create_task(lead(backend, name, Lease(length=timedelta(milliseconds=lease_ms))))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leading.cancel)
    await asyncio.wait({leading})
    await backend.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
