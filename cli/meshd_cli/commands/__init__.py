"""The commands, one file per noun."""

import typer

from meshd_cli import demo, processes
from meshd_cli.commands import (
    announce,
    config,
    dead,
    doctor,
    explain,
    groups,
    leader,
    memory,
    message,
    nodes,
    partitions,
    pausing,
    roles,
    shell,
    skills,
    status,
    submit,
    sync,
    tasks,
    topology,
    votes,
)


def register(app: typer.Typer) -> None:
    """Put every command on `app`, in the order help shows them."""
    processes.register(app)
    status.register(app)
    submit.register(app)
    dead.register(tasks.register(app))
    explain.register(app)
    announce.register(app)
    groups.register(app)
    skills.register(app)
    nodes.register(app)
    partitions.register(app)
    topology.register(app)
    memory.register(app)
    message.register(app)
    votes.register(app)
    leader.register(app)
    roles.register(app)
    pausing.register(app)
    sync.register(app)
    doctor.register(app)
    config.register(app)
    shell.register(app)
    demo.register(app)
