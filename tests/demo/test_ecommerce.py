"""The shop of examples/ecommerce.yaml: six processes that share nothing but a store, asserted by its customers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.redis_server import RedisServer

EXAMPLES = Path(__file__).parents[2] / "examples"
MESH = (sys.executable, "-m", "meshd_cli.main")


@pytest.fixture(params=["sqlite", "redis"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer) -> Iterator[dict[str, str]]:
    """Environment of everybody in the shop, whose topology ticks ten times as fast as usual."""
    url = "sqlite:///.meshd/mesh.db" if request.param == "sqlite" else redis_server.url
    root = Path(__file__).parents[2]
    path = os.pathsep.join((str(root), str(root / "cli")))
    env = {**os.environ, "MESHD_URL": url, "MESHD_MESH": "shop", "PYTHONPATH": path}
    env["MESHD_TOPOLOGY__DECAY_INTERVAL_SECONDS"] = "0.5"
    command = [*MESH, "up", "--file", str(EXAMPLES / "ecommerce.yaml")]
    supervisor = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield env
    finally:
        supervisor.terminate()
        assert supervisor.wait(timeout=30) == 0


@pytest.mark.slow
def test_the_shop_sells_and_votes_and_its_edges_grow_decay_and_are_pruned(shop: dict[str, str], tmp_path: Path) -> None:
    customers = subprocess.run(
        [sys.executable, str(EXAMPLES / "ecommerce" / "customers.py")],
        cwd=tmp_path,
        env=shop,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert customers.returncode == 0, customers.stdout + customers.stderr
    assert customers.stdout.count("ok  order") == 10
    assert "an unused edge was pruned" in customers.stdout
    listing = [*MESH, "nodes", "list"]
    listed = subprocess.run(listing, cwd=tmp_path, env=shop, capture_output=True, text=True, check=True).stdout
    assert all(f"{name}-manager" in listed for name in ("topology", "consensus")), listed
