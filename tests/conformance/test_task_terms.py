"""Requirements beyond names: levels, labels and exclusions decide who is handed a task."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from meshd.backends import Backend
from meshd.nodes.model import Level
from meshd.tasks.model import Claimer, TaskState
from meshd.tasks.routing import offered, requirement
from tests.support.builders import a_claimer, a_task, answer_bell, claim_all, submit_one

LEVELS = {"python": Level.ADVANCED, "german": Level.NOVICE}
LABELS = {"zone": "eu", "memory_gb": "64", "disk.tb": "1.5", "offset": "-3", "build": "0x10", "size": "big"}
READER = replace(a_claimer("reader-1"), capabilities=offered(["gpu", "text.parse"], levels=LEVELS, labels=LABELS))

MET = [
    ["gpu"],
    ["text.parse", "gpu"],
    ["python"],
    ["python>=novice"],
    ["python>=intermediate"],
    ["python>=advanced"],
    ["german>=novice"],
    ["zone=eu"],
    ["zone!=us"],
    ["memory_gb=64"],
    ["memory_gb>=64"],
    ["memory_gb<=64"],
    ["memory_gb>63.5"],
    ["memory_gb<100"],
    ["memory_gb>9"],
    ["disk.tb>1", "disk.tb<2"],
    ["offset<0"],
    ["offset>=-3"],
    ["offset>-3.5"],
    ["rack!=7"],
    ["!reader-2"],
    ["!reader-2", "!reader-10"],
    ["python>=advanced", "zone=eu", "memory_gb>=16", "gpu", "!writer-1"],
]
UNMET = [
    ["tpu"],
    ["python>=expert"],
    ["german>=intermediate"],
    ["gpu>=novice"],
    ["french>=novice"],
    ["zone=us"],
    ["zone!=eu"],
    ["zone=eu-1"],
    ["zone"],
    ["memory_gb=64.0"],
    ["memory_gb>64"],
    ["memory_gb<64"],
    ["memory_gb>=64.5"],
    ["memory_gb>=100"],
    ["memory_gb<=9"],
    ["disk.tb>=2"],
    ["offset>0"],
    ["rack=7"],
    ["rack>=1"],
    ["rack<1"],
    ["build>=8"],
    ["build<=8"],
    ["size>1"],
    ["size<1"],
    ["!reader-1"],
    ["!reader-2", "!reader-1"],
    ["python>=advanced", "zone=eu", "memory_gb>=65", "gpu"],
    ["gpu", "zone=eu", "!reader-1"],
]


async def offer_after_submit(backend: Backend, requires: Sequence[str], claimer: Claimer) -> int:
    await submit_one(backend, a_task(requires=map(requirement, requires)))
    return len(await claim_all(backend, claimer))


@pytest.mark.parametrize("requires", MET, ids=",".join)
async def test_a_claimer_gets_a_task_whose_every_term_it_meets(backend: Backend, requires: list[str]) -> None:
    assert await offer_after_submit(backend, requires, READER) == 1


@pytest.mark.parametrize("requires", UNMET, ids=",".join)
async def test_a_claimer_does_not_get_a_task_with_a_term_it_does_not_meet(
    backend: Backend, requires: list[str]
) -> None:
    assert await offer_after_submit(backend, requires, READER) == 0


async def test_new_routes_are_matched_with_a_waiting_claimer_by_the_same_rules(backend: Backend) -> None:
    assert await claim_all(backend, READER) == []
    unmet = [a_task(requires=map(requirement, requires)) for requires in UNMET]
    await backend.tasks.submit(unmet)
    met = [a_task(requires=map(requirement, requires)) for requires in MET]
    await backend.tasks.submit(met)
    found = await answer_bell(backend, READER)
    assert {task.id for task in found} == {new.id for new in met}
    assert await claim_all(backend, READER) == []


async def test_a_new_claimer_is_matched_with_all_known_routes_by_the_same_rules(backend: Backend) -> None:
    await backend.tasks.submit([a_task(requires=map(requirement, requires)) for requires in UNMET])
    met = [a_task(requires=map(requirement, requires)) for requires in MET]
    await backend.tasks.submit(met)
    found = await claim_all(backend, READER)
    assert {task.id for task in found} == {new.id for new in met}


async def test_equal_offers_under_another_name_are_told_apart_by_exclusions(backend: Backend) -> None:
    twin = replace(READER, node_id="reader-2")
    assert await claim_all(backend, READER) == await claim_all(backend, twin) == []
    new = a_task(requires=["!reader-1", "gpu"])
    await submit_one(backend, new)
    assert await claim_all(backend, READER) == []
    assert [task.id for task in await answer_bell(backend, twin)] == [new.id]


async def test_a_claimer_whose_labels_change_gets_what_it_meets_now(backend: Backend) -> None:
    new = a_task(requires=["zone=us"])
    await submit_one(backend, new)
    assert await claim_all(backend, READER) == []
    moved = replace(READER, capabilities=offered([], labels={"zone": "us"}))
    assert [task.id for task in await claim_all(backend, moved)] == [new.id]
    assert await offer_after_submit(backend, ["zone=eu"], moved) == 0
    assert (await backend.tasks.counts())[TaskState.READY] == 1


async def test_a_level_that_rises_opens_the_tasks_that_asked_for_it(backend: Backend) -> None:
    new = a_task(requires=["german>=expert"])
    await submit_one(backend, new)
    assert await claim_all(backend, READER) == []
    taught = replace(READER, capabilities=offered([], levels={"german": Level.EXPERT}))
    assert [task.id for task in await claim_all(backend, taught)] == [new.id]


async def test_numbers_in_labels_are_decimal_and_nothing_else(backend: Backend) -> None:
    odd = {"a": "1e9", "b": "0x7fff", "c": "nan", "d": "inf", "e": "1_000", "f": ".5", "g": "5.", "h": "--5"}
    claimer = replace(a_claimer(), capabilities=offered([], labels=odd))
    for label in odd:
        for operator in (">=", "<=", ">", "<"):
            await submit_one(backend, a_task(requires=[f"{label}{operator}1"]))
    assert await claim_all(backend, claimer) == []
