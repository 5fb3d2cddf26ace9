"""Pool tags: the four bytes in memory and the four characters that people write.

Letters stand in memory order ('IoSe' is bytes 49 6F 53 65, facts/tags.md). The trap of the area:
trailing blanks belong to the tag (`'Pp  '` is not `'Pp'`), and bit 31 marks protected allocations
and is no part of the letter (facts/pool-structures.md, "Tag and the protected bit").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dumpscan.errors import UsageError

PROTECTED = 0x8000_0000
QUOTA_UNKNOWN = "?quo"
"""Stands for XP blocks whose tag was replaced by the process that was charged for them."""

OVERFLOW = "Ovfl"

U32 = NDArray[np.uint32]

_ESCAPED = re.compile(r"\\x([0-9A-Fa-f]{2})|(.)", re.DOTALL)


@lru_cache(maxsize=1 << 14)
def decode_tag(value: int) -> str:
    r"""The tag of a stored ``u32``, protected bit stripped.

    Bytes that do not print, and the backslash, become ``\xNN``, so that :func:`encode_tag` gives
    back the same four bytes.
    """
    letters = (value & ~PROTECTED & 0xFFFF_FFFF).to_bytes(4, "little")
    return "".join(chr(b) if 0x20 <= b < 0x7F and b != 0x5C else f"\\x{b:02x}" for b in letters)


def encode_tag(tag: str) -> int:
    r"""The ``u32`` of a tag as :func:`decode_tag` writes it.

    :raises UsageError: not four characters (an escape ``\xNN`` counts as one).
    """
    letters = [int(hexa, 16) if hexa else ord(char) for hexa, char in _ESCAPED.findall(tag)]
    if len(letters) != 4 or max(letters) > 0xFF:
        raise UsageError(f"{tag!r} is no pool tag: a tag has four characters, blanks count ('Pp  ')")
    return int.from_bytes(bytes(letters), "little")


def decode_tags(values: U32) -> list[str]:
    """:func:`decode_tag` of every element; each different value is decoded once."""
    unique, inverse = np.unique(values, return_inverse=True)
    names = [decode_tag(value) for value in unique.tolist()]
    return [names[i] for i in inverse.tolist()]


def strip_protected(values: U32) -> U32:
    """The values without the protected bit."""
    return values & np.uint32(PROTECTED - 1)


def printable(values: U32) -> NDArray[np.bool_]:
    """Which values look like tags: all four letters print once the protected bit is gone."""
    letters = strip_protected(np.ascontiguousarray(values, dtype="<u4")).view(np.uint8).reshape(-1, 4)
    return np.asarray(((letters >= 0x20) & (letters < 0x7F)).all(axis=1), np.bool_)


def tag_matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """A test of tags against PoolMon's wildcards: ``?`` one character, ``*`` any number.

    Case matters. A pattern without ``*`` that is shorter than a tag matches with blanks behind it,
    as one types ``Pp`` for `'Pp  '`. No pattern at all matches everything.
    """
    expressions = [_expression(pattern) for pattern in patterns]
    if not expressions:
        return lambda tag: True
    either = re.compile("|".join(f"(?:{e})" for e in expressions), re.DOTALL)
    return lambda tag: either.fullmatch(tag) is not None


def _expression(pattern: str) -> str:
    units: list[str] = []
    for hexa, char in _ESCAPED.findall(pattern):
        one = r"(?:\\x[0-9a-f]{2}|[^\\])"
        wild = {"*": f"{one}*", "?": one}
        units.append(re.escape(f"\\x{hexa.lower()}") if hexa else wild.get(char, re.escape(char)))
    if "*" not in pattern and len(units) < 4:
        units.append(" " * (4 - len(units)))
    return "".join(units)


def matching_values(values: U32, patterns: Iterable[str]) -> NDArray[np.bool_]:
    """Which stored values match one of ``patterns``; each different value is tested once."""
    test = tag_matcher(patterns)
    unique, inverse = np.unique(strip_protected(values), return_inverse=True)
    hits = np.fromiter((test(decode_tag(v)) for v in unique.tolist()), np.bool_, len(unique))
    return hits[inverse]
