"""meshd: a coordination service for fleets of agents. The names below are the SDK; they load when first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshd.groups.announced import Announced
    from meshd.groups.model import Skill, SkillNeed
    from meshd.mesh import Mesh
    from meshd.messages.model import Message
    from meshd.nodes.model import Agent, Level
    from meshd.runtime.agents import AutonomousAgent, GroupTask
    from meshd.runtime.context import TaskContext
    from meshd.runtime.node import Node
    from meshd.runtime.signals import Reject, Retry
    from meshd.runtime.voting import Ballot
    from meshd.settings import Settings
    from meshd.sync import SyncMesh
    from meshd.tasks.fan_out import FanOut
    from meshd.tasks.model import Priority, TaskState
    from meshd.tasks.request import TaskRequest
    from meshd.tasks.service import TaskHandle
    from meshd.tasks.voting import Vote
    from meshd.votes.model import Choice, Proposal, ProposalState, Quorum

_HOMES = {
    "Agent": "meshd.nodes.model",
    "Announced": "meshd.groups.announced",
    "AutonomousAgent": "meshd.runtime.agents",
    "Ballot": "meshd.runtime.voting",
    "Choice": "meshd.votes.model",
    "FanOut": "meshd.tasks.fan_out",
    "GroupTask": "meshd.runtime.agents",
    "Level": "meshd.nodes.model",
    "Mesh": "meshd.mesh",
    "Message": "meshd.messages.model",
    "Node": "meshd.runtime.node",
    "Priority": "meshd.tasks.model",
    "Proposal": "meshd.votes.model",
    "ProposalState": "meshd.votes.model",
    "Quorum": "meshd.votes.model",
    "Reject": "meshd.runtime.signals",
    "Retry": "meshd.runtime.signals",
    "Settings": "meshd.settings",
    "Skill": "meshd.groups.model",
    "SkillNeed": "meshd.groups.model",
    "SyncMesh": "meshd.sync",
    "TaskContext": "meshd.runtime.context",
    "TaskHandle": "meshd.tasks.service",
    "TaskRequest": "meshd.tasks.request",
    "TaskState": "meshd.tasks.model",
    "Vote": "meshd.tasks.voting",
}

__all__ = [
    "Agent",
    "Announced",
    "AutonomousAgent",
    "Ballot",
    "Choice",
    "FanOut",
    "GroupTask",
    "Level",
    "Mesh",
    "Message",
    "Node",
    "Priority",
    "Proposal",
    "ProposalState",
    "Quorum",
    "Reject",
    "Retry",
    "Settings",
    "Skill",
    "SkillNeed",
    "SyncMesh",
    "TaskContext",
    "TaskHandle",
    "TaskRequest",
    "TaskState",
    "Vote",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'meshd' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
