"""Result documents as JSON: keys in the contract's order, plain ASCII, tags with their blanks.

What fits on a line stands on one line (a tag's counters, a piece of evidence), the rest is broken
into its members: readable, and encoded mostly by the C encoder.
"""

from __future__ import annotations

import json
from typing import Any

from dumpscan.model import to_dict

_WIDTH = 260  # a tag with its counters, a piece of evidence
_encode = json.JSONEncoder(allow_nan=False).encode


def render(document: Any) -> str:
    """Return a record of :mod:`dumpscan.model` as a JSON text that ends in a line break."""
    return _layout(to_dict(document), 0) + "\n"


def line(document: Any) -> str:
    """Return a record, or plain JSON types, as one line (JSON Lines), line break included."""
    return _encode(to_dict(document)) + "\n"


def _layout(value: Any, depth: int) -> str:
    compact = _encode(value)
    if len(compact) + depth <= _WIDTH or not isinstance(value, (dict, list)):
        return compact
    inner, outer = " " * (depth + 2), " " * depth
    if isinstance(value, dict):
        members = [f"{inner}{_encode(key)}: {_layout(item, depth + 2)}" for key, item in value.items()]
        return "{\n" + ",\n".join(members) + f"\n{outer}}}"
    return "[\n" + ",\n".join(inner + _layout(item, depth + 2) for item in value) + f"\n{outer}]"
