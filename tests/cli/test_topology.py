"""`mesh topology`: tables, trees, pictures, ways, suggestions, each by its own process."""

import asyncio
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from meshd import Mesh
from meshd.settings import Settings
from meshd.topology.keeping import KeepingOptions, TopologyManager
from meshd.topology.model import Edge, EdgeRules, Graph
from meshd.topology.picture import NAMESPACE, svg
from meshd.topology.usage import Usage
from tests.cli.conftest import Cli

HOMES = {"sales": "n1", "support": "n1", "fraud": "n2", "inventory": "n2"}


async def talk(folder: Path) -> None:
    """Have four agents join, and some of them talk."""
    async with Mesh(f"sqlite:///{folder / 'mesh.db'}", settings=Settings()) as mesh:

        async def members() -> dict[str, str]:
            return HOMES

        manager = TopologyManager(mesh.records, mesh.events, members, KeepingOptions(rules=EdgeRules(decay=0.0)))
        await manager.run_once()
        usage = Usage(mesh.events, by="n1")
        usage.used("sales", "fraud", count=5)
        usage.used("support", "sales")
        await usage.flush()
        await manager.run_once()


def drawn(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 -- our own command wrote it


@pytest.fixture(scope="module")
def talked(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    folder = tmp_path_factory.mktemp("topology")
    asyncio.run(talk(folder))
    return Cli(folder, {"MESHD_URL": "sqlite:///mesh.db", "MESHD_TOPOLOGY__DECAY_RATE": "0"})


def test_the_table_shows_every_edge_the_strongest_first(talked: Cli) -> None:
    said = talked.run("topology")
    lines = said.out.splitlines()
    assert said.code == 0, said.err
    assert lines[1].split()[:3] == ["sales", "fraud", "1.000"]
    assert lines[2].split()[:3] == ["support", "sales", "0.600"]
    assert "4 agents, 12 edges, 12 active" in said.out
    assert "density 1.000, reduction 0.0%" in said.out


def test_the_tree_shows_nodes_their_agents_and_their_edges(talked: Cli) -> None:
    said = talked.run("topology", "--tree")
    assert [line for line in ("n1", "n2", "sales", "1.000") if line not in said.out] == []
    assert said.out.index("n1") < said.out.index("sales") < said.out.index("n2")


def test_json_is_a_snapshot_that_can_be_brought_back(talked: Cli) -> None:
    before = talked.run("topology", "--json").json
    assert before["statistics"]["edges"] == 12
    (talked.folder / "before.json").write_text(talked.run("topology", "--json").out)
    said = talked.run("topology", "restore", "before.json", "--json")
    assert said.code == 0, said.err
    assert [(e["source"], e["weight"]) for e in said.json["edges"]] == [
        (e["source"], e["weight"]) for e in before["edges"]
    ]


def test_what_is_no_snapshot_is_not_restored(talked: Cli) -> None:
    (talked.folder / "other.json").write_text("[]")
    assert talked.run("topology", "restore", "other.json").code == 2
    assert talked.run("topology", "restore", "missing.json").code == 2


def test_a_picture_has_every_edge_with_its_weight(talked: Cli) -> None:
    said = talked.run("topology", "--svg", "mesh.svg")
    assert said.code == 0, said.err
    root = drawn((talked.folder / "mesh.svg").read_text())
    lines = root.findall(f".//{{{NAMESPACE}}}line")
    texts = {text.text for text in root.iter(f"{{{NAMESPACE}}}text")}
    assert len(lines) == 12
    assert {"1.00", "0.60", "0.50", *HOMES} <= texts
    widths = sorted({line.get("stroke-width") for line in lines if line.get("stroke-width")}, key=str)
    assert widths == ["3.80", "4.44", "7.00"]


def test_a_png_is_drawn_or_the_command_says_what_to_install(talked: Cli) -> None:
    said = talked.run("topology", "--png", "mesh.png")
    if said.code == 0:
        assert (talked.folder / "mesh.png").read_bytes().startswith(b"\x89PNG")
    else:
        assert said.code == 2
        assert "cairo" in said.err


def test_a_way_is_shown_hop_by_hop(talked: Cli) -> None:
    said = talked.run("topology", "path", "sales", "fraud", "--json").json
    assert (said["agents"], said["weakest"], said["cost"]) == (["sales", "fraud"], 1.0, 1.0)
    assert "sales -1.000-> fraud" in talked.run("topology", "path", "sales", "fraud").out
    assert talked.run("topology", "path", "sales", "nobody").code == 3


def test_a_shape_is_suggested_with_reasons_without_any_store(cli: Cli) -> None:
    said = cli.run("topology", "suggest", "--agents", "200")
    assert said.code == 0, said.err
    assert said.out.startswith("hybrid: 398 links among 200 agents")
    assert "fault tolerance: one may be lost" in said.out
    assert list(cli.folder.iterdir()) == []
    assert cli.run("topology", "suggest", "--agents", "2", "--tolerance", "few").code == 2


def test_an_empty_mesh_says_so(cli: Cli) -> None:
    said = cli.run("topology")
    assert said.code == 0, said.err
    assert "no agent is in the topology yet" in said.out


def test_names_cannot_write_anything_else_into_a_picture() -> None:
    agents = ['<script>"', "b&c"]
    edges = [Edge(source=agents[0], target=agents[1], weight=0.5)]
    root = drawn(svg(Graph(agents=agents, edges=edges, homes=dict.fromkeys(agents, "n"))))
    assert {text.text for text in root.iter(f"{{{NAMESPACE}}}text")} >= set(agents)


def test_a_large_graph_is_drawn_without_figures() -> None:
    names = [f"a{number:02}" for number in range(30)]
    edges = [Edge(source=a, target=b, weight=0.5) for a in names for b in names if a != b]
    root = drawn(svg(Graph(agents=names, edges=edges, homes=dict.fromkeys(names, "n"))))
    assert "0.50" not in {text.text for text in root.iter(f"{{{NAMESPACE}}}text")}
