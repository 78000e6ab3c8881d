"""Dividing: into how many parts tasks go that leave it open, and which nodes the parts of one task are placed on."""

from collections.abc import Mapping, Sequence

from meshd.tasks.composing import Part, Siblings, bare, is_open
from meshd.tasks.fan_out import Distinct, FanOut, most_parts
from meshd.tasks.model import NewTask
from meshd.tasks.placement import Placer
from meshd.tasks.request import TaskDefaults, TaskRequest, new_task


class Divider:
    """Divides the tasks one process submits."""

    def __init__(self, placer: Placer, defaults: TaskDefaults) -> None:
        self._placer = placer
        self._defaults = defaults

    async def counts(self, requests: Sequence[TaskRequest]) -> Mapping[int, int]:
        """Return how many parts those have that run on as many nodes as can run them, by the request's identity.

        One that no node can run yet has as many as there may be.
        """
        return {id(request): await self._count(request) for request in requests if is_open(request)}

    async def _count(self, request: TaskRequest) -> int:
        most = most_parts(request.fan_out or FanOut(), limit=self._defaults.max_nodes)
        task = new_task(bare(request), self._defaults)
        return min(len(await self._placer.able(task)), most) or most

    async def spread(self, parts: Sequence[Part], tasks: Sequence[NewTask], *, must_fit: bool) -> list[NewTask]:
        """Return the tasks, the parts of each task among them placed on different nodes.

        Raises:
            NoCandidateError: there are too few nodes for parts that `must_fit` on different ones.
        """
        found = list(tasks)
        groups: dict[Siblings, list[int]] = {}
        for at, part in enumerate(parts):
            if part.siblings is not None:
                groups.setdefault(part.siblings, []).append(at)
        for siblings, places in groups.items():
            spread = await self._placer.spread(
                [tasks[at] for at in places],
                routing=parts[places[0]].request.routing,
                is_strict=siblings.distinct == Distinct.REQUIRE,
                must_fit=must_fit,
            )
            for at, task in zip(places, spread, strict=True):
                found[at] = task
        return found
