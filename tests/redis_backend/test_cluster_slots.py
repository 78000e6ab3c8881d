"""Slots, maps and redirects, as values."""

from itertools import starmap
from typing import Any

import pytest

from meshd.backends.redis.keys import Keys
from meshd.backends.redis.slots import SLOTS, Address, SlotMap, address_of, elsewhere, slot_map, slot_of
from tests.support.redis_cluster import RedisCluster

A, B, C = starmap(Address, [("10.0.0.1", 7000), ("10.0.0.2", 7000), ("10.0.0.3", 7000)])


@pytest.mark.parametrize("key", ["plain", "mesh:{m:p0}:clock", "{}empty", "a{b", "x{y}{z}", "größe{ß}", ""])
def test_a_key_has_the_slot_that_redis_gives_it(redis_cluster: RedisCluster, key: str) -> None:
    assert slot_of(key) == redis_cluster.slot_of(key)


def test_the_keys_of_a_partition_share_a_slot_with_its_gate() -> None:
    keys = Keys("m", "p3")
    clock = keys.clock("p3")
    assert keys.gate(clock) == "mesh:{m:p3}:gate"
    assert (
        len({slot_of(key) for key in (clock, keys.gate(clock), keys.task("T1"), keys.held("n"), keys.log("tasks"))})
        == 1
    )
    assert slot_of(keys.log("nodes")) == slot_of(keys.shape()) == slot_of(keys.clock("c"))


def test_a_map_names_the_owner_of_each_slot_and_takes_corrections() -> None:
    slots = SlotMap([(0, 99, A), (200, SLOTS - 1, B)])
    assert [slots.owner(slot) for slot in (0, 99, 100, 199, 200, SLOTS - 1)] == [A, A, None, None, B, B]
    assert slots.primaries == [A, B]
    slots.moved(99, C)
    assert slots.owner(99) == C
    assert slots.primaries == [A, B, C]


def test_an_answer_without_a_host_means_the_server_that_was_asked() -> None:
    reply: list[Any] = [
        [0, 5, [b"", 7000, b"id"]],
        [6, 9, [b"10.0.0.2", 7000, b"id", []], [b"10.0.0.9", 7001, b"replica"]],
    ]
    slots = slot_map(reply, asked="10.0.0.1")
    assert [slots.owner(slot) for slot in (5, 6)] == [A, B]


def test_a_redirect_names_the_new_owner_unless_the_slot_is_on_its_way() -> None:
    moved = elsewhere("MOVED 42 10.0.0.2:7000", url="redis://x")
    asked = elsewhere("ASK 42 10.0.0.2:7000", url="redis://x")
    assert moved is not None
    assert moved.owner == B
    assert asked is not None
    assert asked.owner is None
    assert elsewhere("ERR something else", url="redis://x") is None


@pytest.mark.parametrize(
    ("text", "address"), [("h:1", Address("h", 1)), ("[::1]:7", Address("::1", 7)), ("::1:7", Address("::1", 7))]
)
def test_an_address_is_read_with_and_without_brackets(text: str, address: Address) -> None:
    assert address_of(text) == address
    assert address_of(str(address)) == address
