"""Speed and success of a replica's syncing are those of the last minute."""

from meshd.memory.replication.pace import Pace


class Seconds:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_sums_are_of_the_last_minute() -> None:
    clock = Seconds()
    pace = Pace(clock)
    pace.moved(5)
    pace.tried(is_done=False)
    clock.now += 30
    pace.moved(2)
    pace.tried(is_done=True)
    assert pace.sums() == (7, 2, 1)
    clock.now += 30
    assert pace.sums() == (2, 1, 0)
    clock.now += 30
    assert pace.sums() == (0, 0, 0)


def test_many_seconds_take_no_more_room_than_a_minute() -> None:
    clock = Seconds()
    pace = Pace(clock)
    for _ in range(600):
        clock.now += 1
        pace.moved(1)
    assert pace.sums() == (60, 0, 0)
