"""The side without the hub: what it refuses, what it still answers, and that nothing of it is lost."""

import asyncio
from datetime import timedelta

import pytest

from meshd.nodes.model import Verdict
from meshd.tasks.voting import Vote
from tests.chaos.client import audit
from tests.faults.scene import steps
from tests.partitions.bed import Bed
from tests.support.namespaces import HUB
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MINORITY = (2, 3)
LEASE_S = 15.0
SOON = timedelta(seconds=30)


async def until_known(bed: Bed, machine: int, key: str, value: object) -> None:
    """Return once the node answers this value of the key."""

    async def is_known() -> bool:
        answer = await bed.ask(machine, "read", key=key)
        return answer.get("value") is not None and answer["value"]["value"] == value

    await wait_until(is_known, timeout=20, pause=0.1)


async def until_in_touch(bed: Bed, machine: int) -> None:
    """Return once what the node reads is not marked stale."""

    async def is_fresh() -> bool:
        return not (await bed.ask(machine, "read", key="plan"))["value"]["is_stale"]

    await wait_until(is_fresh, timeout=10, pause=0.1)


async def test_the_minority_refuses_what_needs_the_hub_and_answers_what_it_knows(bed: Bed) -> None:
    majority = [machine for machine in bed.machines if machine not in MINORITY]
    proposal = await bed.mesh.votes.propose("shall we?", electorate=["a", "b"])
    await bed.mesh.memory.put("plan", "before")
    for machine in bed.machines:
        await until_known(bed, machine, "plan", "before")
        assert not (await bed.ask(machine, "read", key="plan"))["value"]["is_stale"]

    bed.net.split(MINORITY, [HUB, *majority])
    for machine in MINORITY:
        await bed.until(machine, Verdict.DEAD)
    await bed.mesh.memory.put("plan", "after")
    questions = {
        "claim": {},
        "submit": {},
        "commit": {"key": "test/commit"},
        "vote": {"proposal": proposal.id, "voter": "a"},
        "lead": {"scope": "test"},
        "write": {"key": "plan", "value": "minority", "strategy": "strong"},
    }
    for machine in MINORITY:
        answers = dict(
            zip(
                questions,
                await asyncio.gather(*(bed.ask(machine, ask, **question) for ask, question in questions.items())),
                strict=True,
            )
        )
        assert {ask: answer.get("code") for ask, answer in answers.items() if ask != "lead"} == dict.fromkeys(
            set(questions) - {"lead"}, "store_unreachable"
        )
        assert answers["lead"]["code"] in ("store_unreachable", "deadline")
        read = (await bed.ask(machine, "read", key="plan"))["value"]
        assert (read["value"], read["is_stale"]) == ("before", True)
        assert read["silent_ms"] > 2_000
        note = await bed.ask(machine, "write", key=f"note/{machine}", value=machine)
        assert note["value"] == f"note/{machine}"
    for machine in majority:
        await until_known(bed, machine, "plan", "after")
        assert "value" in await bed.ask(machine, "claim")

    bed.net.heal()
    await bed.until_all_alive()
    for machine in bed.machines:
        await until_known(bed, machine, "plan", "after")
        for writer in MINORITY:
            await until_known(bed, machine, f"note/{writer}", writer)
        await until_in_touch(bed, machine)
    assert (await bed.mesh.votes.get(proposal.id)).votes == {}


async def test_work_goes_on_with_the_majority_and_nothing_ends_twice(bed: Bed) -> None:
    majority = [machine for machine in bed.machines if machine not in MINORITY]
    bed.net.split(MINORITY, [HUB, *majority])
    during = [await bed.mesh.tasks.submit("work", number=number) for number in range(200)]
    assert [await handle.result(timeout=SOON) for handle in during] == list(range(200))
    for machine in MINORITY:
        await bed.until(machine, Verdict.DEAD)
    after = [await bed.mesh.tasks.submit("work", number=number) for number in range(200)]
    assert [await handle.result(timeout=SOON) for handle in after] == list(range(200))
    bed.net.heal()
    await bed.until_all_alive()
    voted = await bed.mesh.tasks.submit("work", number=7, requires=Vote(electorate=["a"]))
    (vote,) = (await voted.status()).depends_on

    async def is_open() -> bool:
        return any(proposal.id == vote for proposal in await bed.mesh.votes.list())

    await wait_until(is_open, timeout=20)
    await bed.mesh.votes.vote(vote, "a", "yes")
    assert await voted.result(timeout=SOON) == 7
    completed = await steps(bed.mesh, "completed")
    assert sorted(completed) == sorted([*(handle.id for handle in (*during, *after, voted)), vote])
    assert (await audit(bed.mesh))[1] == []
