"""Documents of a store without what blocks held, for a report that leaves the house."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Changed = Callable[[str], str]


def unchanged(document: str) -> str:
    """A document as the store has it."""
    return document


def without_contents(document: str) -> str:
    """A verdict document (JSON) that shows nothing of what blocks hold; on one line, as it was."""
    raw = json.loads(document)
    if not raw.get("attribution") or raw["attribution"].get("contents_hidden"):
        return document
    from dumpscan.attribution import line
    from dumpscan.model import Verdict, from_dict
    from dumpscan.report import json as report

    return report.line(line.without_contents(from_dict(Verdict, raw))).rstrip("\n")
