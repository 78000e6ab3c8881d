"""The history checker: pure, and complete for what the log, the client and the handlers can show.

It believes nobody: the log is checked against the state machine's own drawing, the records against the log, the log
against the handlers' files, and the client's receipts against all of them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.history import STORE, Entry, Final, Freeze, History, Phase, Remains, Rule, Violation

CLOCK_SLACK_MS = 250
"""Our clock and the store's are the same machine's; this covers the way between them."""

ZOMBIE_MS = 1_000
"""How long after it was woken a node may take to learn that it was judged dead."""

START_MS = 1_000
"""How long after its claim a task's start may be on its way."""

HELD = frozenset({"claimed", "running"})
ENDED = frozenset({"completed", "dead", "cancelled", "expired"})
OPEN = frozenset({"scheduled", "blocked", "ready"}) | HELD

STEPS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "submitted": (frozenset({""}), frozenset({"ready", "scheduled", "blocked"})),
    "claimed": (frozenset({"ready"}), frozenset({"claimed"})),
    "started": (frozenset({"claimed"}), frozenset({"running"})),
    "completed": (HELD, frozenset({"completed"})),
    "failed": (HELD, frozenset({"ready", "scheduled", "dead", "cancelled"})),
    "released": (HELD, frozenset({"ready", "cancelled"})),
    "stopped": (frozenset({"running"}), frozenset({"cancelled"})),
    "promoted": (frozenset({"scheduled"}), frozenset({"ready"})),
    "opened": (frozenset({"ready", "scheduled", "blocked"}), frozenset({"ready", "scheduled", "blocked"})),
    "unblocked": (frozenset({"blocked"}), frozenset({"ready", "scheduled"})),
    "reprioritized": (OPEN, OPEN),
    "reclaimed": (HELD, frozenset({"ready", "dead", "cancelled"})),
    "cancel_requested": (frozenset({"running"}), frozenset({"running"})),
    "cancelled": (OPEN - {"running"}, frozenset({"cancelled"})),
    "expired": (OPEN, frozenset({"expired"})),
    "redriven": (frozenset({"dead", "cancelled", "expired"}), frozenset({"ready"})),
}
"""From where each verb may come, and where it may lead; an end may overtake its start, and stands for it then."""

RAISES = frozenset({"claimed", "reclaimed", "cancelled", "expired", "redriven"})
"""Verbs that need a new token; all others keep the one before."""


def check(history: History) -> list[Violation]:
    """Return every violation, none for a sound history."""
    by_task: dict[str, list[Entry]] = defaultdict(list)
    for entry in history.entries:
        by_task[entry.task_id].append(entry)
    found: list[Violation] = []
    for task_id, entries in by_task.items():
        found += _check_steps(task_id, entries)
        found += _check_tokens(task_id, entries)
        found += _check_completions(task_id, entries)
    found += _check_receipts(history, by_task)
    found += _check_records(history, by_task)
    found += _check_effects(by_task, history)
    found += _check_reruns(history, by_task)
    found += _check_deaths(history)
    found += [
        Violation(rule=Rule.EXIT, subject=life, detail=f"ended with exit code {code}")
        for life, code in history.exits.items()
    ]
    if history.remains is not None:
        found += _check_remains(history.remains, completed=len(history.acknowledged))
    return found


def _check_steps(task_id: str, entries: Sequence[Entry]) -> Iterator[Violation]:
    state = ""
    for entry in entries:
        if entry.verb not in STEPS:
            yield Violation(rule=Rule.STEP, subject=task_id, detail=f"unknown verb {entry.verb!r}")
            continue
        sources, targets = STEPS[entry.verb]
        step = f"{entry.verb} from {state or 'nothing'} to {entry.state}"
        if state in ENDED and entry.verb != "redriven":
            yield Violation(rule=Rule.ABSORB, subject=task_id, detail=step)
        elif state not in sources or entry.state not in targets:
            yield Violation(rule=Rule.STEP, subject=task_id, detail=step)
        state = entry.state


def _check_tokens(task_id: str, entries: Sequence[Entry]) -> Iterator[Violation]:
    token = 0
    for entry in entries:
        step = f"{entry.verb} carries {entry.token} after {token}"
        if entry.verb in RAISES and entry.token <= token:
            yield Violation(rule=Rule.TOKEN, subject=task_id, detail=f"{step}: it must rise")
        elif entry.verb not in RAISES and entry.verb != "completed" and entry.token != token:
            yield Violation(rule=Rule.TOKEN, subject=task_id, detail=f"{step}: it must stay")
        token = max(token, entry.token)


