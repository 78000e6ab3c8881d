"""A node's replica of the shared memory: kept, written, and brought into step with everybody else's."""
