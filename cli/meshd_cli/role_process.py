"""A role of the mesh as a process: a node without agents and handlers that plays one role."""

from meshd.exit_codes import ExitCode
from meshd.ids import new_id
from meshd.nodes.model import NodeType
from meshd.runtime.entry import Ties
from meshd.settings import Settings
from meshd_cli import machine
from meshd_cli.node_process import NodeWords
from meshd_cli.session import Session


def play(session: Session, role: str, *, name: str, ties: Ties) -> ExitCode:
    """Play the role when elected, until told to end; return the process's exit code.

    Raises:
        ConfigurationError: the mesh is disabled here.
    """
    words = NodeWords(name=name or f"{role}-{new_id()[-6:].lower()}", type=NodeType.COORDINATOR)
    return machine.start(session, words, ties, settings=_settings_for(role, session.settings))


def _settings_for(role: str, settings: Settings) -> Settings:
    """Return the settings of a process that has no agents of its own and stands for this role alone."""
    roles = settings.roles.model_copy(update={"play": (role,)})
    without = {"agents": (), "auto_join_network": False, "capabilities": (), "labels": (), "specializations": ()}
    return settings.model_copy(update={**without, "roles": roles})
