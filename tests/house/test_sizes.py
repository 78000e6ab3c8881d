"""Files and functions stay small enough to read in one go."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE_LIMIT = 400
TEST_FILE_LIMIT = 500
FUNCTION_LIMIT = 50


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from (ROOT / folder).rglob("*.py")


def line_count(file: Path) -> int:
    return len(file.read_text().splitlines())


def long_functions(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - first_line(node, file) + 1
            if length > FUNCTION_LIMIT:
                yield f"{file.relative_to(ROOT)}:{node.lineno} {node.name} has {length} lines"


def first_line(function: ast.FunctionDef | ast.AsyncFunctionDef, file: Path) -> int:
    """The parameters of a command are its options, and its docstring its help: only what follows is code."""
    if "cli" not in file.relative_to(ROOT).parts or ast.get_docstring(function) is None:
        return function.lineno
    return function.body[min(1, len(function.body) - 1)].lineno


def test_no_module_outgrows_its_limit() -> None:
    too_long = {str(file.relative_to(ROOT)) for file in sources("meshd", "cli") if line_count(file) > FILE_LIMIT}
    too_long |= {str(file.relative_to(ROOT)) for file in sources("tests") if line_count(file) > TEST_FILE_LIMIT}
    assert too_long == set()


def test_no_function_outgrows_its_limit() -> None:
    assert [found for file in sources("meshd", "cli") for found in long_functions(file)] == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty_names = {"utils", "util", "common", "helpers", "models", "manager", "misc"}
    assert [str(file) for file in sources("meshd", "cli") if file.stem in empty_names] == []


def test_the_command_line_never_installs_a_module_named_cli() -> None:
    assert not (ROOT / "cli" / "__init__.py").exists()
