"""The groups of one opened store: announcements, agents and their skills, and a hub for what is announced here."""

from collections.abc import Callable, Mapping

from meshd.backends.port import Backend
from meshd.groups.announcements import Announcements
from meshd.groups.hub import Hub
from meshd.groups.leading import HubOptions
from meshd.groups.lives import Census
from meshd.groups.participant import Participant, ParticipantOptions
from meshd.groups.reading import GroupOptions
from meshd.groups.registry import Registry
from meshd.groups.service import Groups
from meshd.nodes.model import NodeFilter, Verdict
from meshd.nodes.store import NODES_LOG
from meshd.settings_groups import GroupsSettings


def announcements_of(backend: Backend, settings: GroupsSettings) -> Announcements:
    """Return the announcements of a mesh."""
    return Announcements(
        backend.records, kept_ms=round(settings.kept_seconds * 1_000), max_open=settings.max_announcements
    )


def registry_of(backend: Backend, settings: GroupsSettings) -> Registry:
    """Return the agents of a mesh and what they can do."""
    return Registry(backend.records, index_ms=round(3 * settings.skill_update_seconds * 1_000))


def hub_of(
    backend: Backend,
    settings: GroupsSettings,
    *,
    announcements: Announcements | None = None,
    registry: Registry | None = None,
) -> Hub:
    """Return a hub, not started yet."""

    async def here() -> Mapping[str, int]:
        listed = await backend.nodes.list(NodeFilter(include_dead=True))
        return {node.id: node.incarnation for node in listed if node.verdict is not Verdict.DEAD}

    return Hub(
        announcements or announcements_of(backend, settings),
        registry or registry_of(backend, settings),
        backend.events,
        census=Census(topic=NODES_LOG, here=here),
        options=HubOptions(rules=settings.rules(), shares=settings.shares(), most_asked=settings.most_asked),
    )


def participant_of(
    backend: Backend, settings: GroupsSettings, *, node: str, incarnation: Callable[[], int]
) -> Participant:
    """Return what the agents on a node do in groups, not started yet."""
    return Participant(
        announcements_of(backend, settings),
        registry_of(backend, settings),
        backend.events,
        node=node,
        incarnation=incarnation,
        options=ParticipantOptions(
            rules=settings.rules(),
            scores=settings.scores(),
            slots=settings.slots,
            renew_s=settings.skill_update_seconds,
        ),
    )


def groups_of(backend: Backend, settings: GroupsSettings, *, name: str) -> Groups:
    """Return the groups of a mesh, for one who announces as `name`."""
    announcements, registry = announcements_of(backend, settings), registry_of(backend, settings)

    async def live() -> frozenset[str]:
        nodes = await backend.nodes.list(NodeFilter(include_dead=True))
        return frozenset(node.id for node in nodes if node.verdict is not Verdict.DEAD)

    return Groups(
        announcements,
        registry,
        backend.events,
        options=GroupOptions(
            initiator=name,
            max_size=settings.max_size,
            rules=settings.rules(),
            scores=settings.scores(),
            shares=settings.shares(),
        ),
        make_hub=lambda: hub_of(backend, settings, announcements=announcements, registry=registry),
        live=live,
    )
