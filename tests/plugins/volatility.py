"""Runs volatility3 as its users do, as a process of its own, on private symbols and a private cache.

Private, because volatility3 opens the first symbol folder given to it for writing, and deletes the table
there, when its cache does not know it (2.28, PDBUtility.download_pdb_isf).
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.symbols import private_symbols
from tests.acceptance import cache_folder

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"

Row = dict[str, Any]


class Volatility:
    """``vol`` with our plugins. ``folder`` is scratch: cache, symbols, working directory."""

    def __init__(self, folder: Path) -> None:
        if importlib.util.find_spec("volatility3") is None:
            pytest.skip("needs volatility3, which is not installed")
        self.folder = folder
        self.symbols: list[str] = []

    def with_symbols(self) -> Volatility:
        """The same with a copy of the real XP SP3 symbol table."""
        source = private_symbols(cache_folder())
        if source is None:
            pytest.skip("needs ../shared/symbols (the real XP SP3 symbol table or its PDB)")
        shutil.copytree(source, self.folder / "symbols")
        self.symbols = ["-s", str(self.folder / "symbols")]
        return self

    def run(
        self,
        image: Path,
        *words: str,
        plugins: Path | None = PLUGINS,
        prelude: str = "",
        render: str = "json",
    ) -> subprocess.CompletedProcess[str]:
        """One run; ``prelude`` is Python to execute first."""
        # volatility3 looks for its options in the whole of argv, where "-c" would be one.
        program = f"import sys; sys.argv[0] = 'vol'\n{prelude}\nfrom volatility3.cli import main\nmain()"
        options = ["-q", "--offline", "--cache-path", str(self.folder), *self.symbols, "-r", render]
        options += ["-p", str(plugins)] if plugins else []
        # Not our checkout: the plugins have to find the package by themselves.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return subprocess.run(
            [sys.executable, "-c", program, *options, "-f", str(image), *words],
            capture_output=True, text=True, encoding="utf-8", cwd=self.folder, env=environment, timeout=120,
        )  # fmt: skip

    def rows(self, image: Path, *words: str, **options: Any) -> list[Row]:
        """The rows of a run that succeeds."""
        done = self.run(image, *words, **options)
        assert done.returncode == 0, done.stderr
        rows: list[Row] = json.loads(done.stdout)
        return rows

    def values(self, image: Path, *words: str, **options: Any) -> dict[str, Any]:
        """The rows of a plugin that prints names and values."""
        return {row["Variable"]: row["Value"] for row in self.rows(image, *words, **options)}
