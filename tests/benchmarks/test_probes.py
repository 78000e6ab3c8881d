"""The benchmark of probes runs, and says what it is to say."""

from benchmarks.lab.report import markdown
from benchmarks.probes import measure


def test_probes_are_measured_at_every_size_asked_for() -> None:
    table = markdown([measure([3, 5], seconds=1.0)])
    assert "3 nodes: datagrams sent per node, /s | 4.0" in table
    assert "5 nodes: datagrams sent per node, /s | 8.0" in table
    assert "phi: one interval, both thresholds" in table
