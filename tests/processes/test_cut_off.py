"""Row I8: with the store gone, `mesh status` says what is left of the mesh on this machine, and ends with code 4."""

import json
from pathlib import Path

from tests.processes.conftest import Place
from tests.support.redis_server import RedisServer


def test_status_tells_of_this_machines_node_while_the_store_is_away(place: Place, tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    server.start(aof=True)
    url = ("--url", server.url)
    try:
        place.mesh("enable", "--name", "n1", *url)
        server.kill()
        told = place.mesh("status", "--json", *url, code=4)
        document = json.loads(told.stdout)
        assert (document["kind"], document["totals"]) == ("status", None)
        assert document["mesh_state"]["state"] == "local"
        assert "node n1 (process " in document["mesh_state"]["detail"]
        assert "error: redis at" in told.stderr
        assert "local: the store does not answer" in place.mesh("status", *url, code=4).stdout
        server.restart()
        assert json.loads(place.mesh("status", "--json", *url).stdout)["totals"] is not None
        place.mesh("disable", *url)
    finally:
        server.stop()
