"""What the value of a key is: each policy a function of the set of its live siblings, judged when they are read. Pure.

- Only live siblings count, the ones the digest counts: stores with equal digests read equal values, whatever they have
  collected. So a deletion takes away what its writer had seen and nothing else: an edit it had not seen stays, under
  every policy. Likewise, of concurrent lifetimes the longest lasts.
- The policy is the one stamped in the latest of them, so that all nodes judge alike whatever their settings say now.
- Counters and sets always merge. Equal values are no conflict.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec

from meshd.codec import decode, encode
from meshd.memory.merging import merge, mergeable, value_of
from meshd.memory.model import Dot, Header, Item, Kind, Policy, Version

CUSTOM_MARK = f"{Policy.CUSTOM}:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of several concurrent values, as a custom policy is shown it."""

    value: Any
    header: Header
    """Who wrote it when, on whose behalf, and why."""


Custom = Callable[[Sequence[Side]], object]
"""A custom policy: is given the sides, latest first, and returns the value. It must depend on nothing else."""


class Resolved(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an item means at one time."""

    value: Any
    """`None` without a winner; a JSON null has one."""
    winner: Version | None
    """Whose write shows; of a merged value the latest. `None`: there is no value, it was deleted, or has expired."""
    siblings: tuple[Version, ...]
    """Every live version, latest first: also those that do not show."""
    policy: str
    losers: tuple[Version, ...] = ()
    """Those of them whose value does not show at all."""
    is_merged: bool = False
    """The value is made of several siblings, not the winner's alone."""
    is_conflict: bool = False
    """The siblings say different things and the policy leaves the choice to the reader; the value is the latest."""
    needs_person: bool = False
    """A conflict that waits for a human: `manual`, or a custom policy that gave no answer."""
    why: str = ""
    """Why a custom policy gave no answer."""

    @property
    def exists(self) -> bool:
        return self.winner is not None

    @property
    def dots(self) -> tuple[Dot, ...]:
        """The live versions' names in order: what a conditional write expects."""
        return tuple(sorted(version.dot for version in self.siblings))

    @property
    def expires_ms(self) -> int:
        """When the last of it is gone; 0: never."""
        lost = {version.dot for version in self.losers}
        ends = [version.header.expires_ms for version in self.siblings if version.dot not in lost]
        return max(ends) if ends and all(ends) else 0


_NO_CUSTOMS: Mapping[str, Custom] = MappingProxyType({})


def resolve(item: Item, *, now_ms: int, customs: Mapping[str, Custom] = _NO_CUSTOMS) -> Resolved:
    """Return what the item means: the same for every order of its siblings.

    `customs` has the functions of `custom:<name>` by name. One that is missing, fails or returns no JSON leaves the
    choice to a person, as `manual` does; so does a policy that only newer nodes know.

    Raises:
        CorruptDataError: a body is not what `merging` writes.
    """
    if len(item) == 1:
        return _alone(item[0], now_ms=now_ms)
    live = tuple(sorted((version for version in item if version.is_live(now_ms)), key=_time, reverse=True))
    if len(live) < 2:
        return _alone(live[0], now_ms=now_ms) if live else _nothing(item)
    policy = live[0].header.policy
    if live[0].header.kind in (Kind.COUNTER, Kind.SET):
        return _merged(live, policy=policy)
    match policy:
        case Policy.LATEST_WINS:
            return _won(live[0], live, policy=policy)
        case Policy.SOURCE_PRIORITY:
            return _won(max(live, key=_rank), live, policy=policy)
        case Policy.MERGE_COMPATIBLE:
            return _merged(live, policy=policy)
        case Policy.VERSION_VECTOR:
            return _side_by_side(live, policy=policy)
        case _ if policy.startswith(CUSTOM_MARK):
            return _custom(live, policy=policy, function=customs.get(policy.removeprefix(CUSTOM_MARK)))
        case _:
            return _side_by_side(live, policy=policy, needs_person=True)


def _nothing(item: Item) -> Resolved:
    policy = max(item, key=_time).header.policy if item else Policy.LATEST_WINS
    return Resolved(value=None, winner=None, siblings=(), policy=policy)


def _alone(version: Version, *, now_ms: int) -> Resolved:
    if not version.is_live(now_ms):
        return _nothing((version,))
    return Resolved(value=value_of(version), winner=version, siblings=(version,), policy=version.header.policy)


def _won(winner: Version, live: tuple[Version, ...], *, policy: str) -> Resolved:
    losers = _without(live, (winner,))
    return Resolved(value=value_of(winner), winner=winner, siblings=live, losers=losers, policy=policy)


def _merged(live: tuple[Version, ...], *, policy: str) -> Resolved:
    latest = live[0]
    kind = latest.header.kind if latest.header.kind in (Kind.COUNTER, Kind.SET) else Kind.MAP
    merging = mergeable(live, kind=kind)
    if len(merging) < 2 or merging[0] is not latest:
        return _won(latest, live, policy=policy)
    value, losers = merge(merging, kind=kind), _without(live, merging)
    return Resolved(value=value, winner=latest, siblings=live, losers=losers, policy=policy, is_merged=True)


def _side_by_side(live: tuple[Version, ...], *, policy: str, needs_person: bool = False, why: str = "") -> Resolved:
    values = [value_of(version) for version in live]
    differs = not _agree(values)
    return Resolved(
        value=values[0],
        winner=live[0],
        siblings=live,
        losers=live[1:] if differs else (),
        policy=policy,
        is_conflict=differs,
        needs_person=differs and needs_person,
        why=why if differs else "",
    )


def _custom(live: tuple[Version, ...], *, policy: str, function: Custom | None) -> Resolved:
    sides = [Side(value=value_of(version), header=version.header) for version in live]
    if _agree([side.value for side in sides]):
        return _won(live[0], live, policy=policy)
    if function is None:
        return _side_by_side(live, policy=policy, needs_person=True, why=f"{policy} is not known here")
    try:
        value = decode(encode(function(sides)))
    except Exception as exc:  # noqa: BLE001 -- somebody else's code: its failure is a conflict, not ours
        why = f"{policy} failed: {type(exc).__name__}: {exc}"
        return _side_by_side(live, policy=policy, needs_person=True, why=why)
    return Resolved(value=value, winner=live[0], siblings=live, policy=policy, is_merged=True)


def _without(versions: tuple[Version, ...], shown: Sequence[Version]) -> tuple[Version, ...]:
    dots = {version.dot for version in shown}
    return tuple(version for version in versions if version.dot not in dots)


def _agree(values: Sequence[object]) -> bool:
    texts = {msgspec.json.encode(value, order="sorted") for value in values}
    return len(texts) == 1


def _time(version: Version) -> tuple[int, int, str]:
    return version.header.time


def _rank(version: Version) -> tuple[int, int, int, str]:
    return (version.header.rank, *version.header.time)
