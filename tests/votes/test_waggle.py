"""The waggle dance by its formulas, and what votes look like."""

import pytest

from meshd.errors import InvalidArgumentError
from meshd.votes.model import CastVote, Choice, Proposal, Waggle
from meshd.votes.waggle import (
    Pattern,
    dance,
    inhibition,
    intensity_of,
    pattern,
    ranking,
    strong_support,
    supports,
    weighted_support,
)


def votes(*said: tuple[Choice, int]) -> list[CastVote]:
    return [
        CastVote(voter=f"a{number}", choice=choice, intensity_permil=intensity)
        for number, (choice, intensity) in enumerate(said)
    ]


def a_rival(name: str, intensity: float) -> Proposal:
    return Proposal(id=name, proposer="me", waggle=dance(intensity))


def test_the_default_dance() -> None:
    assert intensity_of() == 0.5
    assert dance(0.5) == Waggle(intensity=0.5, duration_ms=500, repetitions=5, angle=180.0) == Waggle()


@pytest.mark.parametrize(
    ("priority", "intensity", "duration_ms", "repetitions"),
    [("critical", 0.9, 900, 9), ("high", 0.9, 900, 9), ("medium", 0.6, 600, 6), ("low", 0.3, 300, 3)],
)
def test_priority_decides_how_strong_how_long_and_how_often(
    priority: str, intensity: float, duration_ms: int, repetitions: int
) -> None:
    danced = dance(intensity_of(priority=priority))
    assert (danced.intensity, danced.duration_ms, danced.repetitions) == (intensity, duration_ms, repetitions)


def test_urgency_adds_up_to_one() -> None:
    assert intensity_of(priority="high", urgent=True) == 1.0
    assert dance(1.0).repetitions == 10
    assert intensity_of(priority="medium", urgent=True) == pytest.approx(0.8)


def test_confidence_and_amount_are_averaged_in() -> None:
    assert intensity_of(priority="medium", confidence=0.8) == pytest.approx(0.7)
    assert intensity_of(amount=5_000) == pytest.approx(0.435, abs=5e-4)
    assert intensity_of(amount=0) == 0.25
    assert intensity_of(priority="high", confidence=1.0, amount=1e30) == 1.0


def test_even_the_weakest_dance_is_danced_once() -> None:
    assert dance(0.0).repetitions == 1


@pytest.mark.parametrize(
    ("kind", "quality", "angle"),
    [
        ("approval", 0.5, 90), ("rejection", 0.5, 270), ("action", 0.5, 180), ("decision", 0.5, 180),
        ("topology", 0.5, 0), ("approval", 1.0, 135), ("approval", 0.0, 45), ("topology", 0.0, 315),
    ],
)  # fmt: skip
def test_the_angle_tells_kind_and_quality(kind: str, quality: float, angle: float) -> None:
    assert dance(0.5, kind=kind, quality=quality).angle == angle


@pytest.mark.parametrize("wrong", [{"priority": "asap"}, {"confidence": 1.5}, {"amount": -1.0}])
def test_what_is_no_dance_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidArgumentError):
        intensity_of(**wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_the_stronger_dance_takes_from_the_weaker_by_the_formula() -> None:
    strong, weak = dance(0.9), dance(0.6)
    assert inhibition(strong, weak) == pytest.approx(((0.9 - 0.6) + (9 - 6) / 10) / 2)
    assert inhibition(weak, strong) == 0.0
    assert inhibition(dance(1.0), dance(0.0)) == pytest.approx(0.95)
    assert inhibition(Waggle(intensity=1.0, repetitions=99), dance(0.0)) == 1.0


def test_rivals_are_ranked_by_what_the_strongest_leaves_them() -> None:
    ranked = ranking([a_rival("weak", 0.3), a_rival("strong", 0.9), a_rival("middle", 0.6)])
    assert [(proposal.id, round(left, 6)) for proposal, left in ranked] == [
        ("strong", 0.9), ("middle", 0.3), ("weak", 0.0),
    ]  # fmt: skip


def test_equal_rivals_leave_each_other_alone() -> None:
    ranked = ranking([a_rival("b", 0.5), a_rival("a", 0.5)])
    assert [(proposal.id, left) for proposal, left in ranked] == [("a", 0.5), ("b", 0.5)]


def test_the_default_policy_supports_from_the_minimum_on() -> None:
    assert supports(dance(0.3))
    assert not supports(dance(0.29))
    assert supports(dance(0.29), minimum=0.2)


def test_weighted_support_is_yes_over_all_intensity() -> None:
    assert weighted_support(votes((Choice.YES, 900), (Choice.NO, 300))) == 0.75
    assert weighted_support(votes((Choice.ABSTAIN, 1_000))) == 0.0


def test_strong_support_counts_strong_yes_over_all_electors() -> None:
    cast = votes((Choice.YES, 900), (Choice.YES, 700), (Choice.NO, 1_000))
    assert strong_support(cast, electors=4) == 0.25
    assert strong_support(cast, electors=4, minimum=0.5) == 0.5
    assert strong_support([], electors=0) == 0.0


@pytest.mark.parametrize(
    ("yes", "no", "intensity", "looks"),
    [
        (3, 1, 700, Pattern.STRONG_SUPPORT), (3, 1, 699, Pattern.SUPPORT), (2, 1, 900, Pattern.DIVIDED),
        (1, 3, 699, Pattern.OPPOSITION), (1, 3, 700, Pattern.STRONG_OPPOSITION), (2, 2, 900, Pattern.DEADLOCK),
        (1, 0, 100, Pattern.SUPPORT), (0, 0, 0, Pattern.UNKNOWN),
    ],
)  # fmt: skip
def test_patterns(yes: int, no: int, intensity: int, looks: Pattern) -> None:
    assert pattern(votes(*[(Choice.YES, intensity)] * yes, *[(Choice.NO, intensity)] * no)) is looks
