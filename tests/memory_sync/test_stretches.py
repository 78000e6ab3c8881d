"""A replica does not read what it made of the hub's changes itself, and misses nothing that others made between."""

from meshd.memory.replication.following import Stretches


def test_a_stretch_is_passed_over_once_everything_before_it_was_taken() -> None:
    made = Stretches()
    made.add(3, 5, generation="g")
    made.add(5, 9, generation="g")
    made.add(12, 14, generation="g")
    assert made.end_of(2, generation="g") == 2
    assert made.gap_after(2, generation="g", most=100) == 1
    assert made.end_of(3, generation="g") == 9
    assert made.gap_after(9, generation="g", most=100) == 3
    assert made.end_of(13, generation="g") == 14
    assert made.gap_after(14, generation="g", most=100) == 100


def test_stretches_of_other_data_count_for_nothing() -> None:
    made = Stretches()
    made.add(0, 5, generation="g")
    assert made.end_of(0, generation="h") == 0
    made.add(0, 3, generation="h")
    assert made.end_of(0, generation="g") == 0
    assert made.end_of(0, generation="h") == 3


def test_a_push_that_changed_nothing_is_no_stretch() -> None:
    made = Stretches()
    made.add(7, 7, generation="g")
    assert made.end_of(7, generation="g") == 7
    assert made.gap_after(2, generation="g", most=50) == 50


def test_of_stretches_without_end_the_earliest_are_forgotten() -> None:
    made = Stretches()
    for start in range(0, 10_000, 2):
        made.add(start, start + 1, generation="g")
    assert made.end_of(0, generation="g") == 0
    assert made.end_of(8_000, generation="g") == 8_001
