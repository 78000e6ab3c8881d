"""docs/requirements.md tells the truth: every row is there, and every test it names exists."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "requirements.md"
STATES = {"done", "partial", "later"}
LAST_ROWS = "A18 B33 C24 D13 E26 F14 G18 H16 I14 J21 K9 L24 M11 N10 O19 P10 Q9 R9 T16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    id: str
    item: str
    state: str
    tests: list[str]
    notes: str


def rows() -> list[Row]:
    found: list[Row] = []
    for line in TABLE.read_text().splitlines():
        if re.match(r"\| [A-T]\d+ \|", line):
            key, item, state, tests, notes = (cell.strip() for cell in line.strip().strip("|").split("|"))
            found.append(Row(id=key, item=item, state=state, tests=tests.replace("`", "").split(), notes=notes))
    return found


def exists(test: str) -> bool:
    path, _, name = test.partition("::")
    file = ROOT / path
    return file.is_file() and re.search(rf"def {re.escape(name)}\(", file.read_text()) is not None


def test_every_row_is_there_once_and_in_order() -> None:
    expected = [f"{last[0]}{number}" for last in LAST_ROWS.split() for number in range(1, int(last[1:]) + 1)]
    assert [row.id for row in rows()] == expected


def test_every_state_is_one_of_three() -> None:
    assert [row.id for row in rows() if row.state not in STATES] == []


def test_a_done_row_names_its_test() -> None:
    assert [row.id for row in rows() if row.state == "done" and not row.tests] == []


def test_a_partial_row_says_what_is_missing() -> None:
    assert [row.id for row in rows() if row.state == "partial" and not row.notes] == []


def test_every_test_named_exists() -> None:
    assert [(row.id, test) for row in rows() for test in row.tests if not exists(test)] == []
