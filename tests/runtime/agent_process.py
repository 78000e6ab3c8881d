"""An autonomous agent in its own process: `python -m tests.runtime.agent_process URL MESH NAME FOLDER`.

It works until a file named after its announcement's payload exists in the folder; each start leaves a line in `starts`.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from meshd import AutonomousAgent, GroupTask, Level, Skill
from tests.groups.crews import quick_settings


class Analyst(AutonomousAgent):
    """Says who did the work, and where."""

    skills = (Skill(name="python", level=Level.EXPERT), "statistics=advanced")
    folder: Path

    async def on_start(self, task: GroupTask) -> Any:
        with (self.folder / "starts").open("a") as file:
            file.write(f"{task.id} {self.name} {os.getpid()}\n")
        await task.update(0.5, f"pid {os.getpid()}")
        while task.payload and not (self.folder / task.payload).exists():
            await asyncio.sleep(0.02)
        return {"by": self.name, "pid": os.getpid(), "roles": list(task.roles)}


def main() -> None:
    url, mesh, name, folder = sys.argv[1:]
    analyst = Analyst(name)
    analyst.folder = Path(folder)
    asyncio.run(analyst.run(url, settings=quick_settings(mesh)))


if __name__ == "__main__":
    main()
