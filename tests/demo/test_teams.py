"""The examples of working groups: each does its work, on real input, over both stores."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.redis_server import RedisServer

TEAMS = Path(__file__).parents[2] / "examples" / "teams"
Run = Callable[..., str]


@pytest.fixture(params=["sqlite", "redis"])
def run(request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer) -> Run:
    """Run an example in a fresh mesh, in which nobody is chosen by turns, and return what it prints."""
    url = f"sqlite:///{tmp_path / 'mesh.db'}" if request.param == "sqlite" else redis_server.url
    mesh = f"teams-{abs(hash(request.node.name))}"
    env = {**os.environ, "MESHD_URL": url, "MESHD_MESH": mesh, "PYTHONPATH": str(TEAMS.parents[1])}
    env["MESHD_GROUPS__EVEN_ONE_IN"] = "0"

    def example(name: str, *arguments: str) -> str:
        command = [sys.executable, str(TEAMS / f"{name}.py"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return example


def test_the_pipeline_loads_what_is_clean_and_valid(run: Run) -> None:
    assert run("data_pipeline") == "{'sqlite.load': 3}\n"


def test_the_pipeline_takes_a_file_of_ones_own(run: Run, tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("station,day,celsius\nkiel,1,7.5\nkiel,2,400\n", encoding="utf-8")
    assert run("data_pipeline", str(own)) == "{'sqlite.load': 1}\n"


def test_models_trained_on_shards_are_better_together(run: Run) -> None:
    found = eval(run("model_training"), {"__builtins__": {}})  # noqa: S307 -- what the example prints is a literal
    assert len(found["each"]) == 4
    assert found["together"] > max(found["each"])
    assert found["together"] > 0.95


def test_articles_are_written_edited_and_reviewed_by_teams_that_talk(run: Run) -> None:
    articles = run("content_network").splitlines()
    assert [article.split()[0] for article in articles] == ["Scouts", "It"]
    assert all(len(article) <= 100 for article in articles)


def test_an_incident_is_handled_before_chores_and_without_who_gave_up(run: Run) -> None:
    said = run("incident_response")
    assert "'inside': ['203.0.113.7']" in said
    assert "blocked 203.0.113.0/24" in said
    assert "gave up: ['novice']" in said
    done, of = (int(word) for word in said.partition("after ")[2].split(" chores")[0].split(" of "))
    assert done < of == 6


def test_the_walk_is_simulated_analysed_and_plotted(run: Run, tmp_path: Path) -> None:
    picture = tmp_path / "walk.png"
    assert run("scientific_computing", str(picture)).startswith("exponent 0.5")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_problem_is_divided_and_what_is_learned_is_shared(run: Run) -> None:
    said = run("solving_together", "10000").splitlines()
    assert said == [
        "learned by the first: 1",
        "primes: 1229",
        "nodes: ['solver-0', 'solver-1', 'solver-2']",
        "known to all: 25 small primes",
    ]
