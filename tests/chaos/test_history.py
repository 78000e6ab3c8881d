"""The checker can fail: each kind of bad history is caught, by its own rule, and a good one passes."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from meshd.tasks.audit import Finding, Invariant
from tests.chaos.checker import check
from tests.chaos.history import (
    STORE,
    Acknowledged,
    Effect,
    Entry,
    Final,
    Freeze,
    History,
    Kill,
    NodeEntry,
    Phase,
    Remains,
    Rule,
)

Steps = tuple[tuple[str, str, int], ...]

RUN: Steps = (
    ("submitted", "ready", 0),
    ("claimed", "claimed", 10),
    ("started", "running", 10),
    ("completed", "completed", 10),
)
RERUN: Steps = (
    *RUN[:3],
    ("reclaimed", "ready", 11),
    ("claimed", "claimed", 20),
    ("started", "running", 20),
    ("completed", "completed", 20),
)


def log(*steps: tuple[str, str, int], task_id: str = "t") -> list[Entry]:
    """Return a task's entries, one second apart."""
    return [
        Entry(verb=verb, task_id=task_id, state=state, token=token, at_ms=1_000 * number)
        for number, (verb, state, token) in enumerate(steps, start=1)
    ]


def effect(phase: Phase, token: int, life: str) -> Effect:
    return Effect(phase=phase, task_id="t", token=token, attempt=1, life=life, pid=1, at_ms=3_000)


def ran(token: int, life: str = "b.1") -> list[Effect]:
    return [effect(Phase.START, token, life), effect(Phase.FINISH, token, life)]


def final(token: int, state: str = "completed") -> Final:
    return Final(state=state, token=token, generation=0, result_number=0, result_token=token)


def remains(**changes: dict[str, int]) -> Remains:
    values: dict[str, dict[str, int]] = {"counts": {"completed": 1}, "open_counts": {"a": 0}, "indexes": {"leases": 0}}
    values.update(changes)
    return Remains(audited=1, counts=values["counts"], open_counts=values["open_counts"], indexes=values["indexes"])


def good() -> History:
    """One task, run once."""
    return History(
        acknowledged=[Acknowledged(number=0, task_id="t")],
        finals={"t": final(10)},
        entries=log(*RUN),
        effects=ran(10),
        remains=remains(),
    )


def good_rerun() -> History:
    """One task, whose first holder is killed while it runs it."""
    return replace(
        good(),
        finals={"t": final(20)},
        entries=log(*RERUN),
        effects=[effect(Phase.START, 10, "a.1"), *ran(20)],
        kills=[Kill(life="a.1", at_ms=3_500)],
        node_entries=[
            NodeEntry(verb="joined", node_id="a", incarnation=1, at_ms=500),
            NodeEntry(verb="dead", node_id="a", incarnation=1, at_ms=4_000),
        ],
    )


def with_log(history: History, *steps: tuple[str, str, int]) -> History:
    return replace(history, entries=log(*steps))


def rules(history: History) -> set[Rule]:
    return {violation.rule for violation in check(history)}


@pytest.mark.parametrize("history", [good(), good_rerun()], ids=["one run", "one kill"])
def test_a_sound_history_has_no_violation(history: History) -> None:
    assert check(history) == []


def test_a_redrive_opens_a_generation_with_a_completion_of_its_own() -> None:
    steps: Steps = (*RUN[:3], ("failed", "dead", 10), ("redriven", "ready", 11))
    steps += (("claimed", "claimed", 20), ("started", "running", 20), ("completed", "completed", 20))
    history = replace(with_log(good(), *steps), finals={"t": replace(final(20), generation=1)}, effects=ran(20))
    assert check(history) == []
    assert rules(replace(history, finals={"t": final(20)})) == {Rule.RECORD}


def test_a_retry_and_a_release_are_no_reruns() -> None:
    steps: Steps = (*RUN[:3], ("failed", "scheduled", 10), ("promoted", "ready", 10), ("claimed", "claimed", 20))
    steps += (("released", "ready", 20), ("claimed", "claimed", 30), ("started", "running", 30))
    steps += (("completed", "completed", 30),)
    assert check(replace(with_log(good(), *steps), finals={"t": final(30)}, effects=[*ran(10), *ran(30)])) == []


def test_a_claim_lost_with_the_stores_answer_may_be_taken_back() -> None:
    steps: Steps = (*RUN[:2], ("reclaimed", "ready", 11), ("claimed", "claimed", 20), ("started", "running", 20))
    history = with_log(good(), *steps, ("completed", "completed", 20))
    history = replace(history, finals={"t": final(20)}, effects=ran(20))
    assert check(replace(history, kills=[Kill(life=STORE, at_ms=2_500)])) == []
    assert rules(replace(history, kills=[Kill(life=STORE, at_ms=5_000)])) == {Rule.RERUN}
    assert rules(history) == {Rule.RERUN}


