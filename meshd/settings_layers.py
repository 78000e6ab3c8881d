"""Where settings come from: arguments, environment, a file. Each becomes a layer of dotted keys, then they are merged.

Invariant: a name in a layer is a setting that exists. Everything else was refused with its place and its nearest match.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard, cast, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from meshd.codec import parse_json
from meshd.errors import ConfigurationError, InvalidPayloadError, UnknownSettingError
from meshd.settings_aliases import ENVIRONMENT_ALIASES, FILE_ALIASES, is_in_effect, is_later

PREFIX = "MESHD_"
CONFIG_VARIABLE = "MESHD_CONFIG"
"""Names the settings file."""
NO_SETTINGS = frozenset({CONFIG_VARIABLE, "MESHD_CRASH_POINT"})
"""Variables with the prefix that are no settings; the other one says where a test wants a node to die."""

DEFAULT_FILE = Path("config.yaml")
SECTIONS = ("agent_mesh", "distributed_network")
"""Top-level keys of a settings file whose content is read."""

WHOLE = frozenset({"memory_sync.prefixes"})
"""Settings whose value is a mapping; all other mappings are sections."""

_COMPOUND = (tuple, list, dict, Mapping)
_BARE_MARKS = frozenset({"network", "atomspace", "discovery", "resilience"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One setting as a source gave it."""

    value: Any
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """All sources merged."""

    values: dict[str, Value] = field(default_factory=dict[str, Value])
    notes: tuple[str, ...] = ()
    """What to tell the person: older names in use."""

    def nested(self) -> dict[str, Any]:
        """Return the values as a settings class takes them."""
        tree: dict[str, Any] = {}
        for key, given in self.values.items():
            *sections, leaf = key.split(".")
            place = tree
            for section in sections:
                place = place.setdefault(section, {})
            place[leaf] = given.value
        return tree

    def explain(self, exc: ValidationError) -> str:
        """Return the first complaint with the setting's name and where its value came from."""
        error = exc.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in error["loc"])
        message = error["msg"].removeprefix("Value error, ")
        return f"setting {key or 'values'} {self._origin(key)}: {message[:1].lower()}{message[1:]}"

    def _origin(self, key: str) -> str:
        matching = [given.source for name, given in self.values.items() if _related(name, key)]
        return f"from {matching[0]}" if matching else "by default"


@dataclass(slots=True)
class _Layer:
    values: dict[str, Value] = field(default_factory=dict[str, Value])
    notes: list[str] = field(default_factory=list[str])

    def add(self, key: str, value: object, source: str) -> None:
        if key in self.values:
            raise ConfigurationError(f"setting {key!r} is given twice: {self.values[key].source} and {source}")
        self.values[key] = Value(value=value, source=source)


def leaf_keys(model: type[BaseModel]) -> Iterator[str]:
    """Yield every setting of `model` as a dotted key, in order."""
    for key, _ in _leaves(model):
        yield key


