"""The runs that have a name: their numbers are in the documents, so they are in one place."""

from collections.abc import Callable, Mapping

from tests.chaos.run import Run


def quick(backend: str) -> Run:
    """A minute's run, for every change."""
    return Run(
        backend=backend,
        tasks=3_000,
        kills=6,
        freezes=2,
        leaves=1,
        store_kills=1 if backend == "redis" else 0,
        lost_answers=0.002,
        concurrency=4,
        timeout_s=120,
    )


def slow(backend: str) -> Run:
    """A few minutes' run."""
    return Run(
        backend=backend,
        tasks=20_000,
        kills=30,
        freezes=4,
        leaves=2,
        store_kills=2 if backend == "redis" else 0,
        lost_answers=0.001,
        timeout_s=400,
    )


def full(backend: str) -> Run:
    """The run of `docs/reliability.md`; Redis syncs every write."""
    return Run(
        backend=backend,
        tasks=100_000,
        kills=60,
        freezes=8,
        leaves=8,
        store_kills=4 if backend == "redis" else 0,
        lost_answers=0.001,
        fsync="always",
        timeout_s=2_400,
    )


SUITES: Mapping[str, Callable[[str], Run]] = {"quick": quick, "slow": slow, "full": full}
