"""The demo's input: real text files, chosen the same way each time."""

import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshd import codec
from meshd.errors import InvalidArgumentError, InvalidPayloadError, PayloadTooLargeError

_TEXT_SUFFIXES = frozenset({".py", ".txt", ".rst", ".md", ".cfg", ".toml"})
_SKIPPED_FOLDERS = frozenset({"site-packages", "dist-packages", "__pycache__", "node_modules"})
_HEAD_BYTES = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFile:
    name: str
    """Path below the corpus' folder."""
    text: str

    @property
    def payload(self) -> dict[str, Any]:
        """Arguments of `text.analyze`."""
        return {"name": self.name, "text": self.text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    root: Path
    files: tuple[TextFile, ...]
    skipped: int
    """Files left out: binary, not UTF-8 by name or content, empty, unreadable or too large for a payload."""


def standard_library() -> Path:
    """Return the folder with this interpreter's own standard library: real text on every machine."""
    return Path(sysconfig.get_path("stdlib"))


def collect(folder: Path | None, *, limit: int, max_payload_bytes: int) -> Corpus:
    """Return up to `limit` text files of `folder`, spread evenly over it; by default, of the standard library.

    The same folder gives the same files in the same order.

    Raises:
        InvalidArgumentError: it is no folder, or has no text file.
    """
    root = (folder or standard_library()).resolve()
    if not root.is_dir():
        raise InvalidArgumentError(f"{root} is not a folder; name one with text files in it")
    suffixes = _TEXT_SUFFIXES if folder is None else None
    files: list[TextFile] = []
    skipped = 0
    for path in _spread(sorted(_paths(root, suffixes)), limit):
        file = _read(path, root, max_payload_bytes)
        if file is None:
            skipped += 1
        else:
            files.append(file)
        if len(files) == limit:
            break
    if not files:
        raise InvalidArgumentError(f"{root} has no text file to analyse; name another folder")
    return Corpus(root=root, files=tuple(sorted(files, key=lambda file: file.name)), skipped=skipped)


def _paths(root: Path, suffixes: frozenset[str] | None) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS and not name.startswith(".")]
        for name in names:
            path = Path(folder, name)
            if not name.startswith(".") and (suffixes is None or path.suffix in suffixes) and path.is_file():
                yield path


def _spread(paths: list[Path], limit: int) -> list[Path]:
    """Return `paths` with `limit` of them, at equal distances, first."""
    if len(paths) <= limit:
        return paths
    chosen = {number * len(paths) // limit for number in range(limit)}
    return [paths[place] for place in sorted(chosen)] + [
        path for place, path in enumerate(paths) if place not in chosen
    ]


def _read(path: Path, root: Path, max_payload_bytes: int) -> TextFile | None:
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
            if not head or b"\0" in head or path.stat().st_size > max_payload_bytes:
                return None
            text = (head + stream.read()).decode("utf-8")
        file = TextFile(name=path.relative_to(root).as_posix(), text=text)
        codec.encode(file.payload, limit=max_payload_bytes)
    except (OSError, UnicodeDecodeError, InvalidPayloadError, PayloadTooLargeError):
        return None
    return file