def _leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _leaves(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, info


def environment_name(key: str) -> str:
    """Return the environment variable that sets `key`."""
    return PREFIX + key.upper().replace(".", "__")


def gather(settings_class: type[BaseModel], file: Path | None, overrides: Mapping[str, Any]) -> Gathered:
    """Return all sources merged: arguments over environment over file.

    Raises:
        UnknownSettingError: a source names a setting that does not exist.
        ConfigurationError: a file cannot be read, or a name's feature is not available yet.
    """
    known = frozenset(leaf_keys(settings_class))
    layers = (
        _file_layer(file, known),
        _older_environment_layer(),
        _environment_layer(settings_class, known),
        _argument_layer(overrides, known),
    )
    values: dict[str, Value] = {}
    for layer in layers:
        values.update(layer.values)
    return Gathered(values=values, notes=tuple(note for layer in layers for note in layer.notes))


def _argument_layer(overrides: Mapping[str, Any], known: frozenset[str]) -> _Layer:
    layer = _Layer()
    for name, value in _flat({name.replace("__", "."): value for name, value in overrides.items()}):
        if name not in known:
            raise UnknownSettingError(name, source="arguments", nearest=_nearest(name, known))
        layer.add(name, value, "argument")
    return layer


def _environment_layer(settings_class: type[BaseModel], known: frozenset[str]) -> _Layer:
    texts = {name.upper(): text for name, text in os.environ.items() if name.upper().startswith(PREFIX)}
    names = texts.keys() - NO_SETTINGS
    sections = {key.partition(".")[0] for key in known}
    for name in sorted(names):
        key = name.removeprefix(PREFIX).lower().replace("__", ".")
        if key in known or key in sections:
            continue
        if is_later(key):
            raise ConfigurationError(f"{name} in the environment: this setting is not available yet; unset it")
        nearest = _nearest(key, known)
        raise UnknownSettingError(name, source="the environment", nearest=nearest and environment_name(nearest))
    layer = _Layer()
    for section in sorted(sections - known):
        for key, value in _environment_section(section, texts):
            if key not in known:
                raise UnknownSettingError(key, source="the environment", nearest=_nearest(key, known))
            layer.values[key] = Value(value=value, source=f"environment {environment_name(section)}")
    for key, info in _leaves(settings_class):
        name = environment_name(key)
        if text := texts.get(name):
            value = _parsed(name, text) if _is_compound(info) and text.lstrip()[:1] in "[{" else text
            layer.values[key] = Value(value=value, source=f"environment {name}")
    return layer


def _environment_section(section: str, texts: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield what the variable of a whole section holds, as JSON; those of its settings go before it."""
    name = environment_name(section)
    if text := texts.get(name):
        tree = _parsed(name, text)
        if not _is_mapping(tree):
            raise ConfigurationError(f"environment {name} must hold names and values, as JSON")
        yield from _flat(tree, f"{section}.")


def _parsed(name: str, text: str) -> Any:
    try:
        return parse_json(text, what="its value")
    except InvalidPayloadError as exc:
        raise ConfigurationError(f"environment {name}: {exc}") from exc


def _is_compound(info: FieldInfo) -> bool:
    """Return whether a setting holds several values."""
    return get_origin(info.annotation) in _COMPOUND


def _older_environment_layer() -> _Layer:
    layer = _Layer()
    for name, key in ENVIRONMENT_ALIASES.items():
        value = os.environ.get(name)
        if not value:
            continue
        keys = key.split("+")
        for part, content in zip(keys, value.rsplit(":", 1) if len(keys) > 1 else [value], strict=False):
            layer.add(part, content, f"environment {name}")
        layer.notes.append(f"{name} is an older name: use {' and '.join(map(environment_name, keys))}")
    return layer


def _file_layer(file: Path | None, known: frozenset[str]) -> _Layer:
    layer = _Layer()
    named = os.environ.get(CONFIG_VARIABLE)
    path = file or (Path(named) if named else DEFAULT_FILE)
    required = file is not None or bool(named)
    if not required and not path.is_file():
        return layer
    for key, value in _flat(_section(path, required=required)):
        _add_from_file(layer, key, value, path, known)
    return layer


def _add_from_file(layer: _Layer, key: str, value: object, path: Path, known: frozenset[str]) -> None:
    source = f"file {path}"
    if key in known:
        layer.add(key, value, source)
    elif key in FILE_ALIASES:
        layer.add(FILE_ALIASES[key], value, f"{source} ({key})")
        layer.notes.append(f"{key} in {path} is an older name: use {FILE_ALIASES[key]}")
    elif is_in_effect(key, value):
        return
    elif is_later(key):
        raise ConfigurationError(f"setting {key!r} in {source} is not available yet; remove it")
    else:
        raise UnknownSettingError(key, source=source, nearest=_nearest(key, known))


def _section(path: Path, *, required: bool) -> dict[str, Any]:
    """Return the part of the file that is ours; empty for a file that never mentions us and was not asked for."""
    root = _read_yaml(path)
    ours = [name for name in SECTIONS if name in root]
    if not ours:
        if not root or not required:
            return {}
        if _BARE_MARKS & root.keys():
            return root
        raise ConfigurationError(f"settings file {path} has no `agent_mesh:` section")
    if len(ours) > 1:
        raise ConfigurationError(f"settings file {path} has both {ours[0]} and {ours[1]}; keep one")
    for name in root:
        if name not in ours:
            raise UnknownSettingError(name, source=f"file {path}", nearest=_nearest(name, frozenset(SECTIONS)))
    section: Any = root[ours[0]] or {}
    if not isinstance(section, dict):
        raise ConfigurationError(f"settings file {path}: {ours[0]} must hold names and values")
    return cast("dict[str, Any]", section)


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml  # noqa: PLC0415 -- a megabyte, for those who have a settings file

    try:
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, twenty times as fast, where it is
        root: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 -- both are safe
    except OSError as exc:
        raise ConfigurationError(f"settings file {path} cannot be read: {exc.strerror}") from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"settings file {path} is not valid YAML: {' '.join(str(exc).split())}") from exc
    if root is None:
        return {}
    if not _is_mapping(root):
        raise ConfigurationError(f"settings file {path} must hold names and values")
    return {str(name): value for name, value in root.items()}


def _is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _flat(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what a tree of sections holds."""
    for name, value in tree.items():
        if _is_mapping(value) and f"{prefix}{name}" not in WHOLE:
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value


def _nearest(key: str, known: frozenset[str]) -> str | None:
    from difflib import get_close_matches  # noqa: PLC0415 -- for those who mistyped

    whole = get_close_matches(key, sorted(known), n=1, cutoff=0.6)
    if whole:
        return whole[0]
    leaves = {name.rpartition(".")[2]: name for name in sorted(known)}
    last = get_close_matches(key.rpartition(".")[2], sorted(leaves), n=1, cutoff=0.6)
    return leaves[last[0]] if last else None


def _related(name: str, key: str) -> bool:
    return not key or name == key or name.startswith(f"{key}.") or key.startswith(f"{name}.")
