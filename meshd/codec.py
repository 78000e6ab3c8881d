"""How values become bytes: JSON text, compressed when that pays, never anything that can run code.

The first byte tells the form: JSON text never starts with a control character, so plain JSON stays readable in the
store, and a compressed value starts with `ZSTD`, or with `ZLIB` where it was written without the zstandard library.
"""

import threading
import zlib
from importlib import import_module
from typing import Any, cast

import msgspec

from meshd.errors import ConfigurationError, CorruptDataError, InvalidPayloadError, PayloadTooLargeError

ZLIB = b"\x01"
ZSTD = b"\x02"
LEVEL = 3
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
    packed = _compress(text)
    return packed if len(packed) < len(text) else text


def unpack(data: bytes) -> bytes:
    """Return the exact JSON text given to `pack`.

    Raises:
        CorruptDataError: the bytes are damaged.
        ConfigurationError: they were written with the zstandard library, which is not installed here.
    """
    form = data[:1]
    if form not in (ZLIB, ZSTD):
        return data
    try:
        return zlib.decompress(data[1:]) if form == ZLIB else _ZSTANDARD.unpack(data[1:])
    except (zlib.error, _ZSTANDARD.error, MemoryError) as exc:
        raise CorruptDataError(f"compressed value of {len(data)} bytes cannot be read: {exc}") from exc


def _compress(text: bytes) -> bytes:
    packed = _ZSTANDARD.pack(text)
    return ZLIB + zlib.compress(text, 1) if packed is None else ZSTD + packed


class _Zstandard(threading.local):
    """The zstandard library, if it is installed: loaded for the first large value, its tools one set per thread."""

    def __init__(self) -> None:
        self._tools: tuple[Any, Any] | None = None
        self.error: type[Exception] = zlib.error
        self._is_missing = False

    def pack(self, text: bytes) -> bytes | None:
        """Return the text compressed, `None` without the library."""
        tools = self._loaded()
        return None if tools is None else cast("bytes", tools[0].compress(text))

    def unpack(self, data: bytes) -> bytes:
        tools = self._loaded()
        if tools is None:
            raise ConfigurationError("this value was written with zstandard: install it (pip install zstandard)")
        return cast("bytes", tools[1].decompress(data))

    def _loaded(self) -> tuple[Any, Any] | None:
        if self._tools is None and not self._is_missing:
            try:
                library: Any = import_module("zstandard")
            except ImportError:
                self._is_missing = True
            else:
                self.error = library.ZstdError
                self._tools = (library.ZstdCompressor(level=LEVEL), library.ZstdDecompressor())
        return self._tools


_ZSTANDARD = _Zstandard()


def decode(data: bytes) -> Any:
    """Return the value `encode` was given, as plain JSON types.

    Raises:
        CorruptDataError: the bytes are not what `encode` writes.
    """
    text = unpack(data)
    try:
        return _decode_json(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
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
