"""Versions to measure with: values of about 395 bytes, as an agent would note them."""

from collections.abc import Sequence
from time import time_ns

from meshd import codec
from meshd.memory.model import Batch, Header, Version
from meshd.memory.sealing import Seal

SEAL = Seal("benchmark")
TEXT = "The build of the parser failed on two machines; the cause is a missing header, and the fix is in review. " * 3
VALUE = {"text": TEXT, "source": "ci", "confidence": 0.9, "tags": ["build", "parser"]}
BODY = codec.encode(VALUE)


def version(key: str, *, actor: str, seq: int) -> Version:
    """Return one write of a key; whoever wrote it has seen its own earlier ones."""
    header = Header(actor=actor, seq=seq, observed={}, ms=time_ns() // 1_000_000, key=key, node=actor.partition("~")[0])
    return SEAL.make(header, BODY)


def batch(keys: Sequence[str], *, actor: str, first: int) -> Batch:
    """Return a batch that writes these keys, numbered from `first`."""
    versions = [version(key, actor=actor, seq=first + at) for at, key in enumerate(keys)]
    return Batch(actor=actor, first=first, last=first + len(keys) - 1, versions=versions)
