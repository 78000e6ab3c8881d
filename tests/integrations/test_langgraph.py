"""LangGraph's store on the shared memory: it answers as LangGraph's own does, and concurrent writers lose nothing."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict

import pytest

from meshd import Mesh, Settings
from meshd.errors import MeshError, WriteConflictError

pytest.importorskip("langgraph")

from langgraph.graph import END, START, StateGraph  # pyright: ignore[reportMissingTypeStubs]
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

from meshd.integrations.langgraph import MeshStore, UnmergeableError


class State(TypedDict):
    seen: int


AGENTS = 4
APPENDS = 100
NOTES = ("team", "notes")


@pytest.fixture
def settings(mesh_name: str) -> Settings:
    return Settings.load(mesh=mesh_name)


@pytest.fixture
async def mesh(store_url: str, settings: Settings) -> AsyncIterator[Mesh]:
    async with Mesh(store_url, settings=settings) as opened:
        yield opened


@pytest.fixture
async def store(mesh: Mesh) -> MeshStore:
    return MeshStore(mesh.memory)


async def value(store: BaseStore, key: str) -> dict[str, Any]:
    item = await store.aget(NOTES, key)
    assert item is not None
    return item.value


async def appended(store: BaseStore, appends: int) -> list[str]:
    """Have four agents append to one list, as a graph's nodes do: get, change, put."""

    async def agent(name: str) -> None:
        for number in range(appends):
            item = await store.aget(NOTES, "log")
            log = [] if item is None else list(item.value["log"])
            await asyncio.sleep(0)
            await store.aput(NOTES, "log", {"log": [*log, f"{name} {number}"]})

    await asyncio.gather(*(agent(f"agent-{number}") for number in range(AGENTS)))
    log: list[str] = (await value(store, "log"))["log"]
    return log


async def test_four_agents_keep_all_they_append(store: MeshStore) -> None:
    log = await appended(store, APPENDS)
    assert len(log) == len(set(log)) == AGENTS * APPENDS


async def test_the_store_of_langgraph_loses_most_of_them() -> None:
    """The control: were this to hold, the test above would show nothing."""
    assert len(await appended(InMemoryStore(), APPENDS)) < AGENTS * APPENDS


def test_four_threads_with_a_store_each_keep_all_they_append(store_url: str, settings: Settings) -> None:
    def agent(name: str) -> None:
        with MeshStore.from_url(store_url, settings=settings, agent=name) as store:
            for number in range(10):
                item = store.get(NOTES, "log")
                log: list[str] = [] if item is None else item.value["log"]
                log.append(f"{name} {number}")
                store.put(NOTES, "log", {"log": log})

    with ThreadPoolExecutor(AGENTS) as threads:
        list(threads.map(agent, [f"agent-{number}" for number in range(AGENTS)]))
    with MeshStore.from_url(store_url, settings=settings) as store:
        item = store.get(NOTES, "log")
        assert item is not None
        assert len(set(item.value["log"])) == AGENTS * 10


async def in_another_task(store: MeshStore, key: str, change: dict[str, Any]) -> None:
    async def write() -> None:
        await store.aput(NOTES, key, change)

    await asyncio.create_task(write())


async def test_changes_of_different_fields_are_merged(store: MeshStore) -> None:
    await store.aput(NOTES, "k", {"a": 1, "b": {"c": 1, "d": [1]}, "gone": 1})
    await store.aget(NOTES, "k")
    await in_another_task(store, "k", {"a": 2, "b": {"c": 1, "d": [1, 2]}, "gone": 1})
    await store.aput(NOTES, "k", {"a": 1, "b": {"c": 3, "d": [1, 9]}})
    assert await value(store, "k") == {"a": 2, "b": {"c": 3, "d": [1, 2, 9]}}


async def test_changes_that_exclude_each_other_raise_and_lose_nothing(store: MeshStore) -> None:
    await store.aput(NOTES, "k", {"a": {"b": 1}})
    await in_another_task(store, "k", {"a": {"b": 2}})
    with pytest.raises(UnmergeableError, match=r"a\.b was changed"):
        await store.aput(NOTES, "k", {"a": {"b": 3}})
    assert await value(store, "k") == {"a": {"b": 2}}
    await store.aput(NOTES, "k", {"a": {"b": 3}})
    await in_another_task(store, "k", {})
    with pytest.raises(WriteConflictError):
        await store.adelete(NOTES, "k")


