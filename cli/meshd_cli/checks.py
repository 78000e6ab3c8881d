"""The checks of `mesh doctor`, from the settings outwards. Each finds, judges, and names the fix."""

import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from statistics import median
from typing import Any, Literal

from meshd.backends import split_url
from meshd.errors import ConfigurationError, MeshError
from meshd.ids import new_id
from meshd.mesh import Mesh
from meshd.nodes.model import Node, Verdict
from meshd.tasks.model import Durability, TaskState
from meshd.tasks.routing import claimer_of, serves
from meshd_cli.memory_check import memory_troubles
from meshd_cli.render import Document
from meshd_cli.session import Session

SAMPLES = 20
SLOW_MS = 50.0
CLOCK_SKEW_MS = 1_000
CONNECT_SECONDS = 2.0
SHOWN_FINDINGS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding."""

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    fix: str = ""


def examine(session: Session, *, repair: bool) -> Document:
    """Run every check that can be run here; with `repair`, mend what the audit of the tasks finds."""
    checks = list(_checks(session, repair=repair))
    return {
        "kind": "doctor",
        "healthy": all(check.state != "fail" for check in checks),
        "checks": [asdict(check) for check in checks],
    }


def _checks(session: Session, *, repair: bool) -> Iterable[Check]:
    yield _package()
    try:
        settings = session.settings
    except ConfigurationError as exc:
        yield Check(name="settings", state="fail", detail=str(exc), fix="correct it; config.yaml lists every setting")
        return
    given = [source for source in settings.sources().values() if source != "default"]
    yield Check(name="settings", state="ok", detail=f"{len(given)} given, the rest by default")
    yield _state_dir(Path(settings.state_dir))
    try:
        ports = [_port(url) for url in settings.store_urls]
        port = next((port for port in ports if port.state != "fail"), ports[0])
        yield port
        if port.state == "fail":
            return
        yield from session.run(partial(_examine_store, repair=repair))
    except MeshError as exc:
        yield Check(name="store", state="fail", detail=str(exc), fix=_store_fix(exc))
        return
    yield _registration(session)


async def _examine_store(mesh: Mesh, *, repair: bool) -> list[Check]:
    found: list[Check] = []
    checks: dict[str, Callable[[Mesh], Awaitable[Check]]] = {
        "store": _connectivity,
        "performance": _writing,
        "clock": _clock,
        "ports": _ports,
        "heartbeats": _heartbeats,
        "waiting tasks": _waiting_tasks,
        "task audit": partial(_audit, repair=repair),
        "memory": _memory,
    }
    for name, check in checks.items():
        try:
            found.append(await check(mesh))
        except MeshError as exc:
            found.append(Check(name=name, state="fail", detail=str(exc), fix=_store_fix(exc)))
    return found


async def _memory(mesh: Mesh) -> Check:
    detail, troubles = await memory_troubles(mesh)
    if not troubles:
        return Check(name="memory", state="ok", detail=detail)
    return Check(
        name="memory", state="warn", detail="; ".join(troubles), fix="; ".join(dict.fromkeys(troubles.values()))
    )


def _package() -> Check:
    """A package of the same import name from somewhere else shadows or breaks this one."""
    try:
        foreign = distribution("meshd")
    except PackageNotFoundError:
        return Check(name="package", state="ok", detail=f"agent-meshd {distribution('agent-meshd').version}")
    return Check(
        name="package",
        state="fail",
        detail=f"a foreign package named meshd {foreign.version} is installed beside agent-meshd",
        fix="pip uninstall meshd, then reinstall agent-meshd",
    )


def _state_dir(path: Path) -> Check:
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if existing.is_dir() and os.access(existing, os.W_OK):
        return Check(name="state folder", state="ok", detail=f"{path} can be written")
    return Check(
        name="state folder",
        state="fail",
        detail=f"{path} cannot be written",
        fix="give this user write access, or set state_dir to another folder",
    )


def _port(url: str) -> Check:
    parts = split_url(url)
    if parts.scheme.partition("+")[0] not in ("redis", "rediss"):
        return Check(name="connectivity", state="ok", detail="the store is a file of this machine: no port is needed")
    if "+" in parts.scheme:
        return Check(name="connectivity", state="ok", detail="the store is several servers: who answers is seen below")
    address = (parts.hostname or "localhost", parts.port or 6379)
    try:
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()
    except OSError as exc:
        return Check(
            name="connectivity",
            state="fail",
            detail=f"nothing answers at {address[0]}:{address[1]}: {exc.strerror or exc}",
            fix="start Redis there, open the port in the firewall, or correct --url",
        )
    return Check(name="connectivity", state="ok", detail=f"{address[0]}:{address[1]} answers")


async def _connectivity(mesh: Mesh) -> Check:
    latencies = [(await mesh.backend.health()).latency_ms for _ in range(SAMPLES)]
    health = await mesh.backend.health()
    detail = (
        f"{health.kind} {health.version} at {health.url}, durability {health.durability}, "
        f"{'' if health.replicas is None else f'{health.replicas} replicas, '}"
        f"round trip {median(latencies):.2f} ms (longest {max(latencies):.2f} ms)"
    )
    if health.alarms:
        return Check(name="store", state="warn", detail=detail, fix="; ".join(health.alarms))
    if health.durability is Durability.D0:
        fix = "turn on persistence: for Redis, appendonly yes"
        return Check(name="store", state="warn", detail=detail, fix=fix)
    if median(latencies) > SLOW_MS:
        return Check(
            name="store", state="warn", detail=detail, fix="move the store closer, or look at what keeps it busy"
        )
    return Check(name="store", state="ok", detail=detail)


async def _writing(mesh: Mesh) -> Check:
    """Write, read and delete records: shows both that it works and how fast."""
    started = time.perf_counter()
    for _ in range(SAMPLES):
        key = f"doctor/{new_id()}"
        await mesh.records.put(key, b"1", ttl_ms=10_000)
        await mesh.records.get(key)
        await mesh.records.delete(key)
    rate = 3 * SAMPLES / (time.perf_counter() - started)
    detail = f"{rate:.0f} record operations per second, one at a time"
    if rate < 3 * 1000 / SLOW_MS / 3:
        return Check(name="performance", state="warn", detail=detail, fix="the store is slow: check its disk and load")
    return Check(name="performance", state="ok", detail=detail)


async def _clock(mesh: Mesh) -> Check:
    nodes = await mesh.nodes.list(include_dead=True)
    if not nodes:
        return Check(name="clock", state="ok", detail="no node yet whose record would tell the store's time")
    skew = nodes[-1].read_ms - time.time_ns() // 1_000_000
    if abs(skew) > CLOCK_SKEW_MS:
        return Check(
            name="clock",
            state="warn",
            detail=f"the store's clock is {skew} ms away from this machine's",
            fix="the mesh uses the store's clock only; set both by NTP so that logs agree",
        )
    return Check(name="clock", state="ok", detail=f"{skew:+d} ms from the store's to this machine's")


async def _ports(mesh: Mesh) -> Check:
    taken: dict[tuple[str, int], list[str]] = {}
    for node in await mesh.nodes.list():
        if node.profile.port:
            taken.setdefault((node.profile.host, node.profile.port), []).append(node.id)
    shared = [f"{host}:{port} by {', '.join(ids)}" for (host, port), ids in taken.items() if len(ids) > 1]
    if shared:
        return Check(
            name="ports",
            state="warn",
            detail=f"reported more than once: {'; '.join(shared)}",
            fix="give each node its own port (MESHD_PORT) if something connects to them",
        )
    return Check(name="ports", state="ok", detail=f"{len(taken)} reported, none twice")


async def _heartbeats(mesh: Mesh) -> Check:
    nodes = await mesh.nodes.list(include_dead=True)
    silent = [node for node in nodes if node.verdict is not Verdict.ALIVE]
    living = [node for node in nodes if node.verdict is Verdict.ALIVE]
    detail = f"{len(living)} nodes alive" + (f", oldest beat {_oldest(living)} ms ago" if living else "")
    if silent:
        detail += f"; silent: {', '.join(f'{node.id} ({node.verdict})' for node in silent)}"
        fix = "look at their machines; `mesh enable` or `mesh node start` brings a node back under its id"
        return Check(name="heartbeats", state="warn", detail=detail, fix=fix)
    if not living:
        return Check(
            name="heartbeats", state="warn", detail="no node is in the mesh", fix="`mesh enable` starts one here"
        )
    return Check(name="heartbeats", state="ok", detail=detail)


def _oldest(nodes: list[Node]) -> int:
    return max(node.beat_age_ms for node in nodes)


async def _waiting_tasks(mesh: Mesh) -> Check:
    page = await mesh.tasks.list(states=[TaskState.READY], limit=100)
    offers = [claimer_of(node.profile) for node in await mesh.nodes.list()]
    unserved = {task.route for task in page.tasks if not any(serves(offer, task.route) for offer in offers)}
    if unserved:
        return Check(
            name="waiting tasks",
            state="warn",
            detail=f"ready tasks that no live node can run: {', '.join(sorted(unserved))}",
            fix="`mesh explain TASK` says what each node lacks; start one that has it, or cancel the tasks",
        )
    return Check(name="waiting tasks", state="ok", detail=f"{len(page.tasks)} ready, each with a node that can run it")


async def _audit(mesh: Mesh, *, repair: bool) -> Check:
    report = await mesh.tasks.audit(repair=repair)
    if not report.findings:
        return Check(name="task audit", state="ok", detail=f"{report.checked} tasks, every invariant holds")
    mended = sum(finding.repaired for finding in report.findings)
    shown = "; ".join(f"{found.invariant} {found.subject}: {found.what}" for found in report.findings[:SHOWN_FINDINGS])
    detail = f"{report.checked} tasks, {len(report.findings)} findings, {mended} repaired: {shown}"
    if report.is_sound:
        return Check(name="task audit", state="warn", detail=detail, fix="repaired; run `mesh doctor` again to be sure")
    fix = "report what could not be repaired" if repair else "`mesh doctor --repair` mends the indexes"
    return Check(name="task audit", state="fail", detail=detail, fix=fix)


def _registration(session: Session) -> Check:
    name = session.local_node_name
    if name is None:
        detail = "this machine's node is not enabled"
        return Check(name="registration", state="warn", detail=detail, fix="`mesh enable` if this machine should work")

    async def find(mesh: Mesh) -> list[Any]:
        return [node for node in await mesh.nodes.list() if node.id == name]

    if session.run(find):
        return Check(name="registration", state="ok", detail=f"this machine's node {name} is in the mesh")
    return Check(
        name="registration",
        state="fail",
        detail=f"this machine's node {name} runs, but the mesh does not list it",
        fix=f"`mesh logs {name}` says why; `mesh disable` and `mesh enable` start it anew",
    )


def _store_fix(exc: MeshError) -> str:
    from meshd_cli.hints import hint_for

    return hint_for(exc.code).replace("; `mesh doctor` checks each step", "") or "look at the store's own log"
