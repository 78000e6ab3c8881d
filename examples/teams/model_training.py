"""Training on shards: four trainers each fit a model on a quarter of the data, one agent puts them together.

    python examples/teams/model_training.py            (needs scikit-learn)

Real input: scikit-learn's 1,797 handwritten digits. Only weights travel, never data; the mean of four linear models is
compared with each of them on digits nobody trained on.
"""
# pyright: basic

import asyncio
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

from meshd import AutonomousAgent, GroupTask, Mesh, Node

SHARDS = 4
Weights = dict[str, Any]


def digits() -> Any:
    """Return the same split everywhere: training images, test images, training labels, test labels."""
    images, labels = load_digits(return_X_y=True)
    return train_test_split(images / 16, labels, random_state=7, stratify=labels)


class Trainer(AutonomousAgent):
    """Holds one shard, as a machine would that may not give its data away."""

    def on_start(self, task: GroupTask) -> Weights:
        shard = task.payload["shard"]
        images, _, labels, _ = digits()
        model: Any = SGDClassifier(random_state=7).fit(images[shard::SHARDS], labels[shard::SHARDS])
        return {"coefficients": model.coef_.tolist(), "intercepts": model.intercept_.tolist()}


class Aggregator(AutonomousAgent):
    skills = ("model.average=expert",)

    async def on_start(self, task: GroupTask) -> dict[str, Any]:
        asked = [
            task.delegate(f"train shard {shard}", skills=[f"train.{shard}"], payload={"shard": shard})
            for shard in range(SHARDS)
        ]
        parts: list[Weights] = []
        for made in asyncio.as_completed(asked):
            parts += (await made).values()
            await task.update(len(parts) / (SHARDS + 1), f"{len(parts)} of {SHARDS} shards")
        mean = {name: np.mean([part[name] for part in parts], axis=0) for name in parts[0]}
        return {"each": [round(_accuracy(part), 3) for part in parts], "together": round(_accuracy(mean), 3)}


def _accuracy(weights: Weights) -> float:
    _, images, _, labels = digits()
    votes = images @ np.array(weights["coefficients"]).T + np.array(weights["intercepts"])
    return float((votes.argmax(axis=1) == labels).mean())


async def main() -> None:
    trainers = [Trainer(f"trainer-{shard}", skills=[f"train.{shard}"]) for shard in range(SHARDS)]
    school, office = Node("school").host(*trainers), Node("office").host(Aggregator("mean"))
    async with school.running(), office.running(), Mesh() as mesh:
        work = await mesh.groups.announce("learn digits", skills=["model.average>=advanced"])
        print((await work.result())["model.average"])


if __name__ == "__main__":
    asyncio.run(main())
