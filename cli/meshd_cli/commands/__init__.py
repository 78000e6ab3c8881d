"""The commands, one file per noun."""

import typer

from meshd_cli import demo, processes
from meshd_cli.commands import config, doctor, nodes, shell, status, submit, sync, tasks


def register(app: typer.Typer) -> None:
    """Put every command on `app`, in the order help shows them."""
    processes.register(app)
    status.register(app)
    submit.register(app)
    tasks.register(app)
    nodes.register(app)
    sync.register(app)
    doctor.register(app)
    config.register(app)
    shell.register(app)
    demo.register(app)
