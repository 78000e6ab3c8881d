"""What a store's refusal means to whoever wrote. Pure."""

from meshd.errors import MemoryRefusedError, WriteConflictError
from meshd.memory.access import Draft
from meshd.memory.model import Item, Refusal

_WHYS = {
    Refusal.TOO_LARGE: ("it is larger than the mesh takes", "write less, or raise memory_sync.max_item_bytes"),
    Refusal.FULL: ("the memory is full", "delete what is not needed, or raise memory_sync.max_items or max_bytes"),
    Refusal.FUTURE: ("its time is too far ahead of the store's", "set this machine's clock"),
    Refusal.QUARANTINED: ("this node is in quarantine", "have it readmitted: mesh memory readmit NODE"),
    Refusal.FENCED: ("its writer's lease was taken over", "write again"),
}


def refusal_of(key: str, refusal: Refusal | None) -> MemoryRefusedError:
    """Return the error that says why a version of `key` was refused."""
    why, fix = _WHYS[refusal or Refusal.FENCED]
    return MemoryRefusedError(key, why=why, fix=fix)


def conflict_of(draft: Draft, item: Item) -> WriteConflictError:
    """Return the error that shows what the draft was written over, and what is there."""
    expects = tuple(version.dot for version in draft.over) if draft.expects is None else draft.expects
    return WriteConflictError(
        draft.key,
        expected=tuple(f"{actor}:{seq}" for actor, seq in expects),
        current=tuple(f"{version.header.actor}:{version.header.seq}" for version in item),
    )