def _check_completions(task_id: str, entries: Sequence[Entry]) -> Iterator[Violation]:
    completions, claimed = 0, None
    for entry in entries:
        if entry.verb == "redriven":
            completions = 0
        elif entry.verb in {"claimed", "started"}:
            claimed = entry.token
        elif entry.verb in {"reclaimed", "released", "failed"}:
            claimed = None
        elif entry.verb == "completed":
            completions += 1
            if entry.token != claimed:
                holder = "nobody's" if claimed is None else str(claimed)
                detail = f"completed with {entry.token}, the hold is {holder}"
                yield Violation(rule=Rule.STALE, subject=task_id, detail=detail)
            if completions > 1:
                yield Violation(rule=Rule.DOUBLE, subject=task_id, detail=f"completion number {completions}")


def _check_receipts(history: History, by_task: Mapping[str, Sequence[Entry]]) -> Iterator[Violation]:
    numbers: dict[int, str] = {}
    ids: dict[str, int] = {}
    for receipt in history.acknowledged:
        if numbers.setdefault(receipt.number, receipt.task_id) != receipt.task_id:
            detail = f"acknowledged as {numbers[receipt.number]} and as {receipt.task_id}"
            yield Violation(rule=Rule.KEY, subject=f"request {receipt.number}", detail=detail)
        if ids.setdefault(receipt.task_id, receipt.number) != receipt.number:
            detail = f"stands for requests {ids[receipt.task_id]} and {receipt.number}"
            yield Violation(rule=Rule.KEY, subject=receipt.task_id, detail=detail)
    for task_id in by_task.keys() - ids.keys():
        yield Violation(rule=Rule.KEY, subject=task_id, detail="in the log, but nobody was told of it")
    for task_id in ids:
        final = history.finals.get(task_id)
        if final is None:
            yield Violation(rule=Rule.LOST, subject=task_id, detail="acknowledged, and no longer kept")
        elif final.state != "completed":
            yield Violation(rule=Rule.LOST, subject=task_id, detail=f"acknowledged, and {final.state} at the end")


def _check_records(history: History, by_task: Mapping[str, Sequence[Entry]]) -> Iterator[Violation]:
    for receipt in history.acknowledged:
        final = history.finals.get(receipt.task_id)
        if final is None:
            continue
        entries = by_task.get(receipt.task_id)
        if not entries:
            yield Violation(rule=Rule.RECORD, subject=receipt.task_id, detail=f"{final.state}, and not in the log")
            continue
        for detail in _differences(final, entries, number=receipt.number):
            yield Violation(rule=Rule.RECORD, subject=receipt.task_id, detail=detail)


def _differences(final: Final, entries: Sequence[Entry], *, number: int) -> Iterator[str]:
    last = entries[-1]
    if (final.state, final.token) != (last.state, last.token):
        yield f"record {final.state}/{final.token}, log {last.state}/{last.token}"
    generation = sum(entry.verb == "redriven" for entry in entries)
    if final.generation != generation:
        yield f"generation {final.generation}, but {generation} redrives in the log"
    if final.state == "completed" and final.result_token != final.token:
        yield f"result of token {final.result_token} under token {final.token}"
    if final.state == "completed" and final.result_number != number:
        yield f"result of request {final.result_number}, but the task is request {number}"


def _check_effects(by_task: Mapping[str, Sequence[Entry]], history: History) -> Iterator[Violation]:
    seen = Counter((effect.task_id, effect.token, effect.phase) for effect in history.effects)
    started = _pairs(by_task, "started", "completed", "failed") | _unheard_starts(by_task, history)
    for (task_id, token, phase), times in seen.items():
        if times > 1:
            yield Violation(rule=Rule.EFFECT, subject=task_id, detail=f"{phase} {times} times under token {token}")
        if (task_id, token) not in started:
            yield Violation(rule=Rule.EFFECT, subject=task_id, detail=f"{phase} under token {token}, never started")
    for task_id, token in _pairs(by_task, "completed"):
        if (task_id, token, Phase.FINISH) not in seen:
            detail = f"completed under token {token}, no handler finished under it"
            yield Violation(rule=Rule.EFFECT, subject=task_id, detail=detail)


def _pairs(by_task: Mapping[str, Sequence[Entry]], *verbs: str) -> set[tuple[str, int]]:
    return {(task_id, entry.token) for task_id, entries in by_task.items() for entry in entries if entry.verb in verbs}


