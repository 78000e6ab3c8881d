"""Milliseconds from submit to the handler's start, and to the result in the submitter's hands, 20 tasks a second.

Submitter and worker are two processes with nothing else to do. Percentiles are each round's own.
"""

from collections.abc import Mapping, Sequence
from statistics import quantiles

from benchmarks.lab.contenders import BARE, MESHD, SQLITE, Contender
from benchmarks.lab.report import Goal, Row, Section, at_most, times
from benchmarks.lab.rounds import Lab
from benchmarks.lab.site import Site

SAMPLES = 200
PERCENTILES = (50, 95, 99)
OURS_AND_BARE = frozenset({MESHD, SQLITE, BARE})
NOTE = "Each way of waiting for a result is the one the peer documents; results are kept in all of them."

Samples = Mapping[str, Sequence[float]]
"""Milliseconds: `start` and `result`."""


def calls(contender: Contender, *, count: int) -> Samples:
    """Return the latencies of `count` calls to one idle worker."""
    with Site(contender, results=True) as site:
        site.start_worker()
        samples: Samples = site.client("latency", count)
        return samples


def measure(lab: Lab) -> Section:
    found = lab.interleaved("latency", lambda contender: calls(contender, count=lab.count(SAMPLES)))
    rows = [_row(found, what, percentile) for what in ("start", "result") for percentile in PERCENTILES]
    return Section(title="idle latency", rows=rows, notes=[NOTE])


def percentile_of(values: Sequence[float], percentile: int) -> float:
    return quantiles(values, n=100)[percentile - 1]


def _row(found: Mapping[str, Sequence[Samples]], what: str, percentile: int) -> Row:
    values = {name: [percentile_of(samples[what], percentile) for samples in runs] for name, runs in found.items()}
    row = Row(name=f"submit to {what}, p{percentile}", unit="ms", values=values)
    return row.judged(*_goals(row, what, percentile))


def _goals(row: Row, what: str, percentile: int) -> list[Goal]:
    ours = row.middle()
    if (what, percentile) == ("start", 50):
        peers = [found for name in row.values if name not in OURS_AND_BARE and (found := row.middle(name))]
        return [
            at_most(ours, times(1.2, row.middle(BARE)), "≤ 1.2 × bare"),
            at_most(ours, min(peers, default=None), "below every peer"),
        ]
    if (what, percentile) == ("start", 99):
        return [at_most(ours, 2.0, "< 2 ms")]
    if (what, percentile) == ("result", 50):
        return [at_most(ours, 2.2, "≤ 2.2 ms")]
    return []
