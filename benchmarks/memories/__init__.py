"""What is measured of the shared memory, one file per question."""
