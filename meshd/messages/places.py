"""Where messages are kept: keys of records, topics of hints.

An addressee's messages sort in the order one sender sent them. Those with an id of the sender's own sort behind.
"""

MESSAGES_LOG = "messages"
"""Event log of messages nobody took: `{"event": "unhandled", "to", "from", "type", "id", "reason"}`."""

GIVEN = "~"
"""Before an id that the sender chose: sending it again is sending it once."""

HANDLED_TTL_MS = 86_400_000
"""How long an id of the sender's own is known to have been handled."""
UNHANDLED_TTL_MS = 604_800_000


def inbox_prefix(to: str) -> str:
    """Return what the keys of all messages to one addressee begin with."""
    return f"msg/{to}/"


def inbox_topic(to: str) -> str:
    """Return the topic of hints that something came for this addressee."""
    return f"inbox:{to}"


def message_key(to: str, id: str, *, is_given: bool) -> str:
    return f"msg/{to}/{GIVEN if is_given else ''}{id}"


def is_given(key: str) -> bool:
    """Return whether the message of this key has an id that its sender chose."""
    return key.rpartition("/")[2].startswith(GIVEN)


def handled_key(to: str, id: str) -> str:
    return f"handled/{to}/{id}"


def unhandled_key(to: str, id: str) -> str:
    return f"unhandled/{to}/{id}"


def unhandled_prefix(to: str = "") -> str:
    """Return what the keys of messages nobody took begin with, of one addressee or of all."""
    return f"unhandled/{to}/" if to else "unhandled/"
