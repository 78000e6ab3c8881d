"""What this machine keeps about its own processes, and where: the one place that spells these paths."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StateDir:
    """The folder of one checkout or one user; two of them never see each other's processes."""

    root: Path

    @property
    def run(self) -> Path:
        """PID files of supervised nodes, `<name>.pid`."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """One log per process, `<name>.log`, and the one before it, `<name>.log.1`."""
        return self.root / "logs"

    @property
    def supervisor_pid(self) -> Path:
        return self.root / "supervisor.pid"

    @property
    def supervisor_lock(self) -> Path:
        return self.root / "supervisor.lock"

    @property
    def fleet(self) -> Path:
        """What the supervisor last said about its nodes."""
        return self.root / "fleet.json"

    @property
    def local_pid(self) -> Path:
        """PID file of the node that `mesh enable` started."""
        return self.root / "node.pid"

    @property
    def local_lock(self) -> Path:
        return self.root / "node.lock"

    @property
    def local_name(self) -> Path:
        """Id of this machine's node: outlives the process, so that the node comes back as the one it was."""
        return self.root / "node.name"

    @property
    def local_home(self) -> Path:
        """Mesh and store that this machine's node joined, for people: one line, without a password."""
        return self.root / "node.home"

    def memory_file(self, mesh: str, node: str, *, number: int = 1) -> Path:
        """Replica of the shared memory that a node keeps here."""
        return self.root / "memory" / f"{mesh}.{node}{'' if number == 1 else f'.{number}'}.db"

    @property
    def views(self) -> Path:
        """What each node here sees of the others: `OwnView`."""
        return self.root / "views"

    def view_file(self, mesh: str, node: str) -> Path:
        return self.views / f"{mesh}@{node}.json"

    def pid_file(self, name: str) -> Path:
        return self.run / f"{name}.pid"

    def log_file(self, name: str) -> Path:
        return self.logs / f"{name}.log"
