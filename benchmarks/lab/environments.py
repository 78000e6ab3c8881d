"""Each peer lives in an environment of its own, made on first use and kept by its versions.

They stand in the user's cache folder, `meshd-benchmarks`.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

INSTALL_TIMEOUT_S = 600
COMPLETE = ".complete"
"""Marks an environment whose installation came to its end."""


class AbsentError(Exception):
    """A peer cannot be measured here; the message says why."""


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "meshd-benchmarks"


def python_environment(packages: Sequence[str]) -> Path:
    """Return a virtual environment with these packages, made with this Python.

    Raises:
        AbsentError: they cannot be installed.
    """
    folder = _folder("python", [*packages, sys.version])
    python = str(folder / "bin" / "python")
    if shutil.which("uv"):
        commands = [["uv", "venv", "--python", sys.executable, str(folder)]]
        commands += [["uv", "pip", "install", "--python", python, *packages]]
    else:
        commands = [[sys.executable, "-m", "venv", str(folder)], [python, "-m", "pip", "install", *packages]]
    return _made(folder, packages, commands)


def node_environment(packages: Sequence[str]) -> Path:
    """Return a folder with these packages in its `node_modules`.

    Raises:
        AbsentError: node or npm is not here, or they cannot be installed.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise AbsentError(f"{program} is not installed")
    folder = _folder("node", packages)
    return _made(folder, packages, [["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), *packages]])


def _folder(kind: str, parts: Sequence[str]) -> Path:
    digest = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:8]
    return cache() / f"{kind}-{parts[0].replace('==', '-').replace('@', '-')}-{digest}"


def _made(folder: Path, packages: Sequence[str], commands: Sequence[Sequence[str]]) -> Path:
    if (folder / COMPLETE).exists():
        return folder
    print(f"installing {' '.join(packages)} into {folder}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for command in commands:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode != 0:
            raise AbsentError(f"{' '.join(command[:3])} failed: {(done.stderr or done.stdout).strip()[-500:]}")
    (folder / COMPLETE).touch()
    return folder
