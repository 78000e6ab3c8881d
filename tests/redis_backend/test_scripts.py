"""The scripts keep what their headers promise."""

import re

import pytest

from meshd.backends import Backend
from meshd.backends.redis import scripts
from meshd.backends.redis.keys import KINDS
from tests.redis_backend.raw import Raw
from tests.support.builders import a_task, claim_one, submit_one

HEADER_LINE = re.compile(r"-- (KEYS|ARGV)\[(\d+)(…?)\]  ")
USE = re.compile(r"\b(KEYS|ARGV)\[(\d+)\]")
KIND = re.compile(r"prefix \.\. '([a-z]+)")
FORBIDDEN = ("KEYS", "SCAN", "CONFIG", "MEMORY", "CLIENT", "FLUSHALL", "LMPOP", "ZMPOP")


def header_of(name: str) -> list[str]:
    lines = scripts.source(name).splitlines()
    return lines[: next(at for at, line in enumerate(lines) if not line.startswith("--"))]


def body_of(name: str) -> str:
    return scripts.load(name, flagged=False).text


@pytest.mark.parametrize("name", scripts.names())
def test_a_header_names_the_script_and_what_it_returns_and_costs(name: str) -> None:
    header = header_of(name)
    assert re.fullmatch(rf"-- {name}: .+\.", header[0])
    assert [line for line in header if line.startswith("-- Returns  ")]
    assert [line for line in header if line.startswith("-- Cost     ")]


@pytest.mark.parametrize("name", scripts.names())
def test_a_header_names_every_key_and_argument_the_script_uses(name: str) -> None:
    documented = [
        (kind, int(number), bool(rest)) for kind, number, rest in HEADER_LINE.findall("\n".join(header_of(name)))
    ]
    keys = [number for kind, number, _ in documented if kind == "KEYS"]
    arguments = [number for kind, number, _ in documented if kind == "ARGV"]
    assert keys == [1]
    assert arguments == list(range(1, len(arguments) + 1))
    rest_from = next((number for _, number, rest in documented if rest), None)
    for kind, number in USE.findall(body_of(name)):
        assert int(number) in (keys if kind == "KEYS" else arguments) or (rest_from and int(number) >= rest_from)


@pytest.mark.parametrize("name", scripts.names())
def test_a_script_spells_only_known_kinds_of_key(name: str) -> None:
    assert set(KIND.findall(body_of(name))) <= KINDS


@pytest.mark.parametrize("name", scripts.names())
def test_a_script_uses_no_command_that_walks_or_configures_the_server(name: str) -> None:
    assert not re.findall(rf"call\('({'|'.join(FORBIDDEN)})'", body_of(name))


@pytest.mark.parametrize("name", scripts.names())
def test_no_include_is_left_and_none_is_taken_twice(name: str) -> None:
    text = body_of(name)
    assert "-- #include" not in text
    assert text.count("local function read_clock") <= 1


async def test_a_server_that_forgot_the_scripts_is_taught_again(backend: Backend, raw: Raw) -> None:
    await submit_one(backend, a_task())
    raw("SCRIPT FLUSH")
    assert (await claim_one(backend)).claims == 1


@pytest.mark.parametrize("name", scripts.names())
def test_what_is_sent_has_every_line_of_the_source_but_comments(name: str) -> None:
    lines = [line.strip() for line in scripts.expanded(scripts.source(name)).splitlines()]
    wanted = [line for line in lines if line and not line.startswith("--")]
    assert body_of(name).splitlines() == wanted
