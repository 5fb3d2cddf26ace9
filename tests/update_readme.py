"""The output shown in README.md: what it is now, and ``python -m tests.update_readme`` to renew it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from samples.demo import write_demo

README = Path(__file__).parents[1] / "README.md"
COMMAND = "    $ dumpscan verdict sample-dumps/hung-xpsp3.dmp\n"


def shown() -> str:
    """The block below the command, as README.md has it."""
    rest = README.read_text(encoding="utf-8").split(COMMAND)[1]
    return re.split(r"\n(?! {4}|\n)", rest)[0].rstrip() + "\n"


def real(folder: Path) -> str:
    """The block as dumpscan prints it, on a demo dump written to ``folder``."""
    write_demo(folder / "sample-dumps")
    done = subprocess.run(
        [sys.executable, "-m", "dumpscan", *COMMAND.split()[2:]],
        capture_output=True,
        encoding="utf-8",
        check=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(README.parent), "PYTHONIOENCODING": "utf-8"},
    )
    return "".join(f"    {line}".rstrip() + "\n" for line in done.stdout.rstrip().splitlines())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        text = README.read_text(encoding="utf-8").replace(shown(), real(Path(name)))
    README.write_text(text, encoding="utf-8")
