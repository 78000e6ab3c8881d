"""The arguments of a task as a command line gives them: JSON text, a file, stdin, or one by one."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from meshd import codec
from meshd.errors import InvalidArgumentError, InvalidPayloadError


def read_json(text: str, *, what: str) -> Any:
    """Return the value of JSON `text`, of the file `@path`, or of stdin for `-`.

    Raises:
        InvalidPayloadError: it is not JSON.
        InvalidArgumentError: the file cannot be read.
    """
    return codec.parse_json(_text(text, what), what=what)


def arguments(payload: str | None, pairs: Sequence[str]) -> dict[str, Any]:
    """Return the handler's arguments: a JSON object, with `key=value` pairs on top.

    A value that is JSON is taken as such (`3`, `true`, `[1]`), anything else as text.

    Raises:
        InvalidPayloadError: the payload is not a JSON object.
        InvalidArgumentError: a pair has no `=`, or names what the payload has.
    """
    given: Any = {} if payload is None else read_json(payload, what="payload")
    if not isinstance(given, dict):
        raise InvalidPayloadError("payload is not a JSON object: it holds the handler's arguments by name")
    values = {**cast("dict[str, Any]", given)}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidArgumentError(f"argument {pair!r} is not key=value")
        if key in values:
            raise InvalidArgumentError(f"argument {key!r} is given twice")
        values[key] = value_of(value, is_read=False)
    return values


def value_of(text: str, *, is_read: bool = True) -> Any:
    """Return one value: what is JSON is taken as such, anything else as text; `@path` and `-` are read as JSON.

    Raises:
        InvalidPayloadError: the file has no JSON.
        InvalidArgumentError: the file cannot be read.
    """
    if is_read and (text == "-" or text.startswith("@")):
        return read_json(text, what="value")
    try:
        return codec.parse_json(text)
    except InvalidPayloadError:
        return text


def _text(text: str, what: str) -> str | bytes:
    if text == "-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_bytes()
    except OSError as exc:
        raise InvalidArgumentError(f"{what} file {text[1:]}: {exc.strerror}") from exc
