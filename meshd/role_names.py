"""The mesh's own jobs, by name."""

from enum import StrEnum


class RoleName(StrEnum):
    """A job a node can do for the mesh."""

    TOPOLOGY = "topology"
    """Keeps the edges between agents; one node at a time, elected."""
    CONSENSUS = "consensus"
    """Ends votes and announces what was decided; one node at a time, elected."""
    GROUPS = "groups"
    """Leads announcements that nobody leads; everybody who wants to."""
    RECLAIM = "reclaim"
    """Judges silent nodes and takes back their tasks; everybody who wants to."""
