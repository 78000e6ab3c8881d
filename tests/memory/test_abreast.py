"""Work in parts: in order, within bounds, and nothing left running."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from meshd.memory.abreast import abreast


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def test_results_come_in_the_order_of_the_parts() -> None:
    async def late_if_even(number: int) -> int:
        for _ in range(0 if number % 2 else 5):
            await asyncio.sleep(0)
        return number

    assert await abreast(numbers(9), late_if_even, at_once=3) == list(range(9))


async def test_no_more_parts_are_under_way_than_allowed() -> None:
    under_way = most = 0

    async def work(_: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1

    await abreast(numbers(10), work, at_once=4)
    assert most == 4


async def test_a_failure_is_raised_as_it_is_and_ends_the_others() -> None:
    ended: list[int] = []

    async def work(number: int) -> None:
        if number == 1:
            raise ValueError("part 1")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    async def three() -> AsyncIterator[int]:
        for number in (1, 0, 2):
            yield number
            await asyncio.sleep(0)

    with pytest.raises(ValueError, match="part 1"):
        await abreast(three(), work, at_once=2)
    assert ended == [0]
