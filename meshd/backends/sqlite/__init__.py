"""The SQLite backend: a whole mesh in one file, for the processes of one machine."""

from meshd.backends.sqlite.backend import SqliteBackend, open_backend

__all__ = ["SqliteBackend", "open_backend"]
