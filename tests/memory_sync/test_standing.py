"""What an actor deleted is forgotten by its writer only when nobody can lack the deletion any more."""

from collections.abc import Mapping

from meshd.clock import ManualClock
from meshd.memory.access import Draft
from meshd.memory.joining import is_spent, join
from meshd.memory.model import Dot, Member, StoreClock, Version
from meshd.memory.replication.standing import Standing
from meshd.memory.stamping import Stamper
from tests.memory_sync.replicas import SEAL, draft

STAMPER = Stamper(SEAL, ManualClock())


def test_a_later_version_does_not_say_what_its_writer_has_forgotten() -> None:
    first, deletion = _written_and_deleted()
    again = STAMPER.make(draft("k", "second"), Dot("b~1", 2))
    assert join((first, deletion), (again,)) == (again,)
    assert join((first,), (again,)) == (first, again)
    remembered = STAMPER.make(draft("k", "second", over=(deletion,)), Dot("b~1", 2))
    assert join((first,), (remembered,)) == (remembered,)


def test_an_own_deletion_is_spent_when_every_replica_has_it_and_those_of_others_before() -> None:
    _, deletion = _written_and_deleted()
    clock = {"a~1": 1, "b~1": 1}
    standing = Standing()
    standing.saw(_hub(clock, revision=2))
    standing.met([_member("a", 1), _member("b", 2)])
    assert not is_spent((deletion,), covered=standing.to_tidy(clock, own="b~1"), now_ms=1)
    assert is_spent((deletion,), covered=standing.to_tidy(clock, own="c~1"), now_ms=1)
    standing.met([_member("a", 1), _member("b", 2)])
    assert standing.to_tidy(clock, own="b~1") == {"a~1": 1, "b~1": 0}
    standing.met([_member("a", 2), _member("b", 2)])
    assert is_spent((deletion,), covered=standing.to_tidy(clock, own="b~1"), now_ms=1)


def test_what_was_written_under_a_lease_counts_as_everybodys_own() -> None:
    standing = Standing()
    standing.saw(_hub({"~lent-1": 5}, revision=5))
    standing.met([_member("a", 5)])
    assert standing.to_tidy({"~lent-1": 5}, own="a~1") == {"~lent-1": 0}
    standing.met([_member("a", 5)])
    assert standing.to_tidy({"~lent-1": 7}, own="a~1") == {"~lent-1": 5}


def test_other_data_has_been_nowhere_yet() -> None:
    standing = Standing()
    for generation in ("g", "h"):
        standing.saw(_hub({"a~1": 5}, revision=5, generation=generation))
        standing.met([_member("a", 5)])
        assert standing.to_tidy({"a~1": 5}, own="a~1") == {"a~1": 0}
        standing.met([_member("a", 5)])
        assert standing.to_tidy({"a~1": 5}, own="a~1") == {"a~1": 5}


def _written_and_deleted() -> tuple[Version, Version]:
    first = STAMPER.make(draft("k", "first"), Dot("a~1", 1))
    return first, STAMPER.make(Draft(key="k", body=None, over=(first,)), Dot("b~1", 1))


def _hub(clock: Mapping[str, int], *, revision: int, generation: str = "g") -> StoreClock:
    return StoreClock(generation=generation, revision=revision, clock=clock, now_ms=0, items=0, value_bytes=0)


def _member(node: str, revision: int) -> Member:
    return Member(node=node, actor=f"{node}~1", revision=revision, seen_ms=0)
