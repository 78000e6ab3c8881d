"""Asking for offers: who holds what is missing, on which nodes, and what is said to each node.

Invariant: nobody is asked that has a part in the announcement, refused it, or lived a life that is over.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from meshd.groups.lives import Lives
from meshd.groups.model import Announcement, GroupMessage, SkillNeed
from meshd.groups.registry import Registry
from meshd.groups.skill_index import Holder
from meshd.groups.steps import mark
from meshd.groups.wire import Envelope


async def holders_of(
    registry: Registry, needs: Sequence[SkillNeed], *, salt: str, most: int
) -> Mapping[SkillNeed, Sequence[Holder]]:
    """Return who holds each of the skills, at the level asked for.

    Raises:
        UnavailableError: the store is away.
    """
    found = await asyncio.gather(
        *(registry.holders(need.name, level=need.level, salt=salt, most=most) for need in needs)
    )
    return dict(zip(needs, found, strict=True))


def by_node(current: Announcement, holders: Iterable[Holder], lives: Lives) -> dict[str, list[str]]:
    """Return whom to ask on each node."""
    busy = current.members.keys() | current.invitations.keys() | current.refused.keys()
    lived: dict[tuple[str, int], dict[str, None]] = {}
    for holder in holders:
        is_dead = bool(current.dead) and current.dead.get(holder.agent, -1) >= holder.incarnation
        if holder.agent not in busy and not is_dead:
            lived.setdefault((holder.node, holder.incarnation), {})[holder.agent] = None
    nodes: dict[str, list[str]] = {}
    for (node, incarnation), agents in lived.items():
        if not lives.is_over(node, incarnation):
            nodes.setdefault(node, []).extend(agents)
    return nodes


def question(
    current: Announcement, needs: Sequence[SkillNeed], agents: Sequence[str], *, hub: str, reply_to: str, stamp: str
) -> Envelope:
    """Return what is said to the agents of one node: TASK_ANNOUNCE, or with a stamp SKILL_QUERY.

    The announcement is told with the same id by whoever leads it, so that each agent takes it once.
    """
    type = GroupMessage.SKILL_QUERY if stamp else GroupMessage.TASK_ANNOUNCE
    payload = {
        "agents": agents,
        "initiator": current.initiator,
        "description": current.description,
        "skills": {need.name: int(need.level) for need in needs},
        "urgency": current.urgency.name.lower(),
        "announced_ms": current.announced_ms,
        "deadline_ms": current.deadline_ms,
    }
    return Envelope(
        type=type,
        announcement=current.id,
        sender=hub,
        id=f"{current.id}:{type}:{f'{mark(hub)}.{stamp}' if stamp else 'once'}",
        reply_to=reply_to,
        payload=payload,
    )
