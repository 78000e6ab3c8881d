"""Scientific computing: simulate, analyse, plot. Many simulators share the runs, one analyst puts them together.

    python examples/teams/scientific_computing.py [PICTURE.png]            (needs matplotlib)

A random walk in two dimensions, 400 walkers: how far from home after n steps? Theory says the square root of n.
"""
# pyright: basic

import asyncio
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from meshd import AutonomousAgent, GroupTask, Mesh, Node

WALKERS, STEPS, PARTS = 400, 500, 4
Walks = list[list[float]]


class Simulator(AutonomousAgent):
    skills = ("simulate",)

    def on_start(self, task: GroupTask) -> Walks:
        """Return the distance from home after each step, for each walker."""
        rng, walks = Random(task.payload["seed"]), list[list[float]]()
        for _ in range(WALKERS // PARTS):
            place, far = 0j, list[float]()
            for _ in range(STEPS):
                place += rng.choice((1, -1, 1j, -1j))
                far.append(round(abs(place), 2))
            walks.append(far)
        return walks


class Analyst(AutonomousAgent):
    skills = ("analyse=advanced",)

    async def on_start(self, task: GroupTask) -> dict[str, Any]:
        runs = [task.delegate(f"run {seed}", skills=["simulate"], payload={"seed": seed}) for seed in range(PARTS)]
        walks = np.array([walk for run in await asyncio.gather(*runs) for walk in run["simulate"]])
        measured = np.sqrt((walks**2).mean(axis=0))
        exponent = np.polyfit(np.log(np.arange(1, STEPS + 1)), np.log(measured), 1)[0]
        return {"walkers": len(walks), "exponent": round(float(exponent), 2), "measured": measured.round(3).tolist()}


class Plotter(AutonomousAgent):
    skills = ("plot",)

    def on_start(self, task: GroupTask) -> str:
        ((found,),) = (results.values() for results in task.results.values())
        figure = Figure(figsize=(6, 4))
        axes = figure.subplots()
        axes.plot(found["measured"], label=f"{found['walkers']} walkers")
        axes.plot(np.sqrt(np.arange(STEPS)), "--", label="square root of the steps")
        axes.set(xlabel="steps", ylabel="distance from home", title=f"exponent {found['exponent']}")
        axes.legend()
        figure.savefig(task.payload["picture"])
        return f"exponent {found['exponent']}, see {Path(task.payload['picture']).name}"


async def main() -> None:
    picture = sys.argv[1] if len(sys.argv) > 1 else "walk.png"
    cluster = Node("cluster").host(*(Simulator(f"simulator-{number}") for number in range(PARTS)))
    async with cluster.running(), Node("desk").host(Analyst("ana"), Plotter("plo")).running(), Mesh() as mesh:
        analysis = await mesh.groups.announce("how far do walkers get?", skills=["analyse"])
        plot = await mesh.groups.announce("plot", skills=["plot"], payload={"picture": picture}, depends_on=[analysis])
        print((await plot.result())["plot"])


if __name__ == "__main__":
    asyncio.run(main())
