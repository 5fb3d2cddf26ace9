"""Start-up cost is counted: what is not needed is not imported."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from dumpscan.cli.main import COMMANDS
from tests.cli.conftest import Written
from tests.cli.run import ROOT

HEAVY = ("numpy", "volatility3", "rich", "pefile", "construct")


def imported(*arguments: str) -> set[str]:
    """Top-level modules that a run of the command has imported when it ends."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('\\n'.join(sys.modules), file=sys.stderr))\n"
        f"from dumpscan.cli.main import cli\ncli.main({list(arguments)!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "click" in done.stderr.split()
    return {name.split(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert not imported(*arguments).intersection(HEAVY)


def test_a_verdict_on_a_crash_dump_imports_no_volatility(hung: Written) -> None:
    found = imported("verdict", str(hung.path))
    assert "numpy" in found
    assert not found.intersection({"volatility3", "rich"})


def test_help_imports_no_command() -> None:
    code = "import sys\nfrom dumpscan.cli.main import cli\ntry:\n    cli.main(['--help'])\n"
    code += "finally:\n    print([name for name in sys.modules if name.startswith('dumpscan.cli.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.splitlines()[-1] == "['dumpscan.cli.guard', 'dumpscan.cli.main']"


def cpu_seconds(*arguments: str) -> float:
    """The least processor time of several runs of python: wall time would measure the neighbours."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=ROOT, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once() for _ in range(5))


def test_help_costs_little_more_than_click() -> None:
    assert cpu_seconds("-m", "dumpscan", "--help") < 2.5 * cpu_seconds("-c", "import click")
