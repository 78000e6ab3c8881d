"""One low announcement under high ones without end: who is served before it."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from random import Random

from meshd.groups.model import Urgency
from meshd.nodes.model import Level
from tests.groups_model.agents import Kind
from tests.groups_model.machines import on_loop_time
from tests.groups_model.mesh import Mesh, persist
from tests.groups_model.weather import CALM, Climate, Weather
from tests.simulator.loop import run

CROWD = 6
"""High ones that wait for each agent when the low one is announced."""
LONG_S = 300.0
WORK_S = 1.2
LATEST_S = (Urgency.LOW - Urgency.HIGH) * 1.0
"""A high one announced so long after the low one has the later turn."""


def overtaking(seed: int, *, agents: int, climate: Climate = CALM) -> Sequence[float]:
    """Return how long after the low one each high one was announced that was served before it."""
    return run(_served(seed, agents=agents, climate=climate))


async def _served(seed: int, *, agents: int, climate: Climate) -> Sequence[float]:
    rng = Random(seed)
    with on_loop_time(Random(seed)):
        mesh = Mesh(rng=rng, weather=Weather(climate, Random(seed)), trace=lambda line: None)
        for number in range(agents):
            skills = {"x": Level.EXPERT}
            mesh.add_node(f"n{number}", [Kind(name=f"a{number}", skills=skills, slots=1, work_s=WORK_S)])
        for name in ("boss0", "boss1"):
            mesh.add_announcer(name)
        waiting = asyncio.create_task(_announce_without_end(mesh, rng, pause_s=WORK_S / agents * 0.65))
        while len(mesh.watcher.announcements) - len(mesh.watcher.formed) < CROWD * agents:
            await asyncio.sleep(0.2)
        await _announce(mesh, "low", "boss0", "low")
        while not any(name == "low" for _, name in mesh.watcher.formed):
            await asyncio.sleep(0.2)
        waiting.cancel()
        known, formed = mesh.watcher.announcements, [name for _, name in mesh.watcher.formed]
        earlier = formed[: formed.index("low")]
        await mesh.close()
        assert not mesh.watcher.breaches
        return [(known[name].announced_ms - known["low"].announced_ms) / 1_000 for name in earlier]


async def _announce_without_end(mesh: Mesh, rng: Random, *, pause_s: float) -> None:
    number = 0
    while True:
        number += 1
        await _announce(mesh, f"high{number}", rng.choice(["boss0", "boss1"]), "high")
        await asyncio.sleep(rng.uniform(0.5, 1.5) * pause_s)


async def _announce(mesh: Mesh, name: str, boss: str, priority: str) -> None:
    announcer = mesh.announcers[boss]
    deadline = timedelta(seconds=LONG_S)
    call = announcer.groups.announce
    await announcer.process.run(
        persist(
            lambda: call("work", skills=["x"], id=name, priority=priority, deadline=deadline, formation=deadline),
            rng=mesh.rng,
        )
    )
