"""The task type `system.read`: how the machine under this node is doing right now."""

import os
import socket
from datetime import UTC, datetime
from typing import Any

import psutil

SAMPLE_SECONDS = 0.1


def read_system() -> dict[str, Any]:
    """Return measured values of this machine and when they were taken; no value is a constant."""
    memory = psutil.virtual_memory()
    return {
        "host": socket.gethostname(),
        "cpu_percent": psutil.cpu_percent(interval=SAMPLE_SECONDS),
        "load_average": os.getloadavg()[0],
        "memory_percent": memory.percent,
        "memory_available_mb": round(memory.available / 1_048_576, 1),
        "disk_percent": psutil.disk_usage("/").percent,
        "processes": len(psutil.pids()),
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
