"""What a case yields, and the command line that cases measure."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One line of the record. ``good`` tells whether the aim is met; None: nothing to compare with."""

    what: str
    figure: str
    aim: str
    good: bool | None


def dumpscan(*arguments: str) -> list[str]:
    """A dumpscan command line of this checkout's environment."""
    return [str(Path(sys.executable).with_name("dumpscan")), *arguments]
