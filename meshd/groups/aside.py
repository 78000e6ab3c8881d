"""Things that a part of the groups has to do and that nobody waits for."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from meshd.errors import UnavailableError

logger = logging.getLogger(__name__)


class Aside:
    """Things to be done that nobody waits for; what fails is logged."""

    def __init__(self) -> None:
        self._tasks = set[asyncio.Task[None]]()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_harmless(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _harmless(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except UnavailableError as exc:
        logger.debug("to be found by the next look: %s", exc)
    except Exception:
        logger.exception("to be found by the next look")
