"""A network with a hub and five nodes; skipped with the reason where namespaces cannot be made."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.partitions.bed import Bed, bed_of
from tests.support.namespaces import why_not


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    if reason := why_not():
        pytest.skip(reason)
    async with bed_of(5, tmp_path) as made:
        yield made


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=2, help="how often each kind of cut is made and judged")
    parser.addoption("--minutes", type=float, default=0.5, help="how long nobody may be declared dead in bad weather")


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    return int(str(request.config.getoption("--rounds", default=2)))


@pytest.fixture
def minutes(request: pytest.FixtureRequest) -> float:
    return float(str(request.config.getoption("--minutes", default=0.5)))
