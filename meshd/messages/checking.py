"""What a message may be: names, an id of the sender's own, how large the whole of it is."""

import re
from collections.abc import Mapping

from meshd.errors import InvalidArgumentError
from meshd.ids import check_name

MAX_ID_CHARACTERS = 128
MAX_METADATA = 32
"""Most entries of `metadata`."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")


def check_addressing(*, to: str, sender: str, type: str) -> None:
    """Return if a message may be addressed so.

    Raises:
        InvalidArgumentError: a name is not valid.
    """
    check_name("addressee", to)
    check_name("sender", sender)
    check_name("message type", type)


def check_id(id: str) -> str:
    """Return an id that a caller chose, if it may name a message.

    Raises:
        InvalidArgumentError: it is empty, over `MAX_ID_CHARACTERS`, or has a character outside `A-Za-z0-9_.:-`.
    """
    if not _ID.fullmatch(id) or len(id) > MAX_ID_CHARACTERS:
        raise InvalidArgumentError(
            f"message id {id!r} is not valid: use 1 to {MAX_ID_CHARACTERS} of A-Z a-z 0-9 _ . : - and start with a "
            "letter or digit"
        )
    return id


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Return if these may go with a message.

    Raises:
        InvalidArgumentError: there are too many, or one is no text.
    """
    if len(metadata) > MAX_METADATA:
        raise InvalidArgumentError(
            f"metadata has {len(metadata)} entries, over the limit of {MAX_METADATA}: put the rest into the payload"
        )
    for name, value in metadata.items():
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance] -- comes from callers
            raise InvalidArgumentError(f"metadata {name!r} is no text; put other values into the payload")
