"""Texts in blocks: UTF-16 (and ASCII) strings, and the services and drivers that they name.

'Pp  ' blocks are expected to carry service and device instance names (facts/tags.md section 2). The
trap of the area: what follows a text's terminator may be an earlier owner's, so a name counts only
where it is in the text itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_WIDE = re.compile(rb"(?:[\x20-\x7e]\x00){5,}")
_NARROW = re.compile(rb"[\x20-\x7e]{8,}")
_PATTERNS = (
    re.compile(r"\\Services\\([^\\\x00]+)", re.IGNORECASE),
    re.compile(r"\\(?:Driver|FileSystem)\\([^\\\x00]+)", re.IGNORECASE),
    re.compile(r"\bROOT\\LEGACY_([^\\\x00]+)\\", re.IGNORECASE),
    re.compile(r"^ROOT\\(?!LEGACY_)([^\\\x00]+)\\\d{4}", re.IGNORECASE),
    re.compile(r"([^\\/\s\x00:]+\.sys)\b", re.IGNORECASE),
)
_WORTH_A_LOOK = re.compile(r"\\(?:Services|Driver|FileSystem)\\|\bROOT\\|\.sys\b", re.IGNORECASE)
MOST_SHOWN = 200
"""Characters of a text that are kept: names and paths are shorter."""


def wide_text(data: bytes) -> str:
    """The UTF-16 text from the first byte up to its terminator or the end."""
    text = data[: len(data) // 2 * 2].decode("utf-16-le", "replace")
    return text.split("\0", 1)[0]


def texts_in(data: bytes, most: int = 4) -> list[str]:
    """Longest readable runs somewhere in the bytes, UTF-16 first, in the order of their place."""
    found = [(m.start(), m[0].decode("utf-16-le")) for m in _WIDE.finditer(data)]
    found = found or [(m.start(), m[0].decode("ascii")) for m in _NARROW.finditer(data)]
    longest = sorted(found, key=lambda item: -len(item[1]))[:most]
    return [text[:MOST_SHOWN] for _, text in sorted(longest)]


def names_in(texts: Iterable[str]) -> tuple[str, ...]:
    """Services and drivers that texts name, lower case, without ``.sys``; each once, in order."""
    names: dict[str, None] = {}
    for text in texts:
        if _WORTH_A_LOOK.search(text) is None:
            continue
        for expression in _PATTERNS:
            for name in expression.findall(text):
                names.setdefault(stem(name))
    return tuple(names)


def stem(file: str) -> str:
    """``HWMON32.SYS`` as ``hwmon32``: a driver's file and its service usually share the name."""
    return re.sub(r"\.(sys|dll|exe)$", "", file.lower())
