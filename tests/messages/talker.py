"""A node in a process of its own that talks: `python -m tests.messages.talker URL MESH NAME FOLDER [AGENT …]`.

It answers `ping` with its pid; it keeps each `note` in FOLDER/NAME.notes, and holds `hold` until FOLDER/NAME.go exists,
having made FOLDER/NAME.holding first. `say` has it send a `note` to everyone it names.
"""

import asyncio
import gc
import os
import sys
from pathlib import Path
from typing import Any

from meshd import Agent, Node, Settings
from meshd.messages.model import Message


def settings_of(mesh: str) -> Settings:
    return Settings.load(
        mesh=mesh,
        heartbeat_interval_seconds=0.1,
        node_timeout_seconds=1.0,
        roles={"play": []},
        tasks={"lease_seconds": 2.0, "renew_seconds": 0.5, "sweep_seconds": 0.1, "poll_seconds": 0.5},
    )


def talker(name: str, folder: Path, agents: list[str]) -> Node:
    node = Node(name, agents=[Agent(id=agent, name=agent) for agent in agents])

    @node.on_message("ping")
    async def ping(message: Message) -> dict[str, Any]:
        return {"pid": os.getpid(), "as": message.to}

    @node.on_message("note")
    def note(message: Message) -> None:
        with (folder / f"{message.to}.notes").open("a") as file:
            file.write(f"{message.sender} {message.payload}\n")

    @node.on_message("hold")
    async def hold(message: Message) -> None:
        (folder / f"{message.to}.holding").touch()
        while not await asyncio.to_thread((folder / f"{message.to}.go").exists):
            await asyncio.sleep(0.01)
        with (folder / f"{message.to}.notes").open("a") as file:
            file.write(f"{message.sender} held {message.deliveries}\n")

    @node.on_message("say")
    async def say(message: Message) -> int:
        for to in message.payload:
            await node.messages.send(to, "note", "said", sender=message.to)
        return len(message.payload)

    @node.on_message("inventory")
    async def inventory(message: Message) -> list[str]:
        kinds: set[type[Any]] = {type(each) for each in gc.get_objects()}
        names = {f"{kind.__module__}.{kind.__qualname__}" for kind in kinds}
        return sorted(name for name in names if name.startswith("meshd."))

    return node


if __name__ == "__main__":
    node = talker(sys.argv[3], Path(sys.argv[4]), sys.argv[5:])
    asyncio.run(node.run(sys.argv[1], settings=settings_of(sys.argv[2])))
