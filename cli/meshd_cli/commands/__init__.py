"""The commands, one file per noun."""

import typer

from meshd_cli import demo, processes
from meshd_cli.commands import config, dead, doctor, explain, memory, nodes, pausing, shell, status, submit, sync, tasks


def register(app: typer.Typer) -> None:
    """Put every command on `app`, in the order help shows them."""
    processes.register(app)
    status.register(app)
    submit.register(app)
    dead.register(tasks.register(app))
    explain.register(app)
    nodes.register(app)
    memory.register(app)
    pausing.register(app)
    sync.register(app)
    doctor.register(app)
    config.register(app)
    shell.register(app)
    demo.register(app)
