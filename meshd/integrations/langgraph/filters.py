"""Filters of a search: values a field must have, or comparisons it must pass. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from meshd.errors import InvalidArgumentError

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda value, wanted: bool(value == wanted),
    "$ne": lambda value, wanted: bool(value != wanted),
    "$gt": lambda value, wanted: float(value) > float(wanted),
    "$gte": lambda value, wanted: float(value) >= float(wanted),
    "$lt": lambda value, wanted: float(value) < float(wanted),
    "$lte": lambda value, wanted: float(value) <= float(wanted),
}


def fits(value: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Return whether every field a filter names is as it says.

    Raises:
        InvalidArgumentError: it names a comparison that there is none of.
    """
    return all(_fits(value.get(name), each) for name, each in (wanted or {}).items())


def _fits(value: Any, wanted: Any) -> bool:
    if not isinstance(wanted, dict):
        return bool(value == wanted)
    terms = cast("dict[str, Any]", wanted)
    if not any(name.startswith("$") for name in terms):
        return isinstance(value, dict) and fits(cast("dict[str, Any]", value), terms)
    return all(_compared(value, name, each) for name, each in terms.items())


def _compared(value: Any, name: str, wanted: Any) -> bool:
    if name not in _COMPARE:
        raise InvalidArgumentError(f"filter {name!r} is not one of {', '.join(_COMPARE)}")
    try:
        return _COMPARE[name](value, wanted)
    except (TypeError, ValueError):
        return False
