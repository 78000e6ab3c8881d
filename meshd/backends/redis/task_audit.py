"""The audit on Redis: every listed task against the indexes made from it, then every index against the tasks it names.

Each step is one script, so what is judged cannot change under it. The counters are compared only if nothing happened
in the mesh from the audit's beginning to its end.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from meshd.backends.redis.link import Link
from meshd.errors import InvalidArgumentError
from meshd.tasks.audit import AuditPage, Finding, Invariant
from meshd.tasks.model import Priority, TaskState

PAGE = 128
"""Most tasks one script looks at."""
STEPS = 40
"""Most scripts one call runs."""
SCANNED = 200
"""About how many entries of an index one call looks at."""

UNLISTED = "the task is kept, and not listed"
"""What `task_audit_index` says of a task that no listing shows."""
_SETS = ("held", "placed")
_COUNTED = tuple(state for state in TaskState if not state.is_terminal)


class _At(msgspec.Struct, frozen=True):
    """How far an audit is: in the list of the tasks, or in the list of the indexes."""

    events: str = ""
    """Number of the last event when it began."""
    counted: dict[str, int] = {}
    last_id: str | None = ""
    """The last task judged; `None` once all are."""
    index: int = 0
    place: str = ""
    """Where to go on in this index."""
    is_counted: bool = True
    """Whether the list had every task, so that what was counted is all."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_At).decode


async def audit(link: Link, *, repair: bool, cursor: str | None) -> AuditPage:
    """Look at one part of the tasks of one partition; see `TaskStore.audit`."""
    at: _At | None = _At() if cursor is None else _read(cursor)
    checked, findings = 0, list[Finding]()
    for _ in range(STEPS):
        if at is None or checked >= PAGE:
            break
        if at.last_id is not None:
            page, at = await _judge_tasks(link, at, last_id=at.last_id, repair=repair)
        else:
            page, at = await _judge_index(link, at, repair=repair)
        checked += page.checked
        findings += page.findings
    following = None if at is None else _encode(at).decode()
    return AuditPage(checked=checked, findings=tuple(findings), cursor=following)


def _read(cursor: str) -> _At:
    try:
        return _decode(cursor)
    except msgspec.MsgspecError as exc:
        raise InvalidArgumentError(f"audit cursor {cursor!r} was not given by an audit") from exc


async def _run(link: Link, name: str, *args: str | bytes | int) -> Any:
    return await link.run(name, key=link.keys.clock(link.keys.tasks), args=args)


async def _judge_tasks(link: Link, at: _At, *, last_id: str, repair: bool) -> tuple[AuditPage, _At]:
    reply = await _run(link, "task_audit", int(repair) or "", last_id, PAGE)
    states: dict[str, int] = msgspec.json.decode(reply[3], type=dict[str, int]) if reply[3] != b"[]" else {}
    findings = [
        Finding(
            invariant=Invariant(reply[n].decode()),
            subject=reply[n + 1].decode(),
            what=reply[n + 2].decode(),
            repaired=reply[n + 3] == b"repaired",
        )
        for n in range(4, len(reply), 4)
    ]
    counted = dict(Counter(at.counted) + Counter(states))
    begun = at.events or reply[1].decode()
    following = reply[2].decode() or None
    page = AuditPage(checked=sum(states.values()), findings=tuple(findings))
    return page, _At(events=begun, counted=counted, last_id=following)


async def _judge_counts(link: Link, *, events: str, counted: dict[str, int], repair: bool) -> list[Finding]:
    states = [part for state in _COUNTED for part in (state.value, counted.get(state.value, 0))]
    reply = await _run(link, "task_audit_counts", int(repair) or "", events, *states)
    return [
        Finding(
            invariant=Invariant.COUNTS_AGREE,
            subject=reply[n].decode(),
            what=f"{reply[n + 2].decode()} tasks are {reply[n].decode()}, the counter says {reply[n + 1].decode()}",
            repaired=reply[n + 3] == b"repaired",
        )
        for n in range(1, len(reply), 4)
    ]


async def _judge_index(link: Link, at: _At, *, repair: bool) -> tuple[AuditPage, _At | None]:
    indexes = await _indexes(link)
    if at.index >= len(indexes):
        return AuditPage(), None
    kind, name = indexes[at.index]
    members, place = await _members(link, kind, name, at.place)
    findings: tuple[Finding, ...] = ()
    if members:
        reply = await _run(link, "task_audit_index", int(repair) or "", kind, name, *members)
        findings = tuple(
            Finding(
                invariant=Invariant.NO_STRAYS,
                subject=reply[n + 1].decode(),
                what=reply[n].decode(),
                repaired=reply[n + 2] == b"repaired",
            )
            for n in range(1, len(reply), 3)
        )
    is_counted = at.is_counted and not any(finding.what == UNLISTED for finding in findings)
    if not place and at.index + 1 >= len(indexes):
        if is_counted:
            findings += tuple(await _judge_counts(link, events=at.events, counted=at.counted, repair=repair))
        return AuditPage(findings=findings), None
    following = msgspec.structs.replace(
        at, index=at.index if place else at.index + 1, place=place, is_counted=is_counted
    )
    return AuditPage(findings=findings), following


async def _indexes(link: Link) -> Sequence[tuple[str, str]]:
    """Return kind and name of every index, those of nodes and queues by who and what the mesh knows."""
    keys = link.keys
    nodes = {node.decode() for key in (keys.beats(), keys.dead()) for node in await link.command("ZRANGE", key, 0, -1)}
    routes = sorted(route.decode() for route in await link.command("ZRANGE", keys.index("routes"), 0, -1))
    queues = [f"{route}:{priority}" for route in routes for priority in Priority]
    return [
        *((kind, "") for kind in ("lease", "sched", "dl", "backs")),
        *(("ended", state.value) for state in TaskState if state.is_terminal),
        *((kind, node) for node in sorted(nodes) for kind in _SETS),
        *((kind, queue) for queue in queues for kind in ("q", "front")),
    ]


async def _members(link: Link, kind: str, name: str, place: str) -> tuple[list[bytes], str]:
    """Return some members of an index and where to go on, empty at its end."""
    key = link.keys.index(kind, name)
    if kind == "q":
        entries: Any = await link.command("XRANGE", key, f"({place}" if place else "-", "+", "COUNT", SCANNED)
        members = [part for entry, fields in entries for part in (entry, fields[b"t"])]
        return members, entries[-1][0].decode() if len(entries) == SCANNED else ""
    scan = "SSCAN" if kind in _SETS else "ZSCAN"
    following, found = await link.command(scan, key, place or "0", "COUNT", SCANNED)
    step = 1 if kind in _SETS else 2
    cursor = following.decode() if isinstance(following, bytes) else str(following)
    flat = [part for item in found for part in item] if found and isinstance(found[0], tuple | list) else list(found)
    return flat[::step], "" if cursor == "0" else cursor
