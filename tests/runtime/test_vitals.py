"""What a node says of its own load."""

from time import process_time

from meshd.nodes.model import HISTORY_HALF_LIFE_S, HISTORY_TYPES, NodeStatus, TypeHistory
from meshd.runtime.vitals import CPU_WINDOW_SECONDS, Limits, Tally, VitalSigns


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


def test_history_halves_each_half_life_and_keeps_the_heaviest_types() -> None:
    now = 0.0
    tally = Tally(clock=lambda: now)
    for _ in range(4):
        tally.add("work", completed=True, elapsed_ms=10)
    tally.add("work", completed=False, elapsed_ms=60)
    assert tally.history() == {"work": TypeHistory(completed=4, failed=1, average_ms=20)}
    now = HISTORY_HALF_LIFE_S
    assert tally.history() == {"work": TypeHistory(completed=2, failed=0.5, average_ms=20)}
    for number in range(30):
        for _ in range(number):
            tally.add(f"t{number}", completed=True, elapsed_ms=1)
    assert list(tally.history()) == [f"t{number}" for number in range(29, 29 - HISTORY_TYPES, -1)]
    now += 30 * HISTORY_HALF_LIFE_S
    assert tally.history() == {}
    assert tally.read()[:2] == (4 + sum(range(30)), 1)


def test_a_node_over_its_memory_limit_is_degraded_until_it_is_well_below() -> None:
    def measured(signs: VitalSigns, status: NodeStatus = NodeStatus.ACTIVE) -> NodeStatus:
        return signs.measure(status=status, open_tasks=0).status

    used = VitalSigns(Tally()).measure(status=NodeStatus.ACTIVE, open_tasks=0).memory_mb
    assert measured(VitalSigns(Tally(), limits=Limits(memory_mb=2 * used))) is NodeStatus.ACTIVE
    over = VitalSigns(Tally(), limits=Limits(memory_mb=used / 2))
    assert [measured(over, status) for status in (NodeStatus.ACTIVE, NodeStatus.BUSY)] == [NodeStatus.DEGRADED] * 2
    assert measured(over, NodeStatus.SHUTTING_DOWN) is NodeStatus.SHUTTING_DOWN
    assert over.is_strained


def test_a_node_over_its_cpu_limit_is_degraded_and_recovers() -> None:
    now, cpu = 0.0, 0.0
    signs = VitalSigns(Tally(), limits=Limits(cpu_percent=50), clock=lambda: now, read_cpu=lambda: cpu)

    def after(percent: float) -> NodeStatus:
        nonlocal now, cpu
        now, cpu = now + CPU_WINDOW_SECONDS, percent
        return signs.measure(status=NodeStatus.ACTIVE, open_tasks=0).status

    ok, ill = NodeStatus.ACTIVE, NodeStatus.DEGRADED
    assert [after(90) for _ in range(3)] == [ok, ill, ill], "one reading is smoothed away"
    assert [after(48) for _ in range(6)] == [ill] * 6, "under the limit, not well below it"
    assert [after(30) for _ in range(2)] == [ok, ok]
