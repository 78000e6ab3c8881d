"""The version of this distribution."""

from importlib.metadata import PackageNotFoundError, version


def _installed_version() -> str:
    try:
        return version("agent-meshd")
    except PackageNotFoundError:
        return "0+unknown"


VERSION = _installed_version()