@pytest.mark.parametrize("kept", [None, final(10, "running"), final(10, "dead"), final(10, "ready")])
def test_an_acknowledged_task_that_did_not_complete_is_lost(kept: Final | None) -> None:
    assert Rule.LOST in rules(replace(good(), finals={"t": kept}))


def test_an_acknowledged_task_the_store_never_heard_of_is_lost() -> None:
    history = replace(good(), acknowledged=[*good().acknowledged, Acknowledged(number=1, task_id="gone")])
    assert Rule.LOST in rules(history)


def test_a_second_completion_is_caught_whatever_token_it_bears() -> None:
    for token in (10, 11, 20):
        found = rules(with_log(good(), *RUN, ("completed", "completed", token)))
        assert found >= {Rule.DOUBLE, Rule.ABSORB}


def test_a_completion_by_a_superseded_holder_is_caught() -> None:
    history = with_log(good_rerun(), *RERUN[:-1], ("completed", "completed", 10))
    assert Rule.STALE in rules(history)


def test_a_completion_after_the_task_was_taken_back_is_caught() -> None:
    history = with_log(good_rerun(), *RERUN[:4], ("completed", "completed", 10))
    assert rules(history) >= {Rule.STALE, Rule.STEP}


@pytest.mark.parametrize(
    "steps",
    [
        (*RERUN[:4], ("claimed", "claimed", 11)),
        (*RERUN[:4], ("claimed", "claimed", 9)),
        (*RUN[:3], ("reclaimed", "ready", 10)),
        (*RUN[:2], ("started", "running", 9)),
        (*RUN[:2], ("started", "running", 11)),
        (*RUN[:3], ("released", "ready", 12)),
        (("submitted", "ready", 0), ("claimed", "claimed", 0)),
    ],
)
def test_a_token_that_repeats_falls_or_changes_unasked_is_caught(steps: Steps) -> None:
    assert Rule.TOKEN in rules(with_log(good_rerun(), *steps))


@pytest.mark.parametrize(
    "steps",
    [
        (RUN[0], RUN[2], RUN[3]),
        (RUN[0], RUN[3]),
        (RUN[0], RUN[0], *RUN[1:]),
        (RUN[1], RUN[2], RUN[3]),
        (*RUN[:3], ("claimed", "claimed", 20), ("started", "running", 20), ("completed", "completed", 20)),
        (*RUN[:3], ("started", "running", 10), RUN[3]),
        (RUN[0], ("promoted", "ready", 0), *RUN[1:]),
        (RUN[0], ("claimed", "running", 10), RUN[3]),
        (*RUN[:3], ("redriven", "ready", 11)),
        (*RUN[:3], ("failed", "completed", 10)),
        (RUN[0], ("teleported", "running", 10)),
    ],
    ids=[
        "start without claim",
        "complete without claim",
        "submitted twice",
        "never submitted",
        "claimed from its holder",
        "started twice",
        "promoted though ready",
        "claimed into running",
        "redriven while running",
        "failed into completed",
        "unknown verb",
    ],
)
def test_a_step_the_state_machine_does_not_know_is_caught(steps: Steps) -> None:
    assert Rule.STEP in rules(with_log(good(), *steps))


@pytest.mark.parametrize("step", [("claimed", "claimed", 20), ("reclaimed", "ready", 11), ("failed", "scheduled", 10)])
def test_a_change_of_an_ended_task_is_caught(step: tuple[str, str, int]) -> None:
    assert Rule.ABSORB in rules(with_log(good(), *RUN, step))


def test_a_task_nobody_was_told_of_is_caught() -> None:
    assert rules(replace(good(), entries=[*log(*RUN), *log(RUN[0], task_id="twin")])) == {Rule.KEY}


def test_one_request_with_two_tasks_is_caught_and_so_is_the_reverse() -> None:
    twice = replace(good(), acknowledged=[*good().acknowledged, Acknowledged(number=0, task_id="u")])
    shared = replace(good(), acknowledged=[*good().acknowledged, Acknowledged(number=1, task_id="t")])
    assert Rule.KEY in rules(twice)
    assert Rule.KEY in rules(shared)


def test_the_same_receipt_twice_is_one_task() -> None:
    assert Rule.KEY not in rules(replace(good(), acknowledged=[*good().acknowledged, *good().acknowledged]))


@pytest.mark.parametrize(
    "kills",
    [[], [Kill(life="b.1", at_ms=3_500)], [Kill(life="a.1", at_ms=9_000)], [Kill(life=STORE, at_ms=3_500)]],
    ids=["no kill", "another's", "too late", "the store's"],
)
def test_taking_a_task_from_a_live_process_is_caught(kills: list[Kill]) -> None:
    assert Rule.RERUN in rules(replace(good_rerun(), kills=kills, node_entries=[]))


