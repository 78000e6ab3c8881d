"""The past of keys: log, earlier values, differences, blame; and undo, of one key and of all that somebody wrote."""

import pytest

from meshd.clock import ManualClock
from meshd.errors import InvalidArgumentError, NotFoundError
from meshd.memory.model import Policy
from meshd.memory.prefixes import Rule, Rules
from meshd.memory.service import Memory
from meshd.memory.undo import Scope
from tests.memory.islands import Island, meet

RULES = Rules(prefixes={"manual/": Rule(prefix="manual/", policy=Policy.MANUAL)})


@pytest.fixture
def a(clock: ManualClock) -> Island:
    return Island("a", clock)


@pytest.fixture
def b(clock: ManualClock) -> Island:
    return Island("b", clock)


@pytest.fixture
def memory(a: Island) -> Memory:
    return a.memory(RULES)


async def shown(memory: Memory, prefix: str = "") -> dict[str, object]:
    return {entry.key: entry.value for entry in await memory.list(prefix)}


async def test_the_log_has_every_version_the_latest_first(memory: Memory) -> None:
    for value in (1, 2):
        await memory.put("k", value)
    await memory.delete("k", note="no use")
    log = await memory.log("k")
    assert [(each.writing.value, each.writing.is_deletion) for each in log] == [(None, True), (2, False), (1, False)]
    assert [(each.is_current, each.is_shown) for each in log] == [(True, True), (False, False), (False, False)]
    assert log[0].writing.note == "no use"


async def test_a_key_is_read_as_it_was(memory: Memory, clock: ManualClock) -> None:
    first = await memory.put("k", 1)
    then = clock.now_ms
    clock.advance(seconds=5)
    await memory.put("k", 2)
    clock.advance(seconds=5)
    await memory.delete("k")
    for at, value in ((then, 1), (then + 4_999, 1), (first.winner.name, 1), (then + 5_000, 2)):
        entry = await memory.get("k", at=at)
        assert entry is not None
        assert entry.value == value
    assert await memory.get("k", at=then + 10_000) is None
    with pytest.raises(NotFoundError, match="of that time"):
        await memory.get("k", at=then - 1)
    with pytest.raises(NotFoundError, match="no version a:99"):
        await memory.get("k", at="a:99")
    with pytest.raises(InvalidArgumentError, match="names no version"):
        await memory.get("k", at="yesterday")


async def test_a_difference_names_the_parts_that_changed(memory: Memory) -> None:
    first = await memory.put("k", {"a": 1, "b": {"c": [1, 2]}, "d": 0})
    await memory.put("k", {"a": 1, "b": {"c": [1, 3]}, "e": None})
    found = {each.path: (each.kind, each.before, each.after) for each in await memory.diff("k")}
    assert found == {"b.c.1": ("changed", 2, 3), "d": ("removed", 0, None), "e": ("added", None, None)}
    assert await memory.diff("k", before=first.winner.name, after=first.winner.name) == []


async def test_blame_names_the_version_since_which_each_part_is_what_it_is(memory: Memory) -> None:
    await memory.by(agent="one").put("k", {"a": 1, "b": 1})
    await memory.by(agent="two").put("k", {"a": 1, "b": 2})
    await memory.by(agent="three").put("k", {"a": 1, "b": 2, "c": 3})
    assert {each.path: each.writing.agent for each in await memory.blame("k")} == {"a": "one", "b": "two", "c": "three"}
    with pytest.raises(NotFoundError):
        await memory.blame("none")


async def test_a_rollback_shows_the_value_before_and_can_be_rolled_back(memory: Memory) -> None:
    await memory.put("k", {"v": 1})
    second = await memory.put("k", {"v": 2})
    undone = await memory.rollback("k")
    assert (undone.version, undone.before, undone.after) == (second.winner.name, {"v": 2}, {"v": 1})
    assert await shown(memory) == {"k": {"v": 1}}
    assert (await memory.log("k"))[0].writing.undoes == second.winner.name
    await memory.rollback("k")
    assert await shown(memory) == {"k": {"v": 2}}


async def test_rolling_back_the_first_write_deletes_and_a_deletion_restores(memory: Memory) -> None:
    await memory.put("k", 1)
    assert (await memory.rollback("k")).is_deletion
    assert await shown(memory) == {}
    await memory.rollback("k")
    assert await shown(memory) == {"k": 1}
    with pytest.raises(NotFoundError, match="never written"):
        await memory.rollback("other")


async def test_a_key_goes_back_to_a_named_version(memory: Memory) -> None:
    first = await memory.put("k", 1)
    for value in (2, 3):
        await memory.put("k", value)
    await memory.rollback("k", to=first.winner.name)
    assert await shown(memory) == {"k": 1}


