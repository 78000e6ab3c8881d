"""The mesh learns who is good at what, and shares work by it: rows E14 to E17."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from meshd.groups.announced import Announced
from meshd.groups.model import AnnouncementState
from meshd.groups.reputation import mean_at
from meshd.groups.working import stalled
from tests.groups_processes.agents_process import Player
from tests.groups_processes.stage import SOON, Stage
from tests.support.waiting import wait_until

TASKS = 1_000


async def chores(stage: Stage, count: int, *, at_once: int = 20, name: str = "chore") -> Counter[str]:
    """Have so many announcements done; return how many each agent did."""
    turns = asyncio.Semaphore(at_once)

    async def chore(number: int) -> str:
        async with turns:
            made = await stage.mesh.groups.announce(name, skills=["x"], id=f"{name}-{number:04}")
            return str((await made.result(SOON))["x"]["agent"])

    return Counter(await asyncio.gather(*(chore(number) for number in range(count))))


async def shown(stage: Stage, player: Player) -> float:
    """Return the reputation of an agent, 0 to 1."""
    candidate = (await stage.agent(player.name)).candidate
    return mean_at(candidate.reputation, candidate.reputation.at_ms)


async def test_over_a_thousand_tasks_the_better_agent_does_more_and_nobody_is_left_out(stage: Stage) -> None:
    good = Player(name="good", skills=("x",), slots=10)
    usual = Player(name="usual", skills=("x",), slots=10)
    poor = Player(name="poor", skills=("x",), slots=10, fails_one_in=3)
    await stage.enter("one", good, poor)
    await stage.enter("two", usual)
    done = await chores(stage, TASKS)
    print(f"\nshares of {TASKS}: {dict(done)}")  # noqa: T201 -- a figure, shown by pytest -s
    assert done.total() == TASKS
    assert min(done["good"], done["usual"]) > 1.5 * done["poor"]
    assert done["poor"] > TASKS / 50
    await stage.until_free([good, usual, poor])
    assert await shown(stage, poor) < 0.75 < await shown(stage, good)


async def test_reputation_moves_later_choices_and_a_newcomer_gets_work(stage: Stage) -> None:
    shaky = Player(name="shaky", skills=("x",), fails_one_in=1)
    steady, newcomer = Player(name="steady", skills=("x",)), Player(name="newcomer", skills=("x",))
    await stage.enter("one", shaky, steady)
    first = await chores(stage, 40, at_once=1)
    assert set(first) == {"steady"}
    chosen = dict[str, str]()
    for entry in stage.journal():
        chosen.setdefault(entry.announcement, entry.agent)
    later = Counter(list(chosen.values())[10:])
    assert 0 < later["shaky"] < later["steady"] / 1.3, later
    assert await shown(stage, shaky) < 0.5 < await shown(stage, steady)
    await stage.enter("two", newcomer)
    then = await chores(stage, 40, at_once=1, name="later")
    assert then["newcomer"] >= 10, then


async def test_no_capable_agent_is_idle_while_another_has_more_than_it_can_take(stage: Stage, tmp_path: Path) -> None:
    players = [Player(name=f"agent-{number}", skills=("x",), slots=2) for number in range(4)]
    await stage.enter("one", *players[:2])
    await stage.enter("two", *players[2:])
    held = [tmp_path / f"held-{number}" for number in range(9)]
    made = [await stage.mesh.groups.announce("work", skills=["x"], payload={"hold": str(path)}) for path in held]
    await wait_until(lambda: count_running(stage, made, 8), timeout=30, pause=0.1)
    assert await stage.held(players) == {player.name: 2 for player in players}
    states = {each.id: (await each.status()).state for each in made}
    (waiting,) = [id for id, state in states.items() if state is not AnnouncementState.RUNNING]
    assert states[waiting] is AnnouncementState.ANNOUNCED
    busy = next(each for each in made if each.id != waiting)
    held[made.index(busy)].touch()
    await busy.result(SOON)
    await stage.until(waiting, AnnouncementState.RUNNING)
    for path in held:
        path.touch()
    await asyncio.gather(*(each.result(SOON) for each in made))
    await stage.until_free(players)


async def test_progress_is_readable_and_a_member_that_stalls_is_noticed(stage: Stage, tmp_path: Path) -> None:
    held = tmp_path / "held"
    await stage.enter("one", Player(name="frozen", skills=("x",)))
    await stage.enter("two", Player(name="lively", skills=("y",)))
    made = await stage.mesh.groups.announce(
        "work", skills=["x", "y"], payload={"update": True, "hold": str(held)}, id="steady-1"
    )

    async def both_half_done() -> bool:
        return [member.progress for member in (await made.status()).members.values()] == [0.5, 0.5]

    await wait_until(both_half_done, timeout=30)
    now = await made.status()
    last_ms = max(member.updated_ms for member in now.members.values())
    assert stalled(now, now_ms=last_ms + 9_000, after_ms=10_000) == ()
    late = stalled(now, now_ms=last_ms + 10_000, after_ms=10_000)
    assert {member.agent for member in late} == {"frozen", "lively"}
    held.touch()
    over = await made.outcome(SOON)
    assert stalled(over, now_ms=last_ms + 10_000, after_ms=10_000) == ()


async def count_running(stage: Stage, made: Sequence[Announced], wanted: int) -> bool:
    states = [(await each.status()).state for each in made]
    return states.count(AnnouncementState.RUNNING) == wanted
