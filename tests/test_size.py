"""Files and functions stay small enough to be read at once."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("dumpscan", "plugins", "samples", "benchmarks", "tests")
FILE_LINES = 500
FUNCTION_LINES = 80


def too_long(source: str, name: str) -> list[str]:
    """What in a file is longer than it may be."""
    lines = source.count("\n")
    found = [f"{name}: {lines} lines"] if lines > FILE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                found.append(f"{name}:{node.lineno}: {node.name} has {length} lines")
    return found


def test_no_file_over_500_lines_and_no_function_over_80() -> None:
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(paths) > 50
    found = [line for path in paths for line in too_long(path.read_text("utf-8"), path.name)]
    assert not found, "\n".join(found)


def test_a_long_function_and_a_long_file_are_noticed() -> None:
    body = "def long() -> None:\n" + "    pass\n" * 80
    assert too_long(body, "x.py") == ["x.py:1: long has 81 lines"]
    assert too_long("x = 1\n" * 501, "y.py") == ["y.py: 501 lines"]
    assert too_long("def fits() -> None:\n" + "    pass\n" * 79, "z.py") == []
