"""The thread of a store: in order, told to whoever asked, and gone when it is closed."""

import asyncio
from functools import partial
from threading import Event, get_ident

import pytest

from meshd.backends.sqlite.thread import WorkerThread


async def test_functions_run_in_order_on_one_other_thread() -> None:
    thread, ran = WorkerThread("test"), list[tuple[int, int]]()

    def note(number: int) -> None:
        ran.append((number, get_ident()))

    await asyncio.gather(*[thread.run(partial(note, number)) for number in range(9)])
    assert [number for number, _ in ran] == list(range(9))
    assert len({ident for _, ident in ran} | {get_ident()}) == 2
    assert thread.is_idle
    thread.close()


async def test_what_a_function_raises_reaches_who_asked_and_the_thread_goes_on() -> None:
    thread = WorkerThread("test")
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 // 0)
    assert await thread.run(lambda: 7) == 7
    thread.close()


async def test_what_is_cancelled_before_its_turn_is_not_run() -> None:
    thread, go_on, ran = WorkerThread("test"), Event(), list[int]()
    first = thread.run(go_on.wait)
    second = thread.run(lambda: ran.append(2))
    second.cancel()
    go_on.set()
    await first
    await thread.run(lambda: ran.append(3))
    assert ran == [3]
    assert thread.is_idle
    thread.close()


async def test_a_closed_thread_does_what_it_was_asked_and_takes_nothing_more() -> None:
    thread = WorkerThread("test")
    last = thread.run(lambda: "done")
    thread.close()
    thread.close()
    assert await last == "done"
    with pytest.raises(RuntimeError, match="closed"):
        thread.run(lambda: "never")
