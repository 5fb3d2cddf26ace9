"""The doors between the rooms go one way: every import in the tree is an arrow that design allows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

# What each room may import of dumpscan. A room may always import itself. `core` are the modules
# directly in the package that everything may use.
CORE = {
    "errors", "records", "model", "model_pictures", "model_attribution", "model_compare", "model_drivers",
}  # fmt: skip
DOORS: dict[str, set[str]] = {
    "errors": set(),
    "records": set(),
    "model_pictures": {"records"},
    "model": {"model_pictures", "records", "model_attribution", "model_drivers"},
    "model_drivers": {"records"},
    "model_attribution": {"records"},
    "model_compare": {"records", "model", "model_attribution"},
    "image": CORE,
    "memory": CORE | {"image"},
    "kernel": CORE | {"image", "memory"},
    "pool": CORE | {"image", "memory", "kernel"},
    "attribution": CORE | {"pool"},
    "verdict": CORE,
    "compare": CORE | {"verdict"},
    "report": CORE,
    "bundled": {"errors"},
    "": {"case"},
    "case": CORE | {"", "image", "memory", "kernel", "pool", "attribution", "verdict"},
    "batch": CORE | {"", "case", "image", "memory", "kernel", "pool", "attribution", "verdict", "report"},
    "cli": CORE
    | {"", "case", "image", "memory", "kernel", "pool", "attribution", "verdict", "compare", "report"}
    | {"bundled", "batch"},
    "__main__": {"cli"},
}
VOLATILITY_ADAPTERS = ("dumpscan/image/through_volatility.py", "dumpscan/kernel/through_pdbconv.py")
OUTSIDE_ONLY = ("samples",)


class Arrow(NamedTuple):
    """One import: from which file and line to which module."""

    path: str
    line: int
    target: str


def imports(source: str, path: str) -> Iterator[Arrow]:
    """Every import of a file, lazy ones in functions and those for type checkers included."""
    package = Path(path).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Arrow(path, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Arrow(path, node.lineno, f"{module}.{alias.name}")
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            name = node.args[0] if node.args else None
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield Arrow(path, node.lineno, name.value)


def room(module: str) -> str:
    """``dumpscan.image.raw`` is in ``image``, ``dumpscan.__version__`` in the package itself."""
    parts = module.split(".")
    second = parts[1] if len(parts) > 1 else ""
    return second if second in DOORS else ""


def forbidden(arrow: Arrow) -> str | None:
    """Why the arrow may not be, or None."""
    top = arrow.target.split(".")[0]
    inside = arrow.path.startswith("dumpscan/")
    if arrow.path.startswith(OUTSIDE_ONLY) and top == "dumpscan":
        return "samples/ restates the formats and imports nothing of dumpscan"
    if inside and top in ("samples", "plugins", "tests", "benchmarks"):
        return f"the package imports {top}/"
    if inside and top == "volatility3" and arrow.path not in VOLATILITY_ADAPTERS:
        return f"volatility3 outside {VOLATILITY_ADAPTERS}"
    if not inside or top != "dumpscan":
        return None
    here = room(".".join(Path(arrow.path).with_suffix("").parts))
    there = room(arrow.target)
    if here != there and there not in DOORS[here]:
        return f"'{here}' must not import '{there or 'dumpscan'}'"
    return None


def tree(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found, f"no source below {folders}"
    return found


@pytest.mark.parametrize("folder", ["dumpscan", "samples"])
def test_every_import_goes_through_a_door(folder: str) -> None:
    wrong = []
    for path in tree(folder):
        relative = path.relative_to(ROOT).as_posix()
        for arrow in imports(path.read_text(encoding="utf-8"), relative):
            reason = forbidden(arrow)
            if reason:
                wrong.append(f"{arrow.path}:{arrow.line}: {reason} ({arrow.target})")
    assert not wrong, "\n".join(wrong)


def test_every_room_has_doors() -> None:
    rooms = {
        path.stem
        for path in (ROOT / "dumpscan").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert rooms - {"__init__"} <= set(DOORS)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("dumpscan/image/raw.py", "from dumpscan.kernel import find"),
        ("dumpscan/image/raw.py", "from dumpscan import __version__"),
        ("dumpscan/memory/virtual.py", "import dumpscan.kernel.find"),
        ("dumpscan/verdict/judge.py", "from dumpscan.pool.census import take_census"),
        ("dumpscan/verdict/judge.py", "def late() -> None:\n    from dumpscan import pool"),
        ("dumpscan/report/text.py", "from ..image import physical"),
        ("dumpscan/errors.py", "from dumpscan.model import Verdict"),
        ("dumpscan/case.py", "from dumpscan.report import text"),
        ("dumpscan/case.py", "from dumpscan.cli import main"),
        ("dumpscan/kernel/symbols.py", "from volatility3.framework import contexts"),
        ("dumpscan/cli/demo.py", "import samples"),
        ("dumpscan/cli/demo.py", "import importlib\nimportlib.import_module('samples.machine')"),
        ("samples/ram.py", "from dumpscan.errors import DumpscanError"),
    ],
)
def test_a_forbidden_arrow_is_detected(path: str, source: str) -> None:
    assert any(forbidden(arrow) for arrow in imports(source, path))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("dumpscan/kernel/find.py", "from dumpscan.image.physical import PhysicalMemory"),
        ("dumpscan/kernel/find.py", "from dumpscan.kernel import kdbg"),
        ("dumpscan/image/through_volatility.py", "import volatility3"),
        ("dumpscan/report/text.py", "from . import plain"),
        ("plugins/dumpscan/layers.py", "from volatility3.framework import interfaces"),
        ("tests/test_x.py", "import samples"),
    ],
)
def test_an_allowed_arrow_passes(path: str, source: str) -> None:
    assert not [forbidden(arrow) for arrow in imports(source, path) if forbidden(arrow)]
