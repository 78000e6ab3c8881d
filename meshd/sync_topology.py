"""The topology for code without an event loop: `topology` of a `SyncMesh`. A facade, with no logic of its own."""

from meshd.sync_memory import Portal
from meshd.topology.service import TopologyService


class SyncTopology:
    """Who talks to whom; see `TopologyService`."""

    def __init__(self, portal: Portal, topology: TopologyService) -> None:
        self.graph = portal.wrap(topology.graph)
        self.statistics = portal.wrap(topology.statistics)
        self.path = portal.wrap(topology.path)
        self.neighbours = portal.wrap(topology.neighbours)
        self.nearness = portal.wrap(topology.nearness)
        self.snapshot = portal.wrap(topology.snapshot)
        self.restore = portal.wrap(topology.restore)
