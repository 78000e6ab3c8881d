"""Submit a task and print its result; a node that runs `text.count` must be up (see my_handlers.py)."""

import asyncio

from meshd import Mesh


async def main() -> None:
    async with Mesh() as mesh:
        handle = await mesh.tasks.submit("text.count", text="to be or not to be", priority="high")
        print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
