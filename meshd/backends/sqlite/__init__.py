"""The SQLite backend: a whole mesh in one file, for the processes of one machine."""

from meshd.backends.sqlite.backend import SqliteBackend, open_backend
from meshd.backends.sqlite.replica import SqliteReplicaFile, open_replica

__all__ = ["SqliteBackend", "SqliteReplicaFile", "open_backend", "open_replica"]
