"""`mesh votes`: propose, cast, list, show, and what each mistake is answered with."""

import pytest

from tests.cli.conftest import Cli


@pytest.fixture(scope="module")
def voted(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A mesh with a proposal `r1`, on which sales has voted, and a decided one, `done`."""
    cli = Cli(tmp_path_factory.mktemp("voted"))
    cli.run("votes", "propose", "x", "--id", "r1", "--electors", "sales,fraud", "--timeout", "1h")
    cli.run("votes", "cast", "r1", "yes", "--as", "sales")
    cli.run("votes", "propose", "x", "--id", "done", "--electors", "a,b", "--quorum", "1", "--timeout", "1h")
    cli.run("votes", "cast", "done", "yes", "--as", "a")
    return cli


def test_a_proposal_is_made_voted_on_listed_and_shown(cli: Cli) -> None:
    made = cli.run(
        "votes", "propose", '{"refund": 120}', "--id", "r1", "--electors", "sales,fraud,boss", "--quorum", "2",
        "--type", "action", "--json",
    )  # fmt: skip
    assert (made.code, made.json["proposal"]["state"], made.json["proposal"]["need"]) == (0, "pending", 2)
    assert cli.run("votes", "cast", "r1", "yes", "--as", "sales").code == 0
    cast = cli.run("votes", "cast", "r1", "yes", "--as", "fraud", "--intensity", "0.7", "--reason", "fine", "--json")
    assert cast.json["proposal"]["state"] == "accepted"
    assert [(vote["voter"], vote["intensity"], vote["reason"]) for vote in cast.json["proposal"]["votes"]] == [
        ("sales", 1.0, ""), ("fraud", 0.7, "fine"),
    ]  # fmt: skip
    listed = cli.run("votes", "list", "--state", "accepted", "--type", "action", "--json").json["proposals"]
    assert [(each["id"], each["unit"]) for each in listed] == [("r1", "heads")]
    assert cli.run("votes", "list", "--type", "topology", "--json").json["proposals"] == []
    shown = cli.run("votes", "show", "r1").out
    assert "ACCEPTED" in shown
    assert "2 yes, 0 no, 0 abstain, 1 open; 2 of 3 needed" in shown


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["cast", "r1", "no", "--as", "sales"], 7, "sales voted yes already"),
        (["cast", "r1", "yes", "--as", "who"], 5, "'who' is not one of its electors"),
        (["cast", "r1", "maybe", "--as", "fraud"], 2, "'maybe' is not one of yes, no, abstain"),
        (["cast", "r2", "yes", "--as", "sales"], 3, "proposal 'r2' is not kept"),
        (["cast", "done", "yes", "--as", "b"], 7, "proposal done is accepted"),
        (["show", "r2"], 3, "proposal 'r2' is not kept"),
        (["list", "--state", "open"], 2, "state 'open' is not one of"),
        (["propose", "x", "--electors", "a", "--quorum", "5x"], 2, "'5x' is not a quorum"),
        (["propose", "x", "--electors", "a", "--quorum", "2"], 2, "can never be reached"),
        (["propose", "x"], 2, "electorate of 0"),
        (["propose", "y", "--id", "r1", "--electors", "a"], 7, "r1 exists already"),
        (["propose", "y", "--electors", "a", "--wait", "10ms"], 6, "was not decided within"),
        (["propose", "y", "--electors", "a", "--timeout", "1ms", "--wait", "5s"], 1, ""),
    ],
)
def test_mistakes(voted: Cli, words: list[str], code: int, says: str) -> None:
    said = voted.run("votes", *words)
    assert said.code == code
    assert says in said.err


def test_rivals_are_ranked_by_what_the_strongest_leaves_them(cli: Cli) -> None:
    for priority in ("low", "high", "medium"):
        cli.run("votes", "propose", "x", "--id", priority, "--electors", "a,b", "--priority", priority)
    ranked = cli.run("votes", "list", "--ranked", "--json").json["proposals"]
    assert [(each["id"], each["strength"]) for each in ranked] == [("high", 0.9), ("medium", 0.3), ("low", 0.0)]


def test_a_weighted_quorum_is_labelled(cli: Cli) -> None:
    made = cli.run("votes", "propose", "x", "--electors", "a,b", "--quorum", "50%", "--weighted", "--json").json
    assert (made["proposal"]["unit"], made["proposal"]["need"]) == ("thousandths of weight", 1_000)
    assert "thousandths of weight" in cli.run("votes", "show", made["proposal"]["id"]).out
