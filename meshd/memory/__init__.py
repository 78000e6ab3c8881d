"""What everyone knows: a memory that every node may write, that converges, and that can be explained and undone."""