async def test_counters_and_sets_go_back_too(memory: Memory) -> None:
    await memory.counter("c").add(5)
    await memory.counter("c").add(2)
    await memory.rollback("c")
    await memory.set("s").add("x")
    await memory.set("s").add("y")
    await memory.rollback("s")
    assert await shown(memory) == {"c": 5, "s": ["x"]}
    assert await memory.counter("c").add(1) == 6


async def test_undoing_an_agent_keeps_what_others_wrote_since(memory: Memory, clock: ManualClock) -> None:
    good, bad = memory.by(agent="good"), memory.by(agent="bad")
    await good.put("kept", "good")
    await good.put("spoiled", "good")
    await bad.put("old", "bad before")
    clock.advance(seconds=60)
    await bad.put("spoiled", "bad")
    await bad.put("spoiled", "worse")
    await bad.put("made", "bad")
    await bad.put("mended", "bad")
    await good.put("mended", "good again")
    await bad.delete("kept")
    scope = Scope(agent="bad", since_ms=clock.now_ms - 30_000)
    dry = await memory.rollback_by(scope, dry_run=True)
    assert await shown(memory) == {"made": "bad", "mended": "good again", "old": "bad before", "spoiled": "worse"}
    report = await memory.rollback_by(scope, note="poisoned")
    assert [each.key for each in dry.undone] == [each.key for each in report.undone] == ["kept", "made", "spoiled"]
    assert [(each.key, each.why) for each in report.skipped] == [("mended", "written since by good")]
    after = {"kept": "good", "mended": "good again", "old": "bad before", "spoiled": "good"}
    assert await shown(memory) == after
    assert (await memory.rollback_by(scope)).undone == ()

    again = await memory.rollback_by(Scope(operation=report.operation))
    assert len(again.undone) == 3
    assert await shown(memory) == {"made": "bad", "mended": "good again", "old": "bad before", "spoiled": "worse"}
    await memory.rollback_by(Scope(operation=again.operation))
    assert await shown(memory) == after


async def test_a_named_sync_is_undone_on_every_side(a: Island, b: Island) -> None:
    here, there = a.memory(RULES), b.memory(RULES)
    await here.put_many({"x": 1, "y": 1})
    await meet(a, b)
    await here.put_many({"x": 2, "y": 2, "z": 2}, note="import-7")
    await meet(a, b)
    await there.put("y", 3)
    await there.rollback_by(Scope(operation="import-7"))
    await meet(a, b)
    assert await shown(here) == await shown(there) == {"x": 1, "y": 3}


async def test_undo_of_one_side_of_a_conflict_leaves_the_other(a: Island, b: Island) -> None:
    here, there = a.memory(RULES, agent="good"), b.memory(RULES, agent="bad")
    await here.put("manual/k", "good")
    await there.put("manual/k", "bad")
    await meet(a, b)
    assert len(await here.conflicts()) == 1
    await here.rollback_by(Scope(agent="bad"))
    await meet(a, b)
    assert await here.conflicts() == []
    assert await shown(there) == {"manual/k": "good"}


async def test_a_rollback_while_cut_off_conflicts_like_any_write(a: Island, b: Island, clock: ManualClock) -> None:
    here, there = a.memory(), b.memory()
    await here.put("k", 1)
    await here.put("k", 2)
    await meet(a, b)
    await here.rollback("k", strategy="eventual")
    clock.advance(seconds=1)
    await there.put("k", 3)
    await meet(a, b)
    assert await shown(here) == await shown(there) == {"k": 3}
    assert [each.value for each in (await here.conflicts(settled=True))[0].sides] == [3, 1]


async def test_undoing_nobody_in_particular_is_refused(memory: Memory) -> None:
    with pytest.raises(InvalidArgumentError, match="whose writes"):
        await memory.rollback_by(Scope(since_ms=1))


async def test_undoing_many_writes_needs_few_steps(memory: Memory) -> None:
    bad = memory.by(agent="bad")
    await memory.put_many({f"k/{number:03}": number for number in range(250)})
    await bad.put_many({f"k/{number:03}": "bad" for number in range(0, 250, 2)})
    report = await memory.rollback_by(Scope(agent="bad"), prefix="k/")
    assert len(report.undone) == 125
    assert [entry.value for entry in await memory.list("k/", limit=250)] == list(range(250))


async def test_a_key_written_while_it_is_undone_is_skipped(a: Island) -> None:
    memory = a.memory()
    for key in ("x", "y"):
        await memory.put(key, 1)
        await memory.by(agent="bad").put(key, 2)
    plans, _ = await memory._survey(Scope(agent="bad"), "")  # pyright: ignore[reportPrivateUsage]
    await memory.put("y", 3)
    outcome = await memory._carry_out(plans, operation="undo-1", strategy=None)  # pyright: ignore[reportPrivateUsage]
    assert {plan.key: why for plan, why in outcome} == {"x": "", "y": "written meanwhile"}
    assert await shown(memory) == {"x": 1, "y": 3}
