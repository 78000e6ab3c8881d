"""A slow, lossy network and a store that stands still are no deaths: `pytest tests/partitions --minutes 10`."""

import asyncio
import time
from datetime import timedelta

import pytest

from tests.partitions.bed import Bed
from tests.support.switch import Weather
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]

ROUND_TRIP_200_MS = Weather(delay_s=0.1, jitter_s=0.05, loss=0.02)
"""200 ± 100 ms there and back, and every fiftieth packet lost."""
STALL_S = 5.0


async def deaths(bed: Bed) -> list[str]:
    return [node for event, node in await bed.node_events() if event == "dead"]


async def work(bed: Bed, tasks: int) -> None:
    """Have as many tasks run; return when all have completed."""
    handles = [await bed.mesh.tasks.submit("work", number=number) for number in range(tasks)]
    for number, handle in enumerate(handles):
        assert await handle.result(timeout=timedelta(seconds=60)) == number


async def test_nobody_is_dead_where_packets_are_late_and_lost(bed: Bed, minutes: float) -> None:
    bed.net.weather(ROUND_TRIP_200_MS)
    end = time.monotonic() + 60 * minutes

    async def is_over() -> bool:
        await work(bed, 20)
        assert await deaths(bed) == []
        return time.monotonic() > end

    await wait_until(is_over, timeout=60 * minutes + 60, pause=1.0)
    bed.net.weather(Weather())
    await bed.until_all_alive()


async def test_nobody_is_dead_because_the_store_stood_still(bed: Bed) -> None:
    bed.server.freeze()
    await asyncio.sleep(STALL_S)
    bed.server.thaw()
    await bed.until_all_alive()
    await work(bed, 50)
    assert await deaths(bed) == []
    assert not (await bed.mesh.nodes.connectivity()).unheard