async def test_a_task_that_read_nothing_replaces(store: MeshStore) -> None:
    await store.aput(NOTES, "k", {"a": 1})
    await in_another_task(store, "k", {"b": 1})
    assert await value(store, "k") == {"b": 1}


async def test_what_a_reader_changes_in_place_changes_nothing(store: MeshStore) -> None:
    await store.aput(NOTES, "k", {"a": [1]})
    (await value(store, "k"))["a"].append(2)
    assert await value(store, "k") == {"a": [1]}


async def test_items_have_names_and_times(store: MeshStore) -> None:
    namespace = ("a/b", "ü%", "c")
    await store.aput(namespace, "k/1", {"x": 1})
    first = await store.aget(namespace, "k/1")
    await store.aput(namespace, "k/1", {"x": 2})
    second = await store.aget(namespace, "k/1")
    assert first is not None
    assert second is not None
    assert (second.namespace, second.key, second.value) == (namespace, "k/1", {"x": 2})
    assert first.created_at == second.created_at <= second.updated_at
    await store.adelete(namespace, "k/1")
    assert await store.aget(namespace, "k/1") is None


async def test_a_search_finds_what_langgraph_finds(store: MeshStore) -> None:
    other = InMemoryStore()
    for each in (store, other):
        for number in range(12):
            await each.aput(
                ("s", "even" if number % 2 == 0 else "odd"), f"{number:02}", {"n": number, "m": {"x": number % 3}}
            )
        await each.aput(("s2",), "x", {"n": 1})

    async def found(each: BaseStore, prefix: tuple[str, ...], **options: Any) -> list[tuple[str, ...]]:
        return sorted((*item.namespace, item.key) for item in await each.asearch(prefix, **options))

    for prefix in ((), ("s",), ("s", "odd"), ("none",)):
        for wanted in (
            None,
            {"n": 4},
            {"n": {"$gte": 3, "$lt": 9}},
            {"m": {"x": 1}},
            {"n": {"$ne": 2}},
            {"missing": None},
        ):
            options = {"filter": wanted, "limit": 50}
            assert await found(store, prefix, **options) == await found(other, prefix, **options)
    page = await store.asearch(("s",), limit=5, offset=3)
    assert [item.key for item in page] == ["06", "08", "10", "01", "03"]


async def test_namespaces_are_listed_as_langgraph_lists_them(store: MeshStore) -> None:
    other = InMemoryStore()
    for each in (store, other):
        for namespace in (("a", "b", "c"), ("a", "b", "d"), ("a", "x", "c"), ("b", "c")):
            await each.aput(namespace, "k", {})
    queries: list[dict[str, Any]] = [
        {}, {"prefix": ("a",)}, {"prefix": ("a", "*")}, {"suffix": ("c",)}, {"max_depth": 2}, {"limit": 2, "offset": 1},
        {"prefix": ("a",), "suffix": ("*", "c")},
    ]  # fmt: skip
    for query in queries:
        assert await store.alist_namespaces(**query) == await other.alist_namespaces(**query)


async def test_an_item_with_a_lifetime_ends(store: MeshStore) -> None:
    await store.aput(NOTES, "k", {}, ttl=1 / 60_000)
    await asyncio.sleep(0.05)
    assert await store.aget(NOTES, "k") is None


async def test_a_blocking_call_on_the_stores_own_loop_is_refused(store: MeshStore) -> None:
    with pytest.raises(MeshError, match="use its async methods"):
        store.get(NOTES, "k")


async def test_a_graph_uses_it_from_its_own_loop(store_url: str, settings: Settings) -> None:
    async def remember(state: State, *, store: BaseStore) -> State:
        item = await store.aget(NOTES, "runs")
        runs = 0 if item is None else item.value["runs"]
        await store.aput(NOTES, "runs", {"runs": runs + 1})
        return {"seen": runs + 1}

    with MeshStore.from_url(store_url, settings=settings) as store:
        graph: Any = StateGraph(State)
        graph.add_node("remember", remember)
        graph.add_edge(START, "remember")
        graph.add_edge("remember", END)
        compiled = graph.compile(store=store)
        assert [(await compiled.ainvoke({"seen": 0}))["seen"] for _ in range(3)] == [1, 2, 3]
