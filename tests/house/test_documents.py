"""Documents point at things that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def links(document: Path) -> list[str]:
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    return [target.split("#")[0] for target in targets if not target.startswith(("http://", "https://", "#"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    assert [target for target in links(document) if not (document.parent / target).exists()] == []


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "adr"
    listed = set(links(folder / "README.md"))
    assert listed == {file.name for file in folder.glob("0*.md")}


def test_every_script_named_in_a_document_exists() -> None:
    named = {name for document in DOCUMENTS for name in re.findall(r"\bscripts/([a-z_-]+)", document.read_text())}
    assert [name for name in named if not (ROOT / "scripts" / name).exists()] == []


def test_every_script_of_the_justfile_can_be_run() -> None:
    named = re.findall(r"^    \./(\S+)", (ROOT / "justfile").read_text(), re.MULTILINE)
    assert [name for name in named if not (ROOT / name).stat().st_mode & 0o111] == []
