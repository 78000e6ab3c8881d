"""One invocation of the command line: the global options, the settings they lead to, the mesh that opens on them."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import typer

if TYPE_CHECKING:
    from meshd.mesh import Mesh
    from meshd.runtime.local import LocalNode
    from meshd.settings import Settings

T = TypeVar("T")

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(kw_only=True)
class Session:
    """What `ctx.obj` is in every command."""

    url: str | None = None
    mesh: str | None = None
    config: Path | None = None
    json: bool = False
    color: str = "auto"
    debug: bool = False
    verbose: bool = False

    @cached_property
    def settings(self) -> "Settings":
        """The settings in effect for this invocation; reading them sets up logging and tells of older names."""
        from meshd.settings import Settings
        from meshd_cli import render

        settings = Settings.load(self.config, url=self.url, mesh=self.mesh)
        for text in settings.notes:
            render.note(text)
        self._log(settings)
        return settings

    def fresh(self) -> "Session":
        """Return a session with the same options that has read nothing yet."""
        return replace(self)

    def arguments(self) -> list[str]:
        """Return the options a child process needs to reach the same mesh."""
        given = {"--url": self.url, "--mesh": self.mesh, "--config": self.config}
        return [part for name, value in given.items() if value is not None for part in (name, str(value))]

    def open(self) -> "Mesh":
        """Return the mesh, not opened yet.

        Raises:
            ConfigurationError: it is disabled in the settings, and this machine's node does not run.
        """
        from meshd.errors import ConfigurationError
        from meshd.mesh import Mesh

        if not self.is_enabled:
            source = self.settings.sources()["enabled"]
            raise ConfigurationError(
                f"the mesh is disabled here: enabled is false ({source}); `mesh enable` turns it on"
            )
        return Mesh(settings=self.settings)

    @cached_property
    def is_enabled(self) -> bool:
        """Whether commands may use the store: the setting, or this machine's node runs."""
        return self.settings.enabled or self.local_node_name is not None

    @cached_property
    def local_node_name(self) -> str | None:
        """Id of this machine's node, `None` while it is disabled."""
        local = self.local_node
        return None if local is None else local.name

    @cached_property
    def local_node(self) -> "LocalNode | None":
        """This machine's node, `None` while it is disabled."""
        from meshd.runtime.state_dir import StateDir

        if not StateDir(Path(self.settings.state_dir)).local_pid.exists():
            return None
        from meshd_cli.processes import local_node

        return local_node(self.settings)

    def run(self, work: "Callable[[Mesh], Awaitable[T]]") -> T:
        """Open the mesh, do `work`, close it."""
        import asyncio

        async def opened() -> T:
            async with self.open() as mesh:
                return await work(mesh)

        return asyncio.run(opened())

    def _log(self, settings: "Settings") -> None:
        level = settings.logging.level if settings.sources()["logging.level"] != "default" else "WARNING"
        logging.basicConfig(level="DEBUG" if self.debug or self.verbose else level, format=LOG_FORMAT)


def session_of(ctx: typer.Context) -> Session:
    """Return the session of this invocation."""
    root = ctx.find_root()
    if root.obj is None:
        root.obj = Session()
    return cast("Session", root.obj)


def remember(ctx: typer.Context, name: str, value: Any) -> None:
    """Keep a global option's value, wherever on the command line it was given."""
    if value is not None and value is not False:
        setattr(session_of(ctx), name, value)
