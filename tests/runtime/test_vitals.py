"""What a node says of its own load."""

from time import process_time

from meshd.nodes.model import NodeStatus
from meshd.runtime.vitals import CPU_WINDOW_SECONDS, Tally, VitalSigns


def test_cpu_is_read_over_a_window_long_enough_to_mean_something() -> None:
    now = 0.0
    signs = VitalSigns(Tally(), clock=lambda: now)

    def cpu() -> float:
        return signs.measure(status=NodeStatus.ACTIVE, open_tasks=0).cpu_percent

    burnt_from = process_time()
    while process_time() - burnt_from < 0.05:
        pass
    assert cpu() == 0.0
    now = CPU_WINDOW_SECONDS
    read = cpu()
    assert read > 0
    assert [cpu() for _ in range(20)] == [read] * 20
