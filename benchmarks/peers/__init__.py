"""One file per system, run inside that system's own environment: its worker, and what its producers do.

`client.py` drives them all the same way; a new peer is one file here and one entry in `lab/contenders.py`.
"""