@pytest.mark.parametrize(
    "effects",
    [
        [],
        [effect(Phase.START, 10, "b.1")],
        [*ran(10), *ran(10, "c.1")],
        [*ran(10), *ran(11)],
    ],
    ids=["never ran", "never finished", "ran twice", "ran unrecorded"],
)
def test_effects_that_disagree_with_the_log_are_caught(effects: list[Effect]) -> None:
    assert rules(replace(good(), effects=effects)) == {Rule.EFFECT}


@pytest.mark.parametrize(
    "kept",
    [
        final(11),
        replace(final(10), result_token=9),
        replace(final(10), result_token=None),
        replace(final(10), result_number=5),
        replace(final(10), generation=1),
    ],
)
def test_a_record_that_is_not_what_the_log_says_is_caught(kept: Final) -> None:
    assert rules(replace(good(), finals={"t": kept})) == {Rule.RECORD}


def test_a_completed_record_without_its_log_is_caught() -> None:
    assert rules(replace(good(), entries=[], effects=[])) == {Rule.RECORD}


@pytest.mark.parametrize(
    "kills", [[], [Kill(life="b.1", at_ms=3_500)], [Kill(life="a.1", at_ms=100)], [Kill(life="a.1", at_ms=9_000)]]
)
def test_a_node_judged_dead_that_nobody_killed_is_caught(kills: list[Kill]) -> None:
    assert Rule.FALSE_DEATH in rules(replace(good_rerun(), kills=kills))


def test_what_a_frozen_node_held_may_be_taken_back_but_counts_for_nothing_afterwards() -> None:
    frozen = replace(good_rerun(), kills=[], freezes=[Freeze(life="a.1", at_ms=3_200, until_ms=6_000)])
    assert check(frozen) == []
    assert rules(replace(frozen, freezes=[Freeze(life="b.1", at_ms=3_200, until_ms=6_000)])) >= {
        Rule.RERUN,
        Rule.FALSE_DEATH,
    }
    assert Rule.RERUN in rules(replace(frozen, freezes=[Freeze(life="a.1", at_ms=5_000, until_ms=6_000)]))
    late = replace(frozen, effects=[*frozen.effects, effect(Phase.FINISH, 10, "a.1")])
    assert check(late) == []
    assert Rule.STALE in rules(with_log(late, *RERUN[:-1], ("completed", "completed", 10)))


def test_a_process_that_ended_by_itself_is_caught() -> None:
    assert rules(replace(good(), exits={"a.1": 7})) == {Rule.EXIT}


@pytest.mark.parametrize(
    "left",
    [
        lambda: remains(counts={"completed": 1, "ready": 1}),
        lambda: remains(counts={"completed": 1, "running": -1}),
        lambda: remains(counts={"completed": 2}),
        lambda: remains(counts={}),
        lambda: remains(open_counts={"a": 2}),
        lambda: remains(indexes={"leases": 1}),
    ],
)
def test_what_is_left_over_is_caught(left: Callable[[], Remains]) -> None:
    assert rules(replace(good(), remains=left())) == {Rule.REMAINS}


def test_what_the_stores_audit_finds_is_a_violation() -> None:
    finding = Finding(invariant=Invariant.NO_STRAYS, subject="lease", what="names t2, which does not exist")
    assert rules(replace(good(), remains=replace(remains(), findings=[finding]))) == {Rule.AUDIT}


def test_an_audit_that_looked_at_too_little_is_a_violation() -> None:
    assert rules(replace(good(), remains=replace(remains(), audited=0))) == {Rule.AUDIT}


def test_an_end_may_overtake_its_start() -> None:
    assert check(with_log(good(), *RUN[:2], RUN[3])) == []


def test_a_handler_may_have_begun_when_the_store_died_with_its_start_in_hand() -> None:
    steps: Steps = (*RUN[:2], ("released", "ready", 10), *RERUN[4:])
    effects = [replace(effect(Phase.START, 10, "b.1"), at_ms=2_010), *ran(20)]
    lost = replace(with_log(good(), *steps), finals={"t": final(20)}, effects=effects)
    assert rules(lost) == {Rule.EFFECT}
    assert check(replace(lost, kills=[Kill(life=STORE, at_ms=2_005)])) == []


def test_a_zombies_handler_may_have_begun_before_it_heard_that_its_task_was_taken_back() -> None:
    steps: Steps = (*RERUN[:2], *RERUN[3:])
    begun = replace(effect(Phase.START, 10, "a.1"), at_ms=2_010)
    taken = replace(with_log(good_rerun(), *steps), effects=[begun, *ran(20)], kills=[Kill(life="a.1", at_ms=2_900)])
    assert check(taken) == []
    late = replace(begun, at_ms=2_000 + 1_001)
    assert rules(replace(taken, effects=[late, *ran(20)])) == {Rule.EFFECT}
