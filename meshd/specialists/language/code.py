"""Source code is text too: tell it from prose, and find the prose inside it."""

import re

_SAMPLE_LINES = 400
_CODE_SHARE = 0.2
_FEWEST_LINES = 3
_CODE_LINE = re.compile(
    r"\s*(?:(?:async )?def \w+\(|class \w+.*:$|(?:from [\w.]+ )?import [\w.*{ ]|return\b.*|if .*[:{]$"
    r"|(?:el(?:se|if)|try|finally|except.*):|for .* in .*:$|while .*[:{]$|#include\b|[@}\])]+[;,]?$"
    r"|[\w.\[\]\"' ,*]+ (?:[-+*/|]?=|:=) \S.*|.*[;{]$|[\w.]+\(.*\)[,;:]?$|>>> |function \w*\("
    r"|(?:const|let|var|public|private|static|func|fn) \w+|[\"'\w]+: .*,$)"
)
_PROSE = re.compile(
    r"\"\"\"(?P<double>.*?)\"\"\"|'''(?P<single>.*?)'''|/\*(?P<block>.*?)\*/|(?:(?<=\s)|^)(?:\#+|//+)(?P<line>[^\n]*)",
    re.DOTALL | re.MULTILINE,
)


def is_code(text: str) -> bool:
    """Return whether at least a fifth of the filled lines look like statements of a programming language."""
    lines = [line for line in text[:60_000].split("\n", _SAMPLE_LINES)[:_SAMPLE_LINES] if line and not line.isspace()]
    if len(lines) < _FEWEST_LINES:
        return False
    return sum(1 for line in lines if _CODE_LINE.match(line[:200])) >= _CODE_SHARE * len(lines)


def prose_of(code: str) -> str:
    """Return the comments and documentation strings of source code, in order, one block per comment run."""
    parts: list[str] = []
    comment_end: int | None = None
    for found in _PROSE.finditer(code):
        is_line = found["line"] is not None
        goes_on = is_line and comment_end is not None and not code[comment_end : found.start()].strip()
        parts.append("\n" if goes_on else "\n\n")
        parts.append(next(group for group in found.groups() if group is not None).strip("! \t"))
        comment_end = found.end() if is_line else None
    return "".join(parts).strip()
