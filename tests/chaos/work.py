"""The run's tasks: drawn from a seed, so the same number means the same work in every run."""

from random import Random

from meshd import Settings
from meshd.tasks.model import Priority
from meshd.tasks.request import TaskRequest

LONG_SHARE = 0.01
"""Tasks that still run at their heir when a frozen node wakes and finishes them as well."""
SLOW_SHARE = 0.15
FLAKY_SHARE = 0.05

LEASE_S = 3.0
NODE_TIMEOUT_S = 1.5
SWEEP_S = 0.1


def brisk_settings(mesh: str, *, max_crashes: int = 20) -> Settings:
    """Timings short enough to see many deaths in a minute; limits no chance of the nemesis can reach."""
    return Settings.load(
        mesh=mesh,
        heartbeat_interval_seconds=0.2,
        node_timeout_seconds=NODE_TIMEOUT_S,
        store_timeout_seconds=3.0,
        tasks={"lease_seconds": LEASE_S, "renew_seconds": 1.0, "sweep_seconds": SWEEP_S, "poll_seconds": 0.5},
        task_distribution={"max_task_crashes": max_crashes},
        logging={"level": "WARNING"},
    )


def request(number: int, *, seed: int) -> TaskRequest:
    """Return the run's task of this number; its idempotency key makes a repeated submit harmless."""
    rng = Random(f"{seed}/{number}")
    kind = rng.random()
    if kind < LONG_SHARE:
        task_type, ms = "slow", rng.uniform(600, 1_500)
    elif kind < LONG_SHARE + SLOW_SHARE:
        task_type, ms = "slow", rng.uniform(20, 500)
    elif kind < LONG_SHARE + SLOW_SHARE + FLAKY_SHARE:
        task_type, ms = "flaky", rng.uniform(0, 5)
    else:
        task_type, ms = "short", rng.uniform(0, 5)
    priority = rng.choices(list(Priority), weights=[1, 2, 10, 2, 1])[0]
    return TaskRequest(
        type=task_type,
        payload={"number": number, "ms": round(ms, 2)},
        priority=priority,
        idempotency_key=f"request-{number}",
    )
