"""LangGraph on the shared memory: `MeshStore` is a `BaseStore` whose concurrent writers lose nothing."""

from meshd.integrations.langgraph.merging import UnmergeableError
from meshd.integrations.langgraph.store import MeshStore

__all__ = ["MeshStore", "UnmergeableError"]
