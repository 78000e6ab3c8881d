"""The report says what was measured, what was not, and whether a goal was met."""

from benchmarks.lab.report import Row, Section, at_least, at_most, goals, markdown, times
from benchmarks.tasks import noise

RATES = Row(name="one worker", unit="tasks/s", values={"meshd": [90.0, 110.0, 100.0], "bullmq": [50.0], "bare": [4, 6]})


def test_a_row_shows_the_median_with_its_extremes_and_the_ratios() -> None:
    line = markdown([Section(title="speed", rows=[RATES])]).splitlines()[2]
    assert line == "| one worker, tasks/s | 100 (90.0–110) | 50.0 | 5.00 (4.00–6.00) | 2.00, 20.0 |"


def test_a_system_that_has_no_figure_leaves_its_cell_empty() -> None:
    other = Row(name="bytes", unit="B", values={"meshd": [1]})
    table = markdown([Section(title="speed", rows=[RATES, other])]).splitlines()
    assert table[3] == "| bytes, B | 1.00 |  |  | –, – |"


def test_a_goal_is_met_missed_or_not_measured() -> None:
    given = [
        at_least(RATES.middle(), times(1.3, RATES.middle("bullmq")), "≥ 1.3 × BullMQ"),
        at_most(RATES.middle(), 99, "≤ 99"),
        at_least(RATES.middle(), times(5, RATES.middle("taskiq")), "≥ 5 × taskiq"),
    ]
    assert goals([Section(title="speed", rows=[RATES.judged(*given)])]).splitlines()[2:] == [
        "| speed: one worker, tasks/s | 100 | ≥ 1.3 × BullMQ | 65.0 | met |",
        "| speed: one worker, tasks/s | 100 | ≤ 99 | 99.0 | MISSED |",
        "| speed: one worker, tasks/s | 100 | ≥ 5 × taskiq | – | not measured |",
    ]


def test_the_noise_is_how_far_the_bare_loop_moved() -> None:
    assert "by 40% between rounds" in noise([Section(title="speed", rows=[RATES])])
    assert "not known" in noise([])
