"""Versions under new names, so that stores which know the old ones take them: the same writes, of the same times."""

import os
from collections import Counter
from collections.abc import Mapping

from meshd.memory.model import Dot, NodeClock, Version
from meshd.memory.replication.repairing import Parted
from meshd.memory.stamping import Stamper


def new_actor(node: str) -> str:
    """Return the name of an actor of a node's that nobody has used."""
    return f"{node}~{os.urandom(3).hex()}"


def renamed(keys: Mapping[str, Parted], *, node: str, stamper: Stamper) -> tuple[list[Version], NodeClock]:
    """Return every current version under a new name, and the clock that covers these names.

    Siblings get names of different actors: a later one of the same actor would supersede the others.
    """
    actors = [new_actor(node) for _ in range(max([len(each.current) for each in keys.values()], default=0))]
    used = Counter[str]()
    versions: list[Version] = []
    for parted in keys.values():
        for actor, version in zip(actors, parted.current, strict=False):
            used[actor] += 1
            versions.append(stamper.beside(version, Dot(actor, used[actor]), gone=parted.gone))
    return versions, dict(used)
