"""The commands under their one-word names: `mesh_status` is `mesh status`."""

import sys

from meshd_cli.main import run


def mesh_status() -> None:
    """Run `mesh status`."""
    sys.exit(run(["status", *sys.argv[1:]]))


def mesh_sync() -> None:
    """Run `mesh sync`."""
    sys.exit(run(["sync", *sys.argv[1:]]))


def mesh_agents() -> None:
    """Run `mesh agents`."""
    sys.exit(run(["agents", *sys.argv[1:]]))


def mesh_enable() -> None:
    """Run `mesh enable`."""
    sys.exit(run(["enable", *sys.argv[1:]]))


def mesh_disable() -> None:
    """Run `mesh disable`."""
    sys.exit(run(["disable", *sys.argv[1:]]))
