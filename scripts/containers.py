"""The checks of scripts/containers, against the running compose project: work crosses containers, and a cut heals.

Everything is asked through the `mesh` command inside the watcher's container, which shares nothing with the nodes.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

PODMAN = os.environ["PODMAN"].split()
PROJECT = os.environ["PROJECT"]
NODES = {"general-1": "node-general", "language-1": "node-language", "sensor-1": "node-sensor"}
CUT = "language-1"
SUBMITTED = 35
BURST = 32
CUT_SECONDS = 60
"""Longer than the kernel waits for an answer on an idle connection before it gives the connection up."""

BURST_SCRIPT = f"""
from meshd import SyncMesh
with SyncMesh() as mesh:
    for number in range({BURST}):
        text = "The mesh was not slow, and nobody waited. " * 4_000
        print(mesh.tasks.submit("text.analyze", text=text, name=f"burst-{{number}}").id)
"""


class CheckFailedError(Exception):
    """What the containers did is not what was promised."""


def podman(*arguments: str, stdin: str = "") -> str:
    done = subprocess.run([*PODMAN, *arguments], input=stdin, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise CheckFailedError(f"podman {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def container(service: str) -> str:
    return f"{PROJECT}_{service}_1"


def mesh(*arguments: str) -> Any:
    return json.loads(podman("exec", container("watcher"), "mesh", *arguments, "--json"))


def live_nodes() -> dict[str, Any]:
    return {node["id"]: node for node in mesh("nodes", "list")["nodes"] if node["verdict"] == "alive"}


def tasks() -> list[Any]:
    found: list[Any] = []
    cursor: list[str] = []
    while True:
        page = mesh("tasks", "list", "--limit", "200", *cursor)
        found += page["tasks"]
        if not page["cursor"]:
            return found
        cursor = ["--cursor", page["cursor"]]


def wait_for(what: str, ready: Callable[[], Any], *, seconds: float) -> Any:
    begun = time.monotonic()
    last: object = None
    while time.monotonic() - begun < seconds:
        try:
            last = ready()
        except (CheckFailedError, json.JSONDecodeError) as exc:
            last = exc
        else:
            if last:
                print(f"✓ {what} ({time.monotonic() - begun:.1f} s)", flush=True)
                return last
        time.sleep(0.3)
    raise CheckFailedError(f"not within {seconds:g} s: {what}; last seen: {last}")


def check_that_all_join() -> None:
    wait_for("three nodes of three types are alive", lambda: len(live_nodes()) == len(NODES), seconds=90)
    types = {node["type"] for node in live_nodes().values()}
    if len(types) != len(NODES):
        raise CheckFailedError(f"expected three node types, found {sorted(types)}")
    for service in NODES.values():
        wait_for(f"{service} is healthy", lambda service=service: is_healthy(service), seconds=30)


def is_healthy(service: str) -> bool:
    podman("healthcheck", "run", container(service))
    return True


def check_that_tasks_cross() -> None:
    def all_done() -> list[Any]:
        found = tasks()
        return found if len(found) == SUBMITTED and all(task["state"] == "completed" for task in found) else []

    done = wait_for(f"all {SUBMITTED} tasks of the submitter's container are completed", all_done, seconds=180)
    workers = Counter(task["node"] for task in done)
    print(f"  by node: {dict(workers)}")
    if workers.keys() != NODES.keys():
        raise CheckFailedError(f"expected every node to have worked, found {dict(workers)}")


def check_that_a_cut_heals() -> None:
    network = f"{PROJECT}_default"
    burst = podman("exec", "-i", container("watcher"), "python", "-", stdin=BURST_SCRIPT).split()

    def held() -> list[str]:
        found = tasks()
        return [task["id"] for task in found if task["node"] == CUT and task["state"] == "running"]

    holding = wait_for(f"{CUT} holds tasks of the burst", held, seconds=30)
    podman("network", "disconnect", network, container(NODES[CUT]))
    back_at = time.monotonic() + CUT_SECONDS
    print(f"  {CUT} is cut off for {CUT_SECONDS} s while it runs {len(holding)} tasks", flush=True)
    wait_for("the others notice", lambda: CUT not in live_nodes(), seconds=30)

    def finished() -> dict[str, Any]:
        found = {task["id"]: task for task in tasks() if task["id"] in burst}
        return found if len(found) == BURST and all(task["state"] == "completed" for task in found.values()) else {}

    done = wait_for(f"all {BURST} tasks of the burst are completed", finished, seconds=180)
    print(f"  by node: {dict(Counter(task['node'] for task in done.values()))}")
    elsewhere = [key for key in holding if done[key]["node"] != CUT]
    if not elsewhere:
        raise CheckFailedError(f"none of the tasks {CUT} held was finished elsewhere: {holding}")
    print(f"✓ {len(elsewhere)} of {len(holding)} tasks it held were finished elsewhere")
    time.sleep(max(0.0, back_at - time.monotonic()))
    podman("network", "connect", network, container(NODES[CUT]))
    wait_for(f"{CUT} is back by itself", lambda: CUT in live_nodes(), seconds=60)
    wait_for(f"{CUT} works again", works_again, seconds=60)


def works_again() -> bool:
    podman(
        "exec", "-i", container("watcher"), "python", "-", stdin=BURST_SCRIPT.replace(f"range({BURST})", "range(16)")
    )
    return any(node["id"] == CUT and node["open_tasks"] for node in live_nodes().values())


def main() -> int:
    try:
        check_that_all_join()
        check_that_tasks_cross()
        check_that_a_cut_heals()
    except CheckFailedError as exc:
        print(f"✗ {exc}", file=sys.stderr)
        return 1
    print("✓ containers: all checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
