"""Every kind of cut is told for what it is, and forgotten after it healed: `pytest tests/partitions --rounds 10`."""

import time
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from meshd.nodes.model import Verdict
from meshd.nodes.service import Connectivity
from tests.partitions.bed import Bed
from tests.support.namespaces import HUB
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]

NOTICED_S = 15.0
HEALED_S = 15.0
WATCHED_S = 8.0
"""How long nobody may be declared dead, where nobody is."""


async def until_seen(bed: Bed, is_right: Callable[[Connectivity], bool], *, timeout: float = NOTICED_S) -> Connectivity:
    """Return what the hub knows once it is right."""
    found = await bed.mesh.nodes.connectivity()

    async def look() -> bool:
        nonlocal found
        found = await bed.mesh.nodes.connectivity()
        return is_right(found)

    try:
        await wait_until(look, timeout=timeout, pause=0.1)
    except AssertionError:
        verdicts = {machine: await bed.verdict(machine) for machine in bed.machines}
        raise AssertionError(f"cut {bed.net.cuts()}, seen {found}, verdicts {verdicts}") from None
    return found


async def until_told(bed: Bed, event: str, *, times: int) -> None:
    """Return once the log of nodes has so many of these events."""

    async def is_told() -> bool:
        return [each for each, _ in await bed.node_events()].count(event) >= times

    await wait_until(is_told, timeout=NOTICED_S, pause=0.1)


async def heal_in_any_order(bed: Bed, rng: Random) -> None:
    """Mend one link after the other, and return once the mesh is whole and everybody is back."""
    links = sorted({(min(pair), max(pair)) for pair in bed.net.cuts()})
    rng.shuffle(links)
    for one, other in links:
        bed.net.mend(one, other)
    await until_seen(bed, lambda found: found.is_whole and not found.edge_faults, timeout=HEALED_S)
    for machine in bed.machines:
        await bed.until(machine, Verdict.ALIVE, timeout=HEALED_S)


async def watch(bed: Bed, is_fine: Callable[[], Awaitable[object]], *, seconds: float = WATCHED_S) -> None:
    """Return after that long, if it was fine all the time."""
    end = time.monotonic() + seconds

    async def is_over() -> bool:
        assert await is_fine(), f"cut {bed.net.cuts()}, seen {await bed.mesh.nodes.connectivity()}"
        return time.monotonic() > end

    await wait_until(is_over, timeout=seconds + 5, pause=0.2)


async def test_a_node_cut_from_the_hub_alone_is_partitioned_and_nobody_is_dead(bed: Bed, rounds: int) -> None:
    rng = Random(1)
    for number in range(rounds):
        victim = rng.choice(bed.machines)
        bed.net.cut(victim, HUB)
        found = await until_seen(bed, lambda found: list(found.cut_from_hub) == [bed.name(victim)])  # noqa: B023 -- called before it changes
        assert not found.unheard
        assert await bed.verdict(victim) is Verdict.PARTITIONED
        (whole,) = found.partitions
        assert set(whole.nodes) == set(map(bed.name, bed.machines))
        assert set(whole.hub) == set(map(bed.name, bed.machines)) - {bed.name(victim)}
        await until_told(bed, "partitioned", times=number + 1)
        await heal_in_any_order(bed, rng)
        await until_told(bed, "recovered", times=number + 1)
    assert [node for event, node in await bed.node_events() if event == "dead"] == []


@pytest.mark.parametrize("is_one_way", [False, True], ids=["both ways", "one way"])
async def test_a_cut_between_two_nodes_is_an_edge_fault_and_nobody_is_dead(
    bed: Bed, rounds: int, is_one_way: bool
) -> None:
    rng = Random(2)
    for _ in range(rounds):
        source, target = rng.sample(bed.machines, 2)
        (bed.net.cut_one_way if is_one_way else bed.net.cut)(source, target)
        edge = tuple(sorted((bed.name(source), bed.name(target))))
        found = await until_seen(bed, lambda found: list(found.edge_faults) == [edge])  # noqa: B023 -- called before it changes
        assert found.is_whole
        assert not found.unheard

        async def are_all_alive() -> bool:
            return {await bed.verdict(machine) for machine in bed.machines} == {Verdict.ALIVE}

        await watch(bed, are_all_alive)
        await heal_in_any_order(bed, rng)
    assert [node for event, node in await bed.node_events() if event in ("dead", "partitioned")] == []


async def test_a_node_that_can_only_be_talked_to_is_partitioned(bed: Bed, rounds: int) -> None:
    """Nothing passes from the node to the hub; the other way stays open, and so do the ways to the other nodes."""
    rng = Random(3)
    for number in range(rounds):
        victim = rng.choice(bed.machines)
        bed.net.cut_one_way(*((victim, HUB) if number % 2 == 0 else (HUB, victim)))
        found = await until_seen(bed, lambda found: list(found.cut_from_hub) == [bed.name(victim)])  # noqa: B023 -- called before it changes
        assert not found.unheard
        await heal_in_any_order(bed, rng)
    assert [node for event, node in await bed.node_events() if event == "dead"] == []


async def test_a_split_leaves_the_side_with_the_hub_at_work_and_the_other_out(bed: Bed, rounds: int) -> None:
    rng = Random(4)
    for _ in range(rounds):
        minority = sorted(rng.sample(bed.machines, 2))
        majority = [machine for machine in bed.machines if machine not in minority]
        bed.net.split(minority, [HUB, *majority])
        found = await until_seen(bed, lambda found: sorted(found.unheard) == list(map(bed.name, minority)))  # noqa: B023 -- called before it changes
        assert not found.cut_from_hub
        assert {await bed.verdict(machine) for machine in majority} == {Verdict.ALIVE}
        assert set(found.partitions[0].nodes) >= set(map(bed.name, majority))
        for machine in minority:
            await bed.until(machine, Verdict.DEAD)
        await heal_in_any_order(bed, rng)
    dead = {node for event, node in await bed.node_events() if event == "dead"}
    assert dead
