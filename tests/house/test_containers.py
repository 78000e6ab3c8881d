"""docker-compose.yml, unmodified, under podman: tasks cross containers, and a node cut off is replaced and returns."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.containers
@pytest.mark.timeout(1200)
@pytest.mark.skipif(os.geteuid() != 0, reason="debootstrap and container networks need root")
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="the base image is made with Debian's tools")
def test_the_compose_file_runs_and_a_cut_off_node_returns() -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "containers"], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
