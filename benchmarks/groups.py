"""What choosing a group costs, by CPU time: holders scored and ranked, offers made, groups chosen, why-not answered.

First what each announcement costs whoever chooses its group, without a store; then, over Redis, how long it takes to
find the holders it asks.

`python -m benchmarks.groups [--rounds 3]`
"""

import argparse
import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.lab.contenders import MESHD
from benchmarks.lab.report import Row, Section, markdown
from benchmarks.lab.servers import Server
from meshd.backends import BackendOptions, open_backend
from meshd.groups.covering import Cover, cover
from meshd.groups.model import Announcement, Candidate, Offer, Reputation, Skill, SkillNeed
from meshd.groups.obstacles import unblocking
from meshd.groups.registry import Registry
from meshd.groups.scoring import offer_of, ranked
from meshd.groups.skill_index import INDEX_MS, MOST_ASKED, Rows
from meshd.nodes.model import Level

NOW = 1_700_000_000_000
HOLDERS = (10, 100, 1_000, 10_000)
"""Of each skill."""
FOUR = ("collect", "clean", "model", "plot")
MAX_SIZE = 5
LOOK_UPS = 20
ON_EACH = (1, 100)


def holders(names: Sequence[str], *, of_each: int, skills_each: int = 1) -> list[Candidate]:
    """Return agents with a past, so many for each of the skills, each with `skills_each` of them."""
    rng, found = Random(7), list[Candidate]()
    for number in range(of_each * len(names) // skills_each):
        first = number % len(names)
        held = [names[first], *rng.sample([*names[:first], *names[first + 1 :]], skills_each - 1)]
        skills = {name: _practised(name, rng) for name in held}
        reputation = Reputation(completed=rng.uniform(0, 50), failed=rng.uniform(0, 10), at_ms=NOW - 60_000)
        taken = rng.randint(0, 3)
        found.append(Candidate(agent=f"agent-{number:06}", skills=skills, reputation=reputation, taken=taken))
    return found


def _practised(name: str, rng: Random) -> Skill:
    return Skill(
        name=name,
        level=rng.choice([Level.ADVANCED, Level.EXPERT]),
        success_rate=rng.uniform(0.7, 1.0),
        completed=rng.uniform(0, 50),
        failed=rng.uniform(0, 10),
        measured_ms=rng.uniform(1_000, 90_000),
        at_ms=NOW - 60_000,
    )


def offers_of(candidates: Sequence[Candidate], needs: Sequence[SkillNeed]) -> list[Offer]:
    return [offer for one in candidates if (offer := offer_of(one, needs, NOW)) is not None]


def asked(candidates: Sequence[Candidate], needs: Sequence[SkillNeed]) -> Cover | None:
    """Return the group an announcement makes of the holders it asks."""
    offers = offers_of(candidates, needs)
    return cover([need.name for need in needs], offers, max_size=MAX_SIZE, salt="work-1")


def millis(work: Callable[[], object], *, times: int) -> float:
    """Return the median time of one call."""
    taken: list[float] = []
    for _ in range(times):
        began = time.process_time()
        work()
        taken.append((time.process_time() - began) * 1000)
    return median(taken)


def measured(name: str, work: Callable[[], object], *, size: int, rounds: int) -> Row:
    times = max(3, 2_000 // size)
    return Row(name=name, unit="ms", values={MESHD: [millis(work, times=times) for _ in range(rounds)]})


def choosing(of_each: int, *, rounds: int) -> list[Row]:
    """Return what one announcement costs with so many holders of each skill."""
    one, needs = SkillNeed(name=FOUR[0], level=Level.ADVANCED), [SkillNeed(name=name) for name in FOUR]
    single = holders([one.name], of_each=of_each)
    every = holders(FOUR, of_each=of_each)
    mixed = holders(FOUR, of_each=of_each, skills_each=2)
    work = Announcement(id="work-1", initiator="boss", needs=(*needs, SkillNeed(name="none")), max_size=MAX_SIZE)
    found = every[: MOST_ASKED * len(FOUR)]
    offered, offered_two = offers_of(every, needs), offers_of(mixed, needs)
    jobs: dict[str, Callable[[], object]] = {
        "holders of one skill ranked": partial(ranked, single, one, NOW),
        "offers of four skills": partial(offers_of, every, needs),
        "group of four skills, one each": partial(cover, FOUR, offered, max_size=MAX_SIZE, salt="work-1"),
        "group of four skills, two each": partial(cover, FOUR, offered_two, max_size=MAX_SIZE, salt="work-1"),
        "64 of each asked, and a group of four skills": partial(asked, found, needs),
        "what would unblock it": partial(unblocking, work, every, NOW),
    }
    label = f"{of_each:,} holders of each"
    return [measured(f"{job}, {label}", job_of, size=of_each, rounds=rounds) for job, job_of in jobs.items()]


def searching(*, rounds: int) -> list[Row]:
    """Return what the search costs where skills overlap as they like: exact up to seven skills, greedy beyond."""
    rows: list[Row] = []
    for count in (4, 7, 12, 20):
        rng, names = Random(7), [f"skill-{number}" for number in range(count)]
        offers = [
            Offer(
                agent=f"agent-{number:04}",
                incarnation=1,
                skills=tuple(rng.sample(names, rng.randint(1, min(4, count)))),
                score=rng.uniform(0.4, 0.9),
                availability=1.0,
            )
            for number in range(1_000)
        ]
        job = partial(cover, names, offers, max_size=count)
        rows.append(measured(f"group of {count} skills, 1,000 offers at random", job, size=100, rounds=rounds))
    return rows


async def finding(url: str, *, of_each: int, on_each: int, rounds: int) -> Row:
    """Return how long one look-up of the holders of a skill takes, each by somebody who has not looked before."""
    backend = await open_backend(url, BackendOptions(mesh=f"bench-{of_each}-{on_each}"))
    try:
        agents = holders([FOUR[0]], of_each=of_each)
        for first in range(0, of_each, on_each):
            rows = Rows(backend.records, node=f"node-{first:06}", ttl_ms=INDEX_MS)
            await rows.show(agents[first : first + on_each], incarnation=1)
        taken: list[float] = []
        for number in range(rounds * LOOK_UPS):
            asking = Registry(backend.records)
            began = time.perf_counter()
            found = await asking.holders(FOUR[0], level=Level.ADVANCED, salt=f"work-{number}", most=MOST_ASKED)
            taken.append((time.perf_counter() - began) * 1000)
            if len(found) != min(MOST_ASKED, of_each):
                raise RuntimeError(f"{len(found)} of {of_each} holders found")
    finally:
        await backend.aclose()
    return Row(
        name=f"up to {MOST_ASKED} holders found over Redis, of {of_each:,}, {on_each} on a node",
        unit="ms",
        values={MESHD: taken},
    )


def measure(*, rounds: int) -> Section:
    rows = [row for of_each in HOLDERS for row in choosing(of_each, rounds=rounds)]
    with TemporaryDirectory() as folder, Server(Path(folder)) as server:
        found = [
            asyncio.run(finding(server.url, of_each=of_each, on_each=on_each, rounds=rounds))
            for on_each in ON_EACH
            for of_each in HOLDERS
        ]
    return Section(title="groups", rows=[*rows, *searching(rounds=rounds), *found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(markdown([measure(rounds=options.rounds)]))


if __name__ == "__main__":
    main()
