"""The demo's report: a table for people, a JSON file for machines."""

import json
from collections.abc import Iterable
from pathlib import Path

from rich.console import RenderableType
from rich.table import Table

from meshd.errors import InvalidArgumentError
from meshd_cli.demo.findings import Findings, most_common
from meshd_cli.demo.ledger import Facts
from meshd_cli.demo.run import Outcome


def check_writable(path: Path) -> None:
    """Return if a report can be written to `path`: better to know before the run than after.

    Raises:
        InvalidArgumentError: it cannot.
    """
    try:
        with path.open("a", encoding="utf-8"):
            pass
    except OSError as exc:
        raise InvalidArgumentError(f"report {path} cannot be written: {exc.strerror}") from exc


def write(path: Path, facts: Facts) -> None:
    """Write the facts as JSON."""
    path.write_text(json.dumps(facts.as_dict(), indent=2) + "\n", encoding="utf-8")


def view(outcome: Outcome) -> Iterable[RenderableType]:
    """Return the report for people."""
    yield _table("What the files say", _said(outcome.findings))
    yield ""
    yield _table("What the mesh did", _done(outcome.facts))


def _table(title: str, rows: list[tuple[str, str]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _said(found: Findings) -> list[tuple[str, str]]:
    return [
        ("files", f"{found.files:,}"),
        ("words", f"{found.words:,} in {found.sentences:,} sentences"),
        ("reading time", f"{found.reading_minutes / 60:.1f} hours at 200 words a minute"),
        ("languages", most_common(found.languages)),
        ("feeling", most_common(found.feelings)),
        ("key terms", most_common(found.terms, 8)),
        ("found, each once", _entities(found)),
    ]


def _entities(found: Findings) -> str:
    emails, urls, phones, dates = (len(kind) for kind in (found.emails, found.urls, found.phones, found.dates))
    return f"{emails} e-mail addresses, {urls} URLs, {phones} phone numbers, {dates} dates"


def _done(facts: Facts) -> list[tuple[str, str]]:
    per_node = ", ".join(f"{name} {count}" for name, count in facts.per_node.items())
    return [
        ("submitted", f"{facts.submitted:,}"),
        ("completed", f"{facts.completed:,}"),
        ("re-run", f"{facts.rerun:,}  (started again after their node was killed)" if facts.rerun else "0"),
        ("lost", f"{facts.lost:,}"),
        ("double completions", f"{facts.double_completions:,}"),
        ("killed", ", ".join(facts.killed) or "none"),
        ("tasks per node", per_node or "none"),
        ("queue time", f"p50 {facts.queue_p50_ms:,.0f} ms, p99 {facts.queue_p99_ms:,.0f} ms from submit to start"),
        ("seconds", f"{facts.seconds:.1f}, {facts.completed / max(facts.seconds, 0.001):,.0f} tasks a second"),
        ("backend", facts.backend),
    ]
