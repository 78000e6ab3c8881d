"""Files the topology is drawn into and read from."""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from meshd.errors import ConfigurationError, InvalidArgumentError
from meshd_cli import render

CONVERTER = "cairosvg"
PNG_SCALE = 2


def check_png() -> None:
    """Return if a PNG can be made here.

    Raises:
        ConfigurationError: what makes it is not installed.
    """
    if find_spec(CONVERTER) is None:
        raise ConfigurationError(
            "a PNG needs cairosvg, not installed here: pip install 'agent-meshd[picture]', or draw an SVG with --svg"
        )


def draw(document: Mapping[str, Any], *, svg: Path | None, png: Path | None) -> None:
    """Draw a topology document into these files.

    Raises:
        InvalidArgumentError: a file cannot be written.
        ConfigurationError: a PNG cannot be made here.
    """
    from meshd.topology.picture import svg as drawn
    from meshd.topology.recorded import graph_from

    text = drawn(graph_from(document))
    if svg is not None:
        _write(svg, text.encode())
    if png is not None:
        _write(png, _png(text))


def snapshot_in(file: Path) -> Mapping[str, Any]:
    """Return the JSON object in a file.

    Raises:
        InvalidArgumentError: the file cannot be read, or holds something else.
    """
    from meshd.codec import parse_json

    try:
        content = parse_json(file.read_bytes(), what=str(file))
    except OSError as exc:
        raise InvalidArgumentError(f"{file} cannot be read: {exc.strerror}") from exc
    if not isinstance(content, dict):
        raise InvalidArgumentError(f"{file} holds no topology: `mesh topology --json` prints one")
    return cast("Mapping[str, Any]", content)


def _png(text: str) -> bytes:
    check_png()
    try:
        converter: Any = import_module(CONVERTER)
    except OSError as exc:
        raise ConfigurationError(f"cairosvg needs the cairo library of the system (libcairo2): {exc}") from exc
    return cast("bytes", converter.svg2png(bytestring=text.encode(), scale=PNG_SCALE))


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as exc:
        raise InvalidArgumentError(f"{file} cannot be written: {exc.strerror}") from exc
    render.note(f"drew {file}")
