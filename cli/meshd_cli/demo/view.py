"""What a person sees while the demo runs: a bar and a table on a terminal, a line now and then anywhere else."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from meshd.nodes.model import Node, Verdict

_STEP_PERCENT = 10
_COLORS = {Verdict.ALIVE: "green", Verdict.SUSPECT: "yellow", Verdict.PARTITIONED: "magenta", Verdict.DEAD: "red"}


class View(Protocol):
    """Where the run reports to."""

    def say(self, text: str) -> None:
        """Tell one thing that happened."""
        ...

    def progress(self, done: int, total: int) -> None:
        """Tell how many tasks have ended."""
        ...

    def nodes(self, nodes: Sequence[Node], completed_by: Mapping[str, int]) -> None:
        """Tell who is there."""
        ...


class PlainView:
    """One line per event and per tenth of the work."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_percent = _STEP_PERCENT

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def progress(self, done: int, total: int) -> None:
        percent = 100 * done // total
        if percent >= self._next_percent:
            self.say(f"{percent:3d} %  {done} of {total} tasks ended")
            self._next_percent = percent - percent % _STEP_PERCENT + _STEP_PERCENT

    def nodes(self, nodes: Sequence[Node], completed_by: Mapping[str, int]) -> None:
        del nodes, completed_by


class LiveView:
    """A progress bar over a table of nodes, redrawn in place; what is said scrolls above."""

    def __init__(self, console: Console, live: Live) -> None:
        self._console = console
        self._live = live
        self._bar = Progress(
            TextColumn("tasks"), BarColumn(bar_width=40), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self._tasks = self._bar.add_task("tasks", total=None)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def progress(self, done: int, total: int) -> None:
        self._bar.update(self._tasks, completed=done, total=total)

    def nodes(self, nodes: Sequence[Node], completed_by: Mapping[str, int]) -> None:
        self._live.update(Group(self._bar, node_table(nodes, completed_by)))


@contextmanager
def open_view(console: Console) -> Generator[View, None, None]:
    """Return the view that suits the console, for the length of the block."""
    if not console.is_terminal:
        yield PlainView(console)
        return
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        yield LiveView(console, live)


def node_table(nodes: Sequence[Node], completed_by: Mapping[str, int]) -> Table:
    """Return the nodes as a table."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("node", "type", "verdict", "status"):
        table.add_column(heading)
    for heading in ("open", "done", "cpu %", "MiB"):
        table.add_column(heading, justify="right")
    for node in nodes:
        vitals, color = node.vitals, _COLORS[node.verdict]
        table.add_row(
            node.id,
            node.profile.type,
            Text(node.verdict, style=color),
            vitals.status,
            str(vitals.open_tasks),
            str(completed_by.get(node.id, 0)),
            f"{vitals.cpu_percent:.0f}",
            f"{vitals.memory_mb:.0f}",
        )
    return table
