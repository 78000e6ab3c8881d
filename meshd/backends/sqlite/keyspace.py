"""Ranges of keys: text sorts by its UTF-8 bytes, and blobs after all text."""


def end_of(prefix: str) -> str | bytes:
    """Return the smallest value greater than every key with this prefix."""
    while prefix and prefix[-1] == "\U0010ffff":
        prefix = prefix[:-1]
    if not prefix:
        return b""
    following = ord(prefix[-1]) + 1
    return prefix[:-1] + chr(0xE000 if 0xD800 <= following < 0xE000 else following)
