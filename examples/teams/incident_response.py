"""Incident response: specialists form a team at critical priority, while cheap work keeps everybody busy.

    python examples/teams/incident_response.py

Real input: a log with a burst of failed logins. The work that was there first goes on when the incident is over, and a
specialist who gives up is replaced by the next best.
"""

import asyncio
import re
from collections import Counter
from typing import Any

from meshd import AutonomousAgent, GroupTask, Mesh, Node

LOG = [
    *(f"sshd: Failed password for root from 203.0.113.{host} port 22" for host in (7, 9) for _ in range(40)),
    "sshd: Accepted password for root from 203.0.113.7 port 22",
    *(f"sshd: Accepted publickey for ada from 198.51.100.{host}" for host in range(20)),
]


class Analyst(AutonomousAgent):
    """Looks into logs; between incidents it tidies them."""

    skills = ("forensics=expert", "tidying")

    async def on_start(self, task: GroupTask) -> Any:
        if "tidying" in task.roles:
            await asyncio.sleep(task.payload["seconds"])
            return "tidy"
        failed = Counter(_address(line) for line in LOG if "Failed" in line)
        inside = {_address(line) for line in LOG if "Accepted password" in line}
        return {"attackers": sorted(failed), "inside": sorted(inside & failed.keys())}


class Firewall(AutonomousAgent):
    skills = ("containment=advanced", "tidying")

    async def on_start(self, task: GroupTask) -> Any:
        if "tidying" in task.roles:
            await asyncio.sleep(task.payload["seconds"])
            return "tidy"
        return f"blocked {task.payload['network']}"


class Spokesman(AutonomousAgent):
    skills = ("communication",)

    async def on_start(self, task: GroupTask) -> str:
        if self.name == "novice":
            raise RuntimeError("I have never done this")
        return f"incident {task.description!r}: {len(task.members)} specialists at work"


def _address(line: str) -> str:
    found = re.search(r"from (\S+)", line)
    return found[1] if found else ""


async def main() -> None:
    crew = [Analyst("ana", slots=1), Firewall("wall", slots=1), Spokesman("novice", cost=0), Spokesman("veteran")]
    async with Node("operations").host(*crew).running(), Mesh() as mesh:
        chores = [
            await mesh.groups.announce(f"chore {n}", skills=["tidying"], payload={"seconds": 0.3}, priority="low")
            for n in range(6)
        ]
        wanted = ["forensics>=advanced", "containment", "communication"]
        payload = {"network": "203.0.113.0/24"}
        incident = await mesh.groups.announce("root login", skills=wanted, payload=payload, priority="critical")
        results, ended = await incident.result(), await incident.outcome()
        done = [chore for chore in chores if (await mesh.groups.get(chore.id)).state.is_over]
        print(results, f"after {len(done)} of {len(chores)} chores; gave up: {sorted(ended.refused)}")
        await asyncio.gather(*(chore.result() for chore in chores))


if __name__ == "__main__":
    asyncio.run(main())
