"""`mesh.yaml`: which nodes one machine runs. Strict: a key nobody reads is an error, never ignored."""

import difflib
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from meshd.errors import ConfigurationError, InvalidArgumentError, UnknownSettingError
from meshd.ids import check_name
from meshd.role_names import RoleName
from meshd.settings_bridge import BridgeSettings
from meshd.settings_layers import environment_name
from meshd.tasks.routing import capability, labels_of


def _name(value: str) -> str:
    try:
        return check_name("name", value)
    except InvalidArgumentError as exc:
        raise ValueError(str(exc)) from exc


def _capability(value: str) -> str:
    try:
        capability(value)
    except InvalidArgumentError as exc:
        raise ValueError(str(exc)) from exc
    return value


def _label(value: str) -> str:
    try:
        labels_of([value])
    except InvalidArgumentError as exc:
        raise ValueError(str(exc)) from exc
    return value


Name = Annotated[str, AfterValidator(_name)]
Capability = Annotated[str, AfterValidator(_capability)]
Label = Annotated[str, AfterValidator(_label)]


class NodeSpec(BaseModel):
    """One entry under `nodes`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Name
    type: Name | None = None
    capabilities: list[Capability] = Field(default_factory=list[str])
    labels: list[Label] = Field(default_factory=list[str])
    role: str = ""
    module: str = ""
    """Dotted name, or path of a `.py` file, relative to the folder of the file that names it."""
    plays: Annotated[RoleName, Field(strict=False)] | None = None
    """It is no node of agents and handlers, but plays this one of the mesh's own roles."""
    bridge: BridgeSettings | None = None
    """Where a node of type bridge leads, and what it carries."""
    concurrency: int | None = Field(default=None, ge=1, le=10_000)
    replicas: int = Field(default=1, ge=0, le=1_000)
    """How many processes; with more than one, they are called `<name>-1`, `<name>-2`, …"""
    env: dict[str, str] = Field(default_factory=dict[str, str])

    @model_validator(mode="after")
    def _plays_or_works(self) -> Self:
        if self.plays is not None and self.model_fields_set - {"name", "plays", "replicas", "env"}:
            raise ValueError(f"{self.name!r} plays {self.plays}: besides it can have a name, replicas and env only")
        return self

    def environment(self) -> dict[str, str]:
        """Return what its process finds in its environment: the bridge's url may hold a password."""
        if self.bridge is None:
            return dict(self.env)
        values = self.bridge.model_dump(exclude_defaults=True)
        words = {key: value if isinstance(value, str) else ",".join(value) for key, value in values.items()}
        return {**{environment_name(f"bridge.{key}"): value for key, value in words.items()}, **self.env}

    def expand(self) -> list["NodeSpec"]:
        """Return one entry per process, each with a name of its own."""
        if self.replicas == 1:
            return [self]
        return [
            self.model_copy(update={"name": _name(f"{self.name}-{number}"), "replicas": 1})
            for number in range(1, self.replicas + 1)
        ]


class Fleet(BaseModel):
    """The whole file. Without `url` and `mesh` those of the settings hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    url: str | None = None
    mesh: Name | None = None
    nodes: list[NodeSpec] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [node.name for node in self.processes()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"node name {twice[0]!r} is used twice")
        return self

    def processes(self) -> list[NodeSpec]:
        """Return one entry per process to run, replicas spelled out."""
        return [process for node in self.nodes for process in node.expand()]


def load_fleet(path: Path) -> Fleet:
    """Read a fleet file.

    Raises:
        ConfigurationError: it cannot be read, is not YAML, or a value cannot be used; the message names the place.
        UnknownSettingError: it has a key that does not exist; the error names the nearest that does.
    """
    try:
        content: object = yaml.safe_load(path.read_text())
    except FileNotFoundError as exc:
        raise ConfigurationError(f"{path} does not exist; start from examples/mesh.yaml") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{path} cannot be read: {exc}") from exc
    except yaml.YAMLError as exc:
        raise ConfigurationError(f"{path} is not valid YAML: {' '.join(str(exc).split())}") from exc
    try:
        return Fleet.model_validate(content)
    except ValidationError as exc:
        raise _explain(exc, path=path) from exc


def _explain(error: ValidationError, *, path: Path) -> ConfigurationError:
    """Return the first complaint in our words; unknown keys first, since they explain missing ones."""
    problems: list[Any] = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    problem = problems[0]
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return ConfigurationError(f"{path}: {place or 'the file'}: {problem['msg'][:1].lower()}{problem['msg'][1:]}")
    model = NodeSpec if "nodes" in problem["loc"] else Fleet
    nearest = difflib.get_close_matches(str(problem["loc"][-1]), model.model_fields, n=1)
    return UnknownSettingError(place, source=str(path), nearest=nearest[0] if nearest else None)
