"""Why these were chosen and those not: the explanation uses the rules that choose, so each figure can be redone."""

from dataclasses import replace

import pytest

from meshd.groups.explaining import explain, summary_of
from meshd.groups.model import Announcement, AnnouncementState, Candidate, Invitation, Member, Skill, SkillNeed
from meshd.groups.obstacles import ObstacleKind, UnblockKind
from meshd.groups.scoring import DEFAULT_RULES, Term, offer_of, scored
from meshd.groups.shares import price
from meshd.nodes.model import Level

NOW = 1_700_000_000_000
X = SkillNeed(name="x", level=Level.ADVANCED)
WORK = Announcement(id="work-0", initiator="boss", needs=(X,), deadline_ms=NOW + 60_000)


def agent(name: str, *, success: float = 0.9, level: Level = Level.EXPERT, taken: int = 0) -> Candidate:
    skill = Skill(name="x", level=level, success_rate=success)
    return Candidate(agent=name, node=f"on-{name}", incarnation=1, skills={"x": skill}, taken=taken)


def running(*, member: str) -> Announcement:
    part = Member(agent=member, incarnation=1, roles=("x",), node=f"on-{member}", started=True)
    return replace(WORK, state=AnnouncementState.RUNNING, epoch=1, members={member: part})


def test_a_member_is_explained_by_its_terms_and_its_price_without_the_slot_it_holds_for_this() -> None:
    good = agent("good", taken=2)
    explained = explain(running(member="good"), [good], away=(), now_ms=NOW)
    (chosen,) = explained.chosen
    free = replace(good, taken=1)
    assert (chosen.roles, chosen.node, chosen.is_member) == (("x",), "on-good", True)
    assert chosen.scored == scored(free, ("x",), NOW)
    offer = offer_of(free, [X], NOW)
    assert offer is not None
    assert chosen.price == explained.price == price(offer)
    assert explained.weights is DEFAULT_RULES.weights


def test_who_was_passed_over_is_shown_beside_the_price_of_the_cheapest_group_with_it() -> None:
    explained = explain(running(member="good"), [agent("good"), agent("fair", success=0.5)], away=(), now_ms=NOW)
    (other,) = explained.others
    fair = offer_of(agent("fair", success=0.5), [X], NOW)
    assert fair is not None
    assert other.price == price(fair) > explained.price  # type: ignore[operator]
    assert [obstacle.kind for obstacle in other.obstacles] == [ObstacleKind.COVERED]
    assert other.scored.terms[Term.SUCCESS] == 0.5


def test_each_other_one_is_named_with_every_predicate_that_fails() -> None:
    work = replace(WORK, refused={"no": "too dear"}, dead={"late": 1})
    crowd = [
        agent("novice", level=Level.NOVICE), agent("full", taken=5), agent("no"), agent("late"), agent("gone"),
        agent("fit"),
    ]  # fmt: skip
    explained = explain(work, crowd, away={"gone"}, now_ms=NOW)
    failing = {each.agent: [(one.kind.value, one.detail) for one in each.obstacles] for each in explained.others}
    assert failing == {
        "novice": [("lacks", "x>=advanced: has novice")],
        "full": [("full", "5 of 5 slots taken")],
        "no": [("refused", "too dear")],
        "late": [("died", "incarnation 1 died")],
        "gone": [("away", "its node on-gone is not alive")],
        "fit": [],
    }
    assert explained.others[0].agent in ("fit", "gone", "late", "no")
    assert explained.others[-1].agent == "novice"


def test_what_would_unblock_a_pending_one_counts_only_who_is_here() -> None:
    explained = explain(WORK, [agent("gone"), agent("novice", level=Level.NOVICE)], away={"gone"}, now_ms=NOW)
    (unblock,) = explained.unblock
    assert (unblock.kind, unblock.skill, unblock.agents) == (UnblockKind.SKILL, "x", ("novice",))
    assert explain(WORK, [agent("fit")], away=(), now_ms=NOW).unblock == ()


@pytest.mark.parametrize(
    ("work", "says"),
    [
        (WORK, "is announced: nobody has accepted x>=advanced yet"),
        (running(member="a"), "is running: every skill has somebody"),
        (replace(WORK, state=AnnouncementState.WAITING, depends_on=("a", "b"), awaits=("b",)), "is waiting for b"),
        (replace(WORK, state=AnnouncementState.FAILED, reason="too late"), "is failed: too late"),
        (replace(WORK, state=AnnouncementState.COMPLETED, is_partial=True), "is completed partially"),
    ],
)
def test_the_summary_says_where_it_is(work: Announcement, says: str) -> None:
    assert summary_of(work) == says


def test_an_invited_agent_shows_the_score_it_offered_with() -> None:
    offered = offer_of(agent("a"), [X], NOW)
    assert offered is not None
    offered = replace(offered, score=0.5)
    invited = Invitation(agent="a", incarnation=1, round=1, roles=("x",), expires_ms=NOW + 5_000, node="on-a")
    work = replace(WORK, state=AnnouncementState.NEGOTIATING, offers={"a": offered}, invitations={"a": invited})
    (chosen,) = explain(work, [agent("a")], away=(), now_ms=NOW).chosen
    assert (chosen.is_member, chosen.offered, chosen.price) == (False, 0.5, price(offered))


def test_a_member_that_is_known_no_more_has_neither_score_nor_price() -> None:
    explained = explain(running(member="ghost"), [], away=(), now_ms=NOW)
    assert (explained.chosen[0].scored, explained.chosen[0].price, explained.price) == (None, None, None)
