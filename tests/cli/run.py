"""Running the command line: in this process for speed, in one of its own where that is the question."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from dumpscan.cli.main import cli

ROOT = Path(__file__).parents[2]


def run(*args: str | Path) -> Result:
    """The command in this process; an exception that the guard let through fails the caller."""
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def process(
    *args: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """``python -m dumpscan`` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "dumpscan", *(str(arg) for arg in args)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **(env or {})},
    )