def _unheard_starts(by_task: Mapping[str, Sequence[Entry]], history: History) -> set[tuple[str, int]]:
    """Return the claims whose handlers may have begun although the store never recorded it.

    A handler begins while its start is on the way. Meanwhile the store may die, or take the task back from a zombie.
    """
    deaths = [kill.at_ms for kill in history.kills if kill.life == STORE]
    begun = {(one.task_id, one.token): one.at_ms for one in history.effects if one.phase is Phase.START}
    found: set[tuple[str, int]] = set()
    for task_id, entries in by_task.items():
        for entry, after in zip(entries, [*entries[1:], None], strict=True):
            is_lost = any(-CLOCK_SLACK_MS <= death_ms - entry.at_ms <= START_MS for death_ms in deaths)
            is_taken = after is not None and after.verb == "reclaimed"
            is_soon = begun.get((task_id, entry.token), 0) - entry.at_ms <= START_MS
            if entry.verb == "claimed" and is_soon and (is_lost or is_taken):
                found.add((task_id, entry.token))
    return found


def _check_reruns(history: History, by_task: Mapping[str, Sequence[Entry]]) -> Iterator[Violation]:
    """Every task taken back was a dead process's; who held one that no handler saw is told by the time alone."""
    lives = {(effect.task_id, effect.token): effect.life for effect in history.effects}
    for task_id, entries in by_task.items():
        claim: Entry | None = None
        for entry in entries:
            if entry.verb == "claimed":
                claim = entry
            if entry.verb != "reclaimed" or claim is None:
                continue
            life = lives.get((task_id, claim.token))
            if not any(_excuses(fault, claim=claim, reclaim=entry, life=life) for fault in _faults(history)):
                detail = f"token {claim.token} was taken from {life or 'somebody'} alive"
                yield Violation(rule=Rule.RERUN, subject=task_id, detail=detail)


def _faults(history: History) -> Iterator[Freeze]:
    """Yield every fault as a span of time; a kill is a moment."""
    yield from history.freezes
    for kill in history.kills:
        yield Freeze(life=kill.life, at_ms=kill.at_ms, until_ms=kill.at_ms)


def _excuses(fault: Freeze, *, claim: Entry, reclaim: Entry, life: str | None) -> bool:
    """Return whether the fault may be why the task was taken back.

    The store's death excuses only a hold no handler saw: there the answer to the claim was lost. A zombie may claim
    under its old name until it learns that it is one.
    """
    grace = ZOMBIE_MS if fault.until_ms > fault.at_ms else CLOCK_SLACK_MS
    is_in_time = fault.at_ms <= reclaim.at_ms + CLOCK_SLACK_MS and claim.at_ms <= fault.until_ms + grace
    return is_in_time and (life is None or fault.life == life)


def _check_deaths(history: History) -> Iterator[Violation]:
    joined: dict[tuple[str, int], int] = {}
    for entry in history.node_entries:
        if entry.verb == "joined":
            joined[entry.node_id, entry.incarnation] = entry.at_ms
        if entry.verb != "dead":
            continue
        since = joined.get((entry.node_id, entry.incarnation), 0) - CLOCK_SLACK_MS
        own = [fault for fault in _faults(history) if fault.life.rpartition(".")[0] == entry.node_id]
        if not any(fault.until_ms >= since and fault.at_ms <= entry.at_ms + CLOCK_SLACK_MS for fault in own):
            detail = f"incarnation {entry.incarnation} was judged dead alive, at {entry.at_ms}"
            yield Violation(rule=Rule.FALSE_DEATH, subject=entry.node_id, detail=detail)


def _check_remains(remains: Remains, *, completed: int) -> Iterator[Violation]:
    expected = dict.fromkeys(OPEN, 0) | {"completed": completed}
    for state, wanted in sorted(expected.items()):
        if (got := remains.counts.get(state, 0)) != wanted:
            yield Violation(rule=Rule.REMAINS, subject=f"counts[{state}]", detail=f"{got}, expected {wanted}")
    for node_id, held in remains.open_counts.items():
        if held:
            yield Violation(rule=Rule.REMAINS, subject=f"open_counts[{node_id}]", detail=f"{held} held")
    if remains.audited < completed:
        detail = f"looked at {remains.audited} tasks of {completed}"
        yield Violation(rule=Rule.AUDIT, subject="the audit", detail=detail)
    for finding in remains.findings:
        yield Violation(rule=Rule.AUDIT, subject=finding.subject, detail=f"{finding.invariant}: {finding.what}")
    for place, left in remains.indexes.items():
        if left:
            yield Violation(rule=Rule.REMAINS, subject=place, detail=f"{left} left")
