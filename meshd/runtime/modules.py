"""Handlers from a module the user names: the part of `mesh node start` that runs code we did not write.

Whatever is wrong with that module becomes a `ConfigurationError` that names the module and the place, since only its
author can mend it.
"""

import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from meshd.errors import ConfigurationError
from meshd.runtime.node import Node

SHAPES = 'define `node = Node(...)`, `register(node)`, or `handlers = {"task.type": function}`'


def import_handlers(source: str) -> ModuleType:
    """Import a module by dotted name or by the path of its `.py` file, with the current folder on the path.

    Raises:
        ConfigurationError: there is no such module, or its own code fails.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return _import_file(Path(source)) if source.endswith(".py") else import_module(source)
    except ModuleNotFoundError as exc:
        if exc.name is not None and (source == exc.name or source.startswith(f"{exc.name}.")):
            raise ConfigurationError(f"module {source!r} was not found in {here} or among installed packages") from exc
        raise _own_failure(source, exc) from exc
    except ConfigurationError:
        raise
    except Exception as exc:
        raise _own_failure(source, exc) from exc


def adopt(module: ModuleType, *, fallback: Callable[[], Node]) -> Node:
    """Return the module's own node, or the `fallback` node with the module's handlers on it.

    Raises:
        ConfigurationError: the module has none of the shapes that hand over handlers, or hands over none.
    """
    own: object = getattr(module, "node", None)
    if isinstance(own, Node):
        node = own
    else:
        node = fallback()
        _register(module, node)
    if not (node.task_types or node.message_types or node.hosted_agents):
        raise ConfigurationError(f"module {module.__name__!r} registered no handlers and hosts no agents; {SHAPES}")
    return node


def _register(module: ModuleType, node: Node) -> None:
    register: object = getattr(module, "register", None)
    handlers: object = getattr(module, "handlers", None)
    if callable(register):
        register(node)
    elif isinstance(handlers, Mapping):
        for task_type, function in cast("Mapping[str, Callable[..., Any]]", handlers).items():
            node.task(task_type)(function)
    else:
        raise ConfigurationError(f"module {module.__name__!r} has no handlers; {SHAPES}")


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigurationError(f"module file {path} does not exist")
    spec = spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"module file {path} cannot be imported")
    module = module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec.loader.exec_module(module)
    return module


def _own_failure(source: str, error: BaseException) -> ConfigurationError:
    place = ""
    if isinstance(error, SyntaxError):
        place = f" at {error.filename}:{error.lineno}"
    else:
        with suppress(IndexError):
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f" at {frame.filename}:{frame.lineno}"
    return ConfigurationError(f"module {source!r} failed to import{place}: {type(error).__name__}: {error}")
