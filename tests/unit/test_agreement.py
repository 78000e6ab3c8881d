"""How many results must agree, and whether they do."""

from typing import Any

import pytest

from meshd.errors import InvalidArgumentError
from meshd.tasks.agreement import copies_of, tallied
from meshd.votes.model import Quorum


@pytest.mark.parametrize(
    ("quorum", "copies", "expected"),
    [
        (Quorum(1), 0, (1, 1)),
        (Quorum(2), 0, (2, 3)),
        (Quorum(3), 0, (3, 5)),
        (Quorum(3), 4, (3, 4)),
        (Quorum(3), 3, (3, 3)),
        (Quorum(), 0, (3, 5)),
        (Quorum(permil=600), 4, (3, 4)),
        (Quorum(permil=1000), 7, (7, 7)),
    ],
)
def test_a_quorum_of_results_is_so_many_of_so_many(quorum: Quorum, copies: int, expected: tuple[int, int]) -> None:
    assert copies_of(quorum, copies) == expected


@pytest.mark.parametrize(
    ("quorum", "copies"),
    [(Quorum(2), 4), (Quorum(3), 2), (Quorum(permil=500), 4), (Quorum(51), 0), (Quorum(3, weighted=True), 0)],
)
def test_half_or_less_more_than_all_and_weights_are_refused(quorum: Quorum, copies: int) -> None:
    with pytest.raises(InvalidArgumentError):
        copies_of(quorum, copies)


@pytest.mark.parametrize(
    ("values", "value", "votes", "is_agreed", "different"),
    [
        ([], None, 0, False, 0),
        ([4, 4, 5], 4, 2, False, 2),
        ([5, 4, 4, 4], 4, 3, True, 2),
        ([{"a": 1, "b": [2]}, {"b": [2], "a": 1}, {"a": 1, "b": [2]}], {"a": 1, "b": [2]}, 3, True, 1),
        ([None, None, None], None, 3, True, 1),
        ([True, 1, "1"], True, 1, False, 3),
    ],
)
def test_results_agree_that_are_the_same_json(
    values: list[Any], value: object, votes: int, is_agreed: bool, different: int
) -> None:
    found = tallied(values, need=3)
    assert (found.value, found.votes, found.is_agreed, found.different) == (value, votes, is_agreed, different)
