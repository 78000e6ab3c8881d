"""Work in parts, several under way at once: what waits for a store and what computes overlap, within bounds."""

import asyncio
from collections.abc import AsyncIterable, Callable, Coroutine
from typing import Any, TypeVar

Part = TypeVar("Part")
Made = TypeVar("Made")


async def abreast(
    parts: AsyncIterable[Part], do: Callable[[Part], Coroutine[Any, Any, Made]], *, at_once: int
) -> list[Made]:
    """Return what `do` makes of each part, in their order; at most `at_once` are under way.

    The first failure is raised, once the others have ended.
    """
    tasks: list[asyncio.Task[Made]] = []
    try:
        async for part in parts:
            if len(tasks) >= at_once:
                await tasks[-at_once]
            tasks.append(asyncio.create_task(do(part)))
        return [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
