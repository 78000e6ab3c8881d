"""Versions to measure with: values of about 395 bytes, as an agent would note them."""

from collections.abc import Mapping, Sequence
from time import time_ns

from meshd import codec
from meshd.memory.model import Batch, Header, Version
from meshd.memory.sealing import Seal

SEAL = Seal("benchmark")
TEXT = "The build of the parser failed on two machines; the cause is a missing header, and the fix is in review. " * 3
VALUE = {"text": TEXT, "source": "ci", "confidence": 0.9, "tags": ["build", "parser"]}
BODY = codec.encode(VALUE)


def version(
    key: str, *, actor: str, seq: int, agent: str = "", observed: Mapping[str, int] | None = None, body: bytes = BODY
) -> Version:
    """Return one write of a key; whoever wrote it has seen its own earlier ones."""
    header = Header(
        actor=actor,
        seq=seq,
        observed=dict(observed or {}),
        ms=time_ns() // 1_000_000,
        key=key,
        node=actor.partition("~")[0],
        agent=agent,
    )
    return SEAL.make(header, body)


def batch(keys: Sequence[str], *, actor: str, first: int) -> Batch:
    """Return a batch that writes these keys, numbered from `first`."""
    return batch_of([version(key, actor=actor, seq=first + at) for at, key in enumerate(keys)])


def batch_of(versions: Sequence[Version]) -> Batch:
    """Return a batch of these versions, of one actor and without a gap."""
    one, last = versions[0].header, versions[-1].header
    return Batch(actor=one.actor, first=one.seq, last=last.seq, versions=versions)
