"""One who announces, in a process of its own: `python -m tests.groups_processes.announcer_process URL MESH WORK`.

Leads what it announces while it lives, and ends once all of it is over.
"""

import asyncio
import json
import sys
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter

from meshd import Mesh, Settings
from tests.groups_processes.trap import Trap, lay


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is announced."""

    ids: tuple[str, ...]
    skills: tuple[str, ...]
    payload: dict[str, Any] = field(default_factory=dict[str, Any])
    deadline_s: float = 60.0
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    trap: Trap | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))


async def main(url: str, mesh: str, work: Work) -> None:
    lay(work.trap, "")
    async with Mesh(url, settings=Settings.load(mesh=mesh, **work.settings)) as opened:
        made = [
            await opened.groups.announce(
                f"work {id}",
                skills=work.skills,
                payload=work.payload,
                id=id,
                deadline=timedelta(seconds=work.deadline_s),
                on_update=lambda update: None,
            )
            for id in work.ids
        ]
        await asyncio.gather(*(each.outcome() for each in made))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], TypeAdapter(Work).validate_json(sys.argv[3])))
