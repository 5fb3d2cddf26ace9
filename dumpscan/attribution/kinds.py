"""What rows of block contents look like: descriptor, access list, text, zeros or other.

All rows of one width at once, by the cheap signs of each format; the full check is done on one row
of each different content (:mod:`dumpscan.attribution.descriptors`). Layouts:
:mod:`dumpscan.attribution.c_security`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dumpscan.attribution import c_security as c

OTHER, TEXT, ACL, DESCRIPTOR, ZEROS = range(5)
NAMES = ("other", "text", "acl", "descriptor", "zeros")

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]

_LEAST_TEXT = 4
_TAIL = 12
"""Letters at the end of a row among which a counted string may end."""
_LAST_LETTER = 0x2FFF
"""Latin to symbols; two ASCII letters read as one UTF-16 character are above."""


def classify(rows: U8) -> tuple[U8, I64]:
    """Kind of each row, and the bytes that its own structure claims (the width where it has none)."""
    count, width = rows.shape
    kinds = np.zeros(count, np.uint8)
    extent = np.full(count, width, np.int64)
    for kind, found, size in (
        (TEXT, *_texts(rows)),
        (ACL, *_acls(rows, np.zeros(count, np.int64))),
        (DESCRIPTOR, *_descriptors(rows)),
    ):
        kinds[found], extent[found] = kind, size[found]
    zeros = ~rows.view("<u8").any(axis=1)
    kinds[zeros], extent[zeros] = ZEROS, 0
    return kinds, extent


def _texts(rows: U8) -> tuple[Mask, I64]:
    """UTF-16 text from the first byte on, up to its terminator.

    Counted strings have none: they may end near the end of the row, where what follows is left over
    from an earlier owner. There only ASCII counts as text.
    """
    letters = rows.view("<u2")
    count = letters.shape[1]
    ascii_letters = (letters >= 0x20) & (letters < 0x7F)
    good = ascii_letters | ((letters >= 0xA0) & (letters <= _LAST_LETTER))
    tail = max(0, count - _TAIL)
    good[:, tail:] = ascii_letters[:, tail:]
    length = np.where(good.all(axis=1), count, (~good).argmax(axis=1))
    ended = (length >= tail) | (letters[np.arange(len(rows)), np.minimum(length, count - 1)] == 0)
    plain = (np.where(np.arange(count) < length[:, None], ascii_letters, False)).sum(axis=1)
    found = (length >= _LEAST_TEXT) & ended & (4 * plain >= 3 * length)
    return found, np.minimum(2 * length, rows.shape[1])


def _number(rows: U8, at: I64, size: int) -> I64:
    """Little-endian numbers of ``size`` bytes at a place of each row's own; places must be inside."""
    value = np.zeros(len(rows), np.int64)
    index = np.arange(len(rows))
    for byte in range(size):
        value |= rows[index, at + byte].astype(np.int64) << (8 * byte)
    return value


def _inside(at: I64, size: Any, width: int) -> tuple[Mask, I64]:
    """Whether ``size`` bytes at ``at`` fit, and places that are safe to read."""
    fits = (at >= 0) & (at + size <= width)
    return fits, np.where(fits, at, 0)


def _acls(rows: U8, at: I64) -> tuple[Mask, I64]:
    """Access lists at a place of each row's own: sound or not, and their size."""
    width = rows.shape[1]
    if width < c.ACL_SIZE:
        return np.zeros(len(rows), np.bool_), at
    fits, at = _inside(at, c.ACL_SIZE, width)
    head, size = _number(rows, at, 2), _number(rows, at + 2, 2)
    count, zeros = _number(rows, at + 4, 2), _number(rows, at + 6, 2)
    good = fits & np.isin(head, np.array(c.ACL_REVISIONS)) & (zeros == 0)
    good &= (size >= c.ACL_SIZE + count * c.ACE_SIZE) & (at + size <= width)
    has_entry = good & (count > 0)
    safe = np.where(has_entry & (at + c.ACL_SIZE + c.ACE_SIZE <= width), at + c.ACL_SIZE, 0)
    first = _number(rows, safe + 2, 2)
    entry_good = (first >= c.ACE_SIZE) & (first % 4 == 0) & (first <= size - c.ACL_SIZE)
    # Without an entry there is nothing but a short header to know it by: too little.
    return good & has_entry & entry_good, size


def _descriptors(rows: U8) -> tuple[Mask, I64]:
    width, here = rows.shape[1], np.zeros(len(rows), np.int64)
    if width < c.DESCRIPTOR_SIZE:
        return np.zeros(len(rows), np.bool_), here
    good = (rows[:, 0] == 1) & ((_number(rows, here + 2, 2) & c.SELF_RELATIVE) != 0)
    end = np.full(len(rows), c.DESCRIPTOR_SIZE, np.int64)
    named = np.zeros(len(rows), np.bool_)
    for field in (c.OWNER, c.GROUP, c.SACL, c.DACL):
        at = _number(rows, here + field, 4)
        given = at != 0
        if field in (c.OWNER, c.GROUP):
            fits, safe = _inside(at, c.SID_SIZE, width)
            parts = rows[np.arange(len(rows)), safe + 1].astype(np.int64)
            size = c.SID_SIZE + 4 * parts
            sound = fits & (rows[np.arange(len(rows)), safe] == 1) & (parts <= c.MOST_SUBAUTHORITIES)
        else:
            fits, safe = _inside(at, c.ACL_SIZE, width)
            size = _number(rows, safe + 2, 2)
            sound = fits & np.isin(rows[np.arange(len(rows)), safe], np.array(c.ACL_REVISIONS))
        good &= ~given | (sound & (at >= c.DESCRIPTOR_SIZE) & (at + size <= width))
        end = np.where(given, np.maximum(end, at + size), end)
        named |= given
    return good & named, end
