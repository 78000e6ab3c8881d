"""Bodies for values of any kind: what a put stores, and how a value is set back to what it was. Pure."""

from collections.abc import Sequence
from typing import Any, cast

from meshd.memory.merging import Body, counted, element_text, merged_map, plain, set_changed
from meshd.memory.model import Item, Kind, Policy
from meshd.memory.policies import Resolved


def body_of(value: Any, *, policy: str, over: Item) -> tuple[Body, Kind]:
    """Return what a put stores: under `merge_compatible`, an object field by field; else the value as a whole."""
    if policy == Policy.MERGE_COMPATIBLE and isinstance(value, dict):
        return merged_map(cast("dict[str, object]", value), over), Kind.MAP
    return plain(value), Kind.VALUE


def body_like(kind: str, value: Any, *, over: Item, shown: Resolved) -> tuple[Body, Kind]:
    """Return what makes a key of this kind show `value`, whatever it shows now; `value` must be of the kind."""
    match kind:
        case Kind.MAP if isinstance(value, dict):
            return merged_map(cast("dict[str, object]", value), over), Kind.MAP
        case Kind.COUNTER if _is_number(value) and (shown.winner is None or _is_number(shown.value)):
            return counted(over, value - (shown.value or 0)), Kind.COUNTER
        case Kind.SET if isinstance(value, list):
            wanted = cast("list[object]", value)
            return set_changed(over, add=wanted, remove=_missing(shown.value, wanted)), Kind.SET
        case _:
            return plain(value), Kind.VALUE


def _missing(held: Any, wanted: Sequence[object]) -> list[object]:
    if not isinstance(held, list):
        return []
    kept = {element_text(each) for each in wanted}
    return [each for each in cast("list[object]", held) if element_text(each) not in kept]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
