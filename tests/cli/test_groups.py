"""`mesh skills`, `announce`, `groups`, `explain` of a group: what they show, and how each mistake is answered."""

import asyncio
import signal
from collections.abc import Iterator
from json import loads
from typing import Any

import pytest

from tests.cli.conftest import Cli
from tests.support.waiting import wait_until

TEAM = """
from typing import Any

from meshd import AutonomousAgent, GroupTask, Level, Node, Skill


class Adder(AutonomousAgent):
    skills = (Skill(name="sum", level=Level.EXPERT, success_rate=0.9, average_ms=1500), "check=advanced")

    async def on_start(self, task: GroupTask) -> Any:
        await task.update(0.5, "adding")
        if task.payload is None:
            raise ValueError("nothing to add")
        return sum(task.payload)


class Teller(AutonomousAgent):
    skills = ("tell",)

    def on_start(self, task: GroupTask) -> str:
        return task.description


def register(node: Node) -> None:
    node.host(Adder("ada", slots=2), Teller("tom"))
"""


@pytest.fixture(scope="module")
def teamed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A folder where a node with the agents ada and tom runs, for the whole module."""
    cli = Cli(tmp_path_factory.mktemp("teamed"))
    (cli.folder / "team.py").write_text(TEAM)
    with cli.start("node", "start", "--name", "home", "--module", "team.py") as node:
        asyncio.run(wait_until(lambda: len(cli.run("skills", "--json").json["skills"]) == 3, 30))
        yield cli
        node.send_signal(signal.SIGINT)
        assert node.wait(timeout=20) == 0


def group(cli: Cli, id: str) -> Any:
    return cli.run("groups", "show", id, "--json").json["group"]


def test_who_has_what_is_listed_with_level_success_time_reputation_and_free_slots(teamed: Cli) -> None:
    rows = {each["skill"]: each for each in teamed.run("skills", "--json").json["skills"]}
    assert {name: (row["agent"], row["level"]) for name, row in rows.items()} == {
        "sum": ("ada", "expert"), "check": ("ada", "advanced"), "tell": ("tom", "intermediate"),
    }  # fmt: skip
    assert (rows["tell"]["success"], rows["tell"]["slots"], rows["tell"]["node"], rows["tell"]["is_live"]) == (
        1.0, 5, "home", True,
    )  # fmt: skip
    assert rows["sum"]["slots"] == 2
    above = teamed.run("skills", "--min-level", "advanced", "--json").json["skills"]
    assert {each["skill"] for each in above} == {"sum", "check"}
    assert teamed.run("skills", "sum", "--min-level", "expert").out.splitlines()[1].startswith("sum    ada    expert")
    assert teamed.run("skills", "levitate", "--json").json["skills"] == []


def test_announcing_with_wait_tells_of_progress_and_prints_the_results(teamed: Cli) -> None:
    said = teamed.run(
        "announce", "report", "--skill", "sum>=expert", "--skill", "tell", "--payload", "[3, 4]", "--wait"
    )
    assert (said.code, loads(said.out)) == (0, {"sum": 7, "tell": "report"})
    assert "note: announced as " in said.err
    again = teamed.run("announce", "report", "--skill", "sum", "--payload", "[1]", "--wait", "--json").json
    assert (again["results"], again["is_partial"], again["missing"]) == ({"sum": 1}, False, [])


def test_an_announcement_without_wait_prints_its_id_and_is_led_by_a_node(teamed: Cli) -> None:
    said = teamed.run("announce", "alone", "--id", "alone", "--skill", "tell", "--skill", "sum", "--payload", "[5]")
    assert (said.code, said.out) == (0, "alone\n")
    followed = teamed.run("groups", "watch", "alone", "--json")
    assert loads(followed.out.splitlines()[-1])["group"]["state"] == "completed"
    shown = group(teamed, "alone")
    assert [(one["agent"], one["node"], one["results"]) for one in shown["group"]] == [
        ("ada", "home", {"sum": 5}), ("tom", "home", {"tell": "alone"}),
    ]  # fmt: skip
    assert "Results:\n" in teamed.run("groups", "show", "alone").out
    listed = teamed.run("groups", "list", "--state", "completed", "--json").json["groups"]
    assert ("alone", ["ada", "tom"], 1.0) in [(each["id"], each["members"], each["progress"]) for each in listed]
    assert "alone" not in teamed.run("groups", "list").out


def test_a_failed_group_ends_the_command_with_its_reason(teamed: Cli) -> None:
    said = teamed.run(
        "announce", "sing", "--skill", "sum", "--skill", "sing", "--payload", "[1]", "--formation", "500ms", "--wait"
    )
    assert said.code == 1
    assert "not covered: sum, sing" in said.err
    assert "hint: `mesh explain ID`" in said.err


def test_a_partial_result_is_labelled(teamed: Cli) -> None:
    words = ["announce", "part", "--skill", "sum", "--skill", "sing", "--payload", "[1]", "--formation", "500ms"]
    said = teamed.run(*words, "--partial", "start", "--wait", "--json").json
    assert (said["results"], said["is_partial"], said["missing"]) == ({"sum": 1}, True, ["sing"])
    assert "COMPLETED (partial)" in teamed.run("groups", "show", said["id"]).out
    assert "note: partial: nobody covered sing" in teamed.run(*words, "--partial", "start", "--wait").err


def test_phases_follow_each_other(teamed: Cli) -> None:
    teamed.run("announce", "one", "--id", "one", "--skill", "sum", "--payload", "[1]")
    said = teamed.run("announce", "two", "--id", "two", "--skill", "tell", "--after", "one", "--wait")
    assert (said.code, loads(said.out)) == (0, {"tell": "two"})
    assert group(teamed, "one")["ended_at"] <= group(teamed, "two")["formed_at"]


def test_why_these_were_chosen_is_explained_term_by_term(teamed: Cli) -> None:
    teamed.run("announce", "why", "--id", "why", "--skill", "sum>=advanced", "--payload", "[1]", "--wait")
    explained = teamed.run("explain", "why", "--json").json
    assert (explained["kind"], explained["summary"]) == ("group_explanation", "is completed")
    (chosen,) = explained["chosen"]
    assert (chosen["agent"], chosen["roles"], chosen["is_member"]) == ("ada", ["sum"], True)
    assert set(chosen["terms"]) == set(explained["weights"]) == {
        "level", "success", "availability", "time", "reputation", "cost",
    }  # fmt: skip
    total = sum(explained["weights"][term] * chosen["terms"][term] for term in chosen["terms"])
    assert chosen["score"] == pytest.approx(total, abs=0.001)
    assert explained["price"] == chosen["price"]
    assert "Chosen, price" in teamed.run("explain", "why").out
    assert "it is a member, for sum" in teamed.run("why-not", "why", "ada").out


def test_what_keeps_the_others_out_and_what_would_unblock_it_is_named(teamed: Cli) -> None:
    teamed.run("announce", "stuck", "--id", "stuck", "--skill", "tell>=expert", "--skill", "sing")
    explained = teamed.run("explain", "stuck", "--json").json
    assert {each["agent"]: [one["detail"] for one in each["obstacles"]] for each in explained["others"]} == {
        "tom": ["tell>=expert: has intermediate", "sing>=novice: not there"]
    }
    assert [each["detail"] for each in explained["unblock"]] == [
        "an agent with tell>=expert: none here; nearest is tom at intermediate",
        "an agent with sing>=novice: none here",
    ]
    assert "What would let it form:" in teamed.run("explain", "stuck").out
    why_not = teamed.run("why-not", "stuck", "ada", "--json").json
    assert (why_not["kind"], why_not["reasons"]) == (
        "group_why_not", ["tell>=expert: not there", "sing>=novice: not there"],
    )  # fmt: skip
    cancelled = teamed.run("groups", "cancel", "stuck", "--reason", "nobody can", "--json").json["group"]
    assert cancelled["state"] == "cancelled"
    assert cancelled["reason"].endswith("nobody can")


def test_cancelling_twice_is_once(teamed: Cli) -> None:
    teamed.run("announce", "gone", "--id", "gone", "--skill", "sing")
    assert [teamed.run("groups", "cancel", "gone").code for _ in range(2)] == [0, 0]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["announce", "x"], 2, "Missing option '--skill'"),
        (["announce", "x", "--skill", "a>=guru"], 2, "level 'guru' is not one of novice"),
        (["announce", "x", "--skill", "a b"], 2, "skill 'a b' is not a valid name"),
        (["announce", "x", "--skill", "a", "--skill", "a"], 2, "needs a twice"),
        (["announce", "x", "--skill", "a", "--size", "6"], 2, "a group of 6 is not 1 to 5"),
        (["announce", "x", "--skill", "a", "--priority", "asap"], 2, "priority 'asap' is not one of"),
        (["announce", "x", "--skill", "a", "--partial", "maybe"], 2, "partial 'maybe' is not one of"),
        (["announce", "x", "--skill", "a", "--deadline", "soon"], 2, "'soon' is not a duration"),
        (["announce", "x", "--skill", "a", "--payload", "@none.json"], 2, "none.json: No such file"),
        (["announce", "x", "--skill", "sing", "--unserved", "refuse"], 3, "no live agent has sing>=novice"),
        (
            ["announce", "x", "--skill", "sing", "--wait", "--wait-timeout", "50ms", "--deadline", "1s"],
            6,
            "was not over",
        ),
        (["groups", "show", "none"], 3, "announcement 'none' is not kept"),
        (["groups", "watch", "none"], 3, "announcement 'none' is not kept"),
        (["groups", "cancel", "none"], 3, "announcement 'none' is not kept"),
        (["groups", "list", "--state", "asleep"], 2, "state 'asleep' is not one of open"),
        (["explain", "none"], 3, "task none"),
        (["why-not", "none", "ada"], 3, "task none"),
        (["skills", "--min-level", "guru"], 2, "level 'guru' is not one of"),
    ],
)
def test_mistakes(teamed: Cli, words: list[str], code: int, says: str) -> None:
    said = teamed.run(*words)
    assert (said.code, "Traceback" in said.err) == (code, False), said.err
    assert says in said.err
