"""Handlers for `mesh node start --module`: plain functions, registered on a node of their own.

mesh node start --name n1 --capabilities text --module examples/my_handlers.py
mesh submit text.count --arg text="to be or not to be" --wait
"""

import re
from collections import Counter

from meshd import Node

node = Node(concurrency=4)


@node.task("text.count")
def count(text: str, top: int = 3) -> dict[str, object]:
    """Count the words of a text: sync, so it runs in a thread."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    return {"words": len(words), "most_common": Counter(words).most_common(top)}


@node.task("text.shout")
async def shout(text: str) -> str:
    """Return the text in capitals: async, so it runs on the node's loop."""
    return text.upper()
