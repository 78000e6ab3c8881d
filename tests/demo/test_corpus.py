"""The demo's input: real text only, the same each time."""

import os
from pathlib import Path

import pytest

from meshd.errors import InvalidArgumentError
from meshd_cli.demo.corpus import collect


def test_by_default_it_is_the_standard_library_spread_evenly_and_always_the_same() -> None:
    first = collect(None, limit=20, max_payload_bytes=1_048_576)

    assert first == collect(None, limit=20, max_payload_bytes=1_048_576)
    assert len(first.files) == 20
    assert len({file.name[0] for file in first.files}) > 3


def test_only_text_that_fits_a_payload_is_taken(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("Grüße\n", encoding="utf-8")
    (tmp_path / "windows.txt").write_bytes(b"one\r\ntwo\r\n")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "binary").write_bytes(b"\x00\x01")
    (tmp_path / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    (tmp_path / "large.txt").write_text("x" * 5_000)
    (tmp_path / "grows.txt").write_text("\x01" * 900)
    (tmp_path / ".hidden").write_text("no")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "note.md").write_text("# Note")

    corpus = collect(tmp_path, limit=100, max_payload_bytes=2_000)

    assert [file.name for file in corpus.files] == ["deep/note.md", "good.txt", "windows.txt"]
    assert corpus.files[2].payload == {"name": "windows.txt", "text": "one\r\ntwo\r\n"}
    assert corpus.skipped == 5


def test_a_file_whose_name_is_not_utf_8_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("text")
    (tmp_path / os.fsdecode(b"bad\xff.txt")).write_text("text")

    corpus = collect(tmp_path, limit=5, max_payload_bytes=1_000)

    assert ([file.name for file in corpus.files], corpus.skipped) == (["good.txt"], 1)


def test_files_that_cannot_be_used_are_made_up_for_by_others(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}.txt").write_bytes(b"\x00" if number % 2 else b"text")

    assert len(collect(tmp_path, limit=5, max_payload_bytes=1_000).files) == 5


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="has no text file"):
        collect(tmp_path, limit=5, max_payload_bytes=1_000)
    with pytest.raises(InvalidArgumentError, match="is not a folder"):
        collect(tmp_path / "nowhere", limit=5, max_payload_bytes=1_000)
