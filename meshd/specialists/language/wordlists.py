"""Word lists that come with the package: one `name: word word …` per line, `#` begins a comment line."""

from functools import cache
from importlib.resources import files

PACKAGE = "meshd.specialists.language"


@cache
def word_lists(file: str) -> dict[str, frozenset[str]]:
    """Return the lists of `file` by name, read once."""
    lists: dict[str, frozenset[str]] = {}
    for line in files(PACKAGE).joinpath(file).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, words = line.partition(": ")
            lists[name] = frozenset(words.split())
    return lists


def english(name: str) -> frozenset[str]:
    """Return one list of `english.txt`."""
    return word_lists("english.txt")[name]
