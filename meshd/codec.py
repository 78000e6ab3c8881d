"""How values become bytes: JSON text, compressed when that pays, never anything that can run code.

The first byte tells the form: JSON text never starts with a control character, so plain JSON stays readable in the
store, and a compressed value starts with `ZLIB`.
"""

import zlib
from typing import Any

import msgspec

from meshd.errors import CorruptDataError, InvalidPayloadError, PayloadTooLargeError

ZLIB = b"\x01"
COMPRESS_FROM = 1024
"""Values of at least this many bytes are compressed when the result is smaller."""

_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder().decode


def encode(value: object, *, what: str = "payload", limit: int | None = None) -> bytes:
    """Return `value` as JSON bytes, compressed from `COMPRESS_FROM` bytes on.

    Raises:
        InvalidPayloadError: the value has no JSON form.
        PayloadTooLargeError: its JSON text is over `limit` bytes.
    """
    try:
        text = _encode_json(value)
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidPayloadError(f"{what} has no JSON form: {exc}") from exc
    return pack(text, what=what, limit=limit)


def pack(text: bytes, *, what: str = "payload", limit: int | None = None) -> bytes:
    """Return JSON `text` as it is stored.

    Raises:
        PayloadTooLargeError: `text` is over `limit` bytes.
    """
    if limit is not None and len(text) > limit:
        raise PayloadTooLargeError(what, size=len(text), limit=limit)
    if len(text) < COMPRESS_FROM:
        return text
    packed = ZLIB + zlib.compress(text, 1)
    return packed if len(packed) < len(text) else text


def unpack(data: bytes) -> bytes:
    """Return the exact JSON text given to `pack`.

    Raises:
        CorruptDataError: the bytes are damaged.
    """
    if data[:1] != ZLIB:
        return data
    try:
        return zlib.decompress(data[1:])
    except zlib.error as exc:
        raise CorruptDataError(f"compressed value of {len(data)} bytes cannot be read: {exc}") from exc


def decode(data: bytes) -> Any:
    """Return the value `encode` was given, as plain JSON types.

    Raises:
        CorruptDataError: the bytes are not what `encode` writes.
    """
    text = unpack(data)
    try:
        return _decode_json(text)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise CorruptDataError(f"value of {len(data)} bytes is not JSON: {exc}") from exc


def parse_json(text: str | bytes, *, what: str = "payload") -> Any:
    """Return the value of JSON `text` written by a person.

    Raises:
        InvalidPayloadError: it is not JSON; the message says where.
    """
    try:
        return _decode_json(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        raise InvalidPayloadError(f"{what} is not valid JSON: {exc}") from exc
