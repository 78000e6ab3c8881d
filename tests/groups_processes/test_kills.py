"""SIGKILL at each of the nine message types: of the process of an agent, and of the one that announces and leads.

Nine announcements at once, each with a process that kills itself at another message. Each needs the skill `x.<type>`,
which the process that dies has, and a spare who costs more; and the skill `y`, whose one holder lives on.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from meshd.groups.model import Announcement, AnnouncementState, GroupMessage
from meshd.groups.shares import is_even
from tests.groups_processes.agents_process import Player
from tests.groups_processes.announcer_process import Work
from tests.groups_processes.stage import SOON, SPARE_MS, Stage, assert_covered, gone
from tests.groups_processes.trap import Trap

NINE = (
    GroupMessage.TASK_ANNOUNCE,
    GroupMessage.SKILL_QUERY,
    GroupMessage.SKILL_OFFER,
    GroupMessage.GROUP_INVITE,
    GroupMessage.GROUP_ACCEPT,
    GroupMessage.GROUP_FORMED,
    GroupMessage.TASK_START,
    GroupMessage.TASK_UPDATE,
    GroupMessage.TASK_COMPLETE,
)
AT_HUB = {GroupMessage.TASK_START: AnnouncementState.RUNNING.value}
"""A hub sends no first TASK_START: the agents start the group themselves, and tell the hub that it runs."""
PARTNER = Player(name="partner", skills=("y",), slots=20)


def skill_of(type: GroupMessage) -> str:
    return f"x.{type}"


SPARES = (
    Player(name="spare", skills=tuple(skill_of(type) for type in NINE if type is not GroupMessage.SKILL_QUERY), cost=9),
    Player(name="sulky", skills=(f"{skill_of(GroupMessage.SKILL_QUERY)}=expert",), cost=0, rejects="not today"),
    Player(name="coy", skills=(skill_of(GroupMessage.SKILL_QUERY),), cost=9, shy=1),
)
"""Sulky rejects and nobody else has offered then, so a SKILL_QUERY goes out; to be asked anew coy waits for."""


def victim_of(type: GroupMessage) -> Player:
    shy = 1 if type is GroupMessage.SKILL_QUERY else 0
    return Player(name=f"victim.{type}", skills=(f"{skill_of(type)}=expert",), cost=0, shy=shy)


VICTIMS = {type: victim_of(type) for type in NINE}


def name_of(type: GroupMessage) -> str:
    """Return an id by which the best is chosen, not whose turn it is."""
    return next(name for name in (f"{type}-{number}" for number in range(100)) if not is_even(name))


def payload_of(type: GroupMessage) -> dict[str, object]:
    """Report once, and end after the other."""
    return {"update": True, "after": {skill_of(type): "y"}}


def all_or(*some: GroupMessage) -> pytest.MarkDecorator:
    """At all nine, or quickly at some of them."""
    sets = [pytest.param(NINE, id="nine", marks=pytest.mark.slow), pytest.param(some, id="some")]
    return pytest.mark.parametrize("types", sets)


@all_or(GroupMessage.GROUP_ACCEPT, GroupMessage.TASK_UPDATE)
async def test_an_agents_process_is_killed_at_each_message_and_every_group_completes(
    stage: Stage, types: Sequence[GroupMessage]
) -> None:
    await stage.enter("partners", PARTNER)
    await stage.enter("spares", *SPARES)
    dying = {
        type: stage.begin(f"node.{type}", VICTIMS[type], trap=Trap(at=type, announcement=name_of(type)))
        for type in types
    }
    await stage.entered([VICTIMS[type] for type in types])
    announced = [
        await stage.mesh.groups.announce(
            f"killed at {type}", skills=[skill_of(type), "y"], id=name_of(type), payload=payload_of(type)
        )
        for type in types
    ]
    over = await asyncio.gather(*(each.outcome(SOON) for each in announced))
    await asyncio.gather(*(gone(process) for process in dying.values()))
    await stage.enter("reborn", *VICTIMS.values())
    await ended_well(stage, over)
    recorded_by = await recorded(stage)
    noted = recorded_by.pop(VICTIMS[GroupMessage.TASK_COMPLETE].name)
    lost = 1 if GroupMessage.TASK_COMPLETE in types else 0
    assert noted <= lost, "it completed, and may have died before that was noted"
    assert sum(recorded_by.values()) == 2 * len(types) - lost, recorded_by
    assert not any(count for name, count in recorded_by.items() if name.startswith("victim"))


@all_or(GroupMessage.GROUP_INVITE, GroupMessage.TASK_UPDATE)
async def test_who_announces_and_leads_is_killed_at_each_message_and_every_group_completes(
    stage: Stage, types: Sequence[GroupMessage]
) -> None:
    await stage.enter("partners", PARTNER)
    await stage.enter("spares", *SPARES)
    await stage.enter("victims", *VICTIMS.values())
    dying = {
        type: stage.announcer(
            Work(
                ids=(name_of(type),),
                skills=(skill_of(type), "y"),
                payload=payload_of(type),
                trap=Trap(at=AT_HUB.get(type, type), announcement=name_of(type)),
            )
        )
        for type in types
    }
    await asyncio.gather(*(gone(process) for process in dying.values()))
    over = await asyncio.gather(*(stage.over(name_of(type)) for type in types))
    await ended_well(stage, over)
    recorded_by = await recorded(stage)
    assert sum(recorded_by.values()) == 2 * len(types), recorded_by


async def ended_well(stage: Stage, over: list[Announcement]) -> None:
    """Every group has done all of it, nothing twice but what died, and every slot is free."""
    for each in over:
        assert each.state is AnnouncementState.COMPLETED, (each.id, each.state, each.reason)
        assert each.results.keys() == {need.name for need in each.needs}
        assert each.ended_ms <= each.deadline_ms + SPARE_MS
        assert_covered(each)
    everybody = [PARTNER, *SPARES, *VICTIMS.values()]
    await stage.until_free(everybody)
    slots = {player.name: player.slots for player in everybody}
    assert all(most <= slots[name] for name, most in stage.most_at_once().items())
    journal = stage.journal()
    for each in over:
        entries = [entry for entry in journal if entry.announcement == each.id and entry.event == "start"]
        done = Counter(entry.roles for entry in entries)
        assert done["y",] == 1, f"what the partner had done for {each.id} is kept"
        for member in each.members.values():
            pids = {entry.pid for entry in entries if entry.agent == member.agent}
            assert all(each.results[role]["pid"] in pids for role in member.roles)


async def recorded(stage: Stage) -> dict[str, int]:
    """Return how many outcomes are recorded of each agent."""
    agents = [(await stage.agent(player.name)).candidate for player in (PARTNER, *SPARES, *VICTIMS.values())]
    return {agent.agent: sum(skill.count for skill in agent.skills.values()) for agent in agents}
