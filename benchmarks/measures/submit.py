"""Submits of one producer with nobody to take them: one by one, each acknowledged before the next, and in bulk."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.lab.contenders import BARE, Contender
from benchmarks.lab.report import Row, Section, at_least, times
from benchmarks.lab.rounds import Lab
from benchmarks.lab.site import Site

SINGLE = 8_000
NOTE = (
    "The bare loop awaits one XADD after another, and in bulk pipelines 100. Bulk is each peer's own: addBulk, "
    "enqueue_many, a gather of 100 where there is none (taskiq, SAQ), one by one for Huey."
)


def submits(contender: Contender, *, action: str, count: int) -> float:
    """Return how many one producer submits in a second."""
    with Site(contender) as site:
        timing: Mapping[str, Any] = site.client(action, count)
        return count / float(timing["seconds"])


def measure(lab: Lab) -> Section:
    single = lab.interleaved(
        "one by one",
        lambda contender: submits(contender, action="submit", count=lab.count(min(SINGLE, contender.tasks))),
    )
    bulk = lab.interleaved(
        "bulk", lambda contender: submits(contender, action="bulk", count=lab.count(contender.tasks))
    )
    return Section(title="submit", rows=_rows(single, bulk), notes=[NOTE])


def _rows(single: Mapping[str, Sequence[float]], bulk: Mapping[str, Sequence[float]]) -> list[Row]:
    one = Row(name="one by one", unit="tasks/s", values=single)
    many = Row(name="bulk", unit="tasks/s", values=bulk)
    return [
        one.judged(at_least(one.middle(), times(0.8, one.middle(BARE)), "≥ .8 × a bare XADD")),
        many.judged(at_least(many.middle(), 30_000, "≥ 30,000")),
    ]
