"""News on its way: each piece rides on a few datagrams that are sent anyway.

Invariant: one piece per node at most, so it never grows over the mesh.
"""

import math
from dataclasses import dataclass

from meshd.nodes.probe_wire import MAX_GOSSIP, Gossip

SPREAD = 4
"""Datagrams that carry a piece, times the magnitude of the mesh."""


@dataclass(slots=True)
class _Piece:
    gossip: Gossip
    left: int


class Rumours:
    """What is still to be told; what was told least goes first."""

    def __init__(self) -> None:
        self._pieces: dict[str, _Piece] = {}

    def add(self, gossip: Gossip, *, members: int) -> None:
        """Tell this from now on, instead of what was told of the same node."""
        self._pieces[gossip.node] = _Piece(gossip, SPREAD * max(1, math.ceil(math.log10(members + 1))))

    def forget(self, node: str) -> None:
        self._pieces.pop(node, None)

    def take(self, about: Gossip | None = None) -> tuple[Gossip, ...]:
        """Return what goes with the next datagram, `about` first."""
        if not self._pieces:
            return () if about is None else (about,)
        room = MAX_GOSSIP - (about is not None)
        freshest = sorted(self._pieces.values(), key=lambda piece: -piece.left)[:room]
        taken: list[Gossip] = [] if about is None else [about]
        for piece in freshest:
            if about is not None and piece.gossip.node == about.node:
                continue
            taken.append(piece.gossip)
            piece.left -= 1
            if piece.left <= 0:
                del self._pieces[piece.gossip.node]
        return tuple(taken)
