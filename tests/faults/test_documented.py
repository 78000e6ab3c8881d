"""docs/reliability.md tells the truth: every test it names exists, and every fault tested here is in it."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMED = set(re.findall(r"`(tests/\S+?\.py)::(\w+)`", (ROOT / "docs" / "reliability.md").read_text()))
TEST = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)


def names_in(file: Path) -> set[tuple[str, str]]:
    return {(str(file.relative_to(ROOT)), name) for name in TEST.findall(file.read_text())}


def test_every_test_named_exists() -> None:
    assert [(path, name) for path, name in sorted(NAMED) if (path, name) not in names_in(ROOT / path)] == []


def test_every_fault_tested_here_is_described() -> None:
    files = set(Path(__file__).parent.glob("test_*.py")) - {Path(__file__)}
    tested = {test for file in files for test in names_in(file)}
    assert sorted(tested - NAMED) == []
