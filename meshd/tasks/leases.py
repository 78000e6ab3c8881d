"""What a lease can bear. Pure."""

from meshd.tasks.model import TaskTimings


def standstill_ms(timings: TaskTimings) -> int:
    """Return the time without a sweep over which the store itself may have stood still: half of what a lease can spare.

    Not less: nodes sweep at moments of their own, so gaps of several intervals are nothing special among them.
    """
    return max(1_000, 2 * timings.sweep_ms, (timings.lease_ms - timings.renew_ms) // 2)
