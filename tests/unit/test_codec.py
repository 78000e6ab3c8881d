"""Values come back from bytes as they went in, and damage is recognised."""

import subprocess
import sys
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.codec import COMPRESS_FROM, ZLIB, ZSTD, decode, encode, pack, parse_json, unpack
from meshd.errors import CorruptDataError, InvalidPayloadError, PayloadTooLargeError

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(value=json_values)
def test_a_json_value_comes_back_as_it_was(value: Any) -> None:
    assert decode(encode(value)) == value


@given(value=json_values, times=st.integers(1, 400))
def test_a_large_value_comes_back_as_it_was(value: Any, times: int) -> None:
    assert decode(encode([value] * times)) == [value] * times


@given(text=st.text(min_size=COMPRESS_FROM).map(lambda text: text.encode()))
def test_packing_never_makes_a_value_longer(text: bytes) -> None:
    packed = pack(b'"' + text + b'"')
    assert len(packed) <= len(text) + 2
    assert unpack(packed) == b'"' + text + b'"'


def test_a_small_value_stays_readable() -> None:
    assert encode({"a": 1}) == b'{"a":1}'


def test_a_large_repetitive_value_is_compressed() -> None:
    packed = encode("a" * 100_000)
    assert packed.startswith(ZSTD)
    assert len(packed) < 2_000


def test_without_the_zstandard_library_values_are_compressed_by_zlib_and_others_name_the_fix() -> None:
    script = (
        "import sys; sys.modules['zstandard'] = None\n"
        "from meshd import codec\n"
        "packed = codec.encode('a' * 5_000)\n"
        "assert packed.startswith(codec.ZLIB) and codec.decode(packed) == 'a' * 5_000\n"
        "codec.decode(codec.ZSTD + b'anything')\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "ConfigurationError: this value was written with zstandard: install it" in run.stderr


def test_a_value_compressed_by_zlib_is_read() -> None:
    assert decode(ZLIB + zlib.compress(b'"a"')) == "a"


@pytest.mark.parametrize("value", [object(), len, 1j, {1: object()}], ids=["object", "function", "complex", "nested"])
def test_a_value_without_a_json_form_is_refused(value: object) -> None:
    with pytest.raises(InvalidPayloadError):
        encode(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidPayloadError):
        encode(loop)


def test_a_value_over_the_limit_is_refused_with_its_size() -> None:
    with pytest.raises(PayloadTooLargeError) as caught:
        encode("a" * 100, limit=50)
    assert (caught.value.size, caught.value.limit) == (102, 50)


def test_a_value_of_exactly_the_limit_is_accepted() -> None:
    assert decode(encode("a" * 98, limit=100)) == "a" * 98


@given(garbage=st.binary(max_size=40))
def test_damaged_bytes_are_recognised_or_are_json(garbage: bytes) -> None:
    for data in (garbage, ZLIB + garbage, ZSTD + garbage, ZSTD + b"\x28\xb5\x2f\xfd" + garbage):
        try:
            decode(data)
        except CorruptDataError:
            continue
        parse_json(unpack(data))


def test_a_truncated_compressed_value_is_corrupt() -> None:
    with pytest.raises(CorruptDataError):
        decode(encode("a" * 10_000)[:-4])


@pytest.mark.parametrize("text", ["{", "", "{'a': 1}", b"\xff\xfe", "[1,]", "[" * 100_000, "\udcff"])
def test_text_that_is_not_json_is_an_invalid_payload(text: str | bytes) -> None:
    with pytest.raises(InvalidPayloadError):
        parse_json(text)
