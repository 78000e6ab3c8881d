"""Hundreds of seeded histories of working groups: real services, virtual time, and somebody who dies at every message.

After every write: no agent over its slots, every accepted invitation and member with its slot held, no role with two
members, epochs and tokens that rise, nothing changed that is over, no reputation moved but by an end that an
announcement took. At the end: every announcement over by its deadline + 5 s, no marker left, every slot free.
"""

import logging
from collections.abc import Iterator

import pytest

from meshd.groups.model import AnnouncementState, GroupMessage
from tests.groups_model.aging import LATEST_S, overtaking
from tests.groups_model.history import VICTIMS, Kill, play
from tests.groups_model.weather import CALM, Climate

HISTORIES = 200
SHARE = 25
"""Histories per test, so that several workers share them."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(0, HISTORIES, SHARE))
def test_no_history_breaks_a_rule(first: int) -> None:
    for seed in range(first, first + SHARE):
        verdict = play(seed)
        assert not verdict.breaches, str(verdict)


@pytest.mark.parametrize("seed", [50_179, 50_627])
def test_histories_that_once_broke_a_rule_break_none(seed: int) -> None:
    """The first found a role that missed hints while it was cut off, and slept on after."""
    verdict = play(seed)
    assert not verdict.breaches, str(verdict)


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("type", list(GroupMessage), ids=str)
def test_a_death_at_any_message_breaks_no_rule(type: GroupMessage, victim: str) -> None:
    for is_done in (False, True):
        seeds = iter(range(1_000, 1_100))
        killed = 0
        while not killed:
            kill = Kill(type=type, number=1, victim=victim, is_done=is_done, back_after_s=None if is_done else 3.0)
            verdict = play(next(seeds), kills=[kill])
            assert not verdict.breaches, str(verdict)
            killed = verdict.kills


def test_the_histories_see_every_message_state_and_manner() -> None:
    said, states, reasons = set[str](), set[str](), set[str]()
    wanted = {"it is busy", "did not answer", "did not start", "RuntimeError: it broke", "its deadline has passed"}
    for seed in range(2_000, 2_100):
        verdict = play(seed)
        said |= verdict.said
        states |= verdict.states.keys()
        reasons |= verdict.reasons
        if said >= set(GroupMessage) and states >= set(AnnouncementState) and reasons >= wanted:
            break
    assert (said, states, wanted - reasons) == (set(GroupMessage), set(AnnouncementState), set())


def test_a_seed_gives_the_same_history_each_time() -> None:
    for seed in range(7, 12):
        assert play(seed) == play(seed)


def test_a_store_that_takes_every_write_is_found_out() -> None:
    assert any(play(seed, is_careless=True).breaches for seed in range(30))


@pytest.mark.parametrize(
    ("seed", "agents", "climate"), [(0, 1, CALM), (1, 3, CALM), (2, 1, Climate(doubled_hints=0.2))]
)
def test_work_of_low_priority_is_overtaken_only_by_what_is_announced_soon_after(
    seed: int, agents: int, climate: Climate
) -> None:
    assert LATEST_S / 2 < max(overtaking(seed, agents=agents, climate=climate)) < LATEST_S + 1
