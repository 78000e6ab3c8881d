"""Real nodes, real messages: edges appear, grow and go, kept by whoever is elected."""

from datetime import timedelta
from pathlib import Path

import pytest

from meshd import Mesh, Node
from meshd.messages.model import Message
from meshd.settings import Settings
from tests.support.waiting import wait_until


@pytest.fixture
def settings(mesh_name: str, tmp_path: Path) -> Settings:
    return Settings.model_validate({"mesh": mesh_name, "state_dir": str(tmp_path)})


def an_agent(name: str, heard: list[str]) -> Node:
    node = Node(name, grace=timedelta(seconds=1))

    @node.on_message("order")
    async def take(message: Message) -> None:
        heard.append(message.sender)

    return node


async def test_messages_between_nodes_make_their_edge_thicker(store_url: str, settings: Settings) -> None:
    heard: list[str] = []
    sales, fraud = an_agent("sales", heard), an_agent("fraud", heard)
    async with (
        Mesh(store_url, settings=settings) as mesh,
        sales.running(store_url, settings=settings),
        fraud.running(store_url, settings=settings),
    ):

        async def are_linked() -> bool:
            return (await mesh.topology.statistics()).edges == 2

        await wait_until(are_linked, timeout=30)
        for _ in range(5):
            await sales.messages.send("fraud", "order", {"amount": 5})
        await wait_until(lambda: heard == ["sales"] * 5, timeout=20)

        async def is_thick() -> bool:
            edges = {(edge.source, edge.target): edge for edge in (await mesh.topology.graph()).edges}
            used, back = edges["sales", "fraud"], edges["fraud", "sales"]
            return used.usage == 5 and used.weight > 0.9 and back.usage == 0 and back.weight <= 0.5

        await wait_until(is_thick, timeout=20)
