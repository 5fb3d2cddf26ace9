"""Byte ranges of a container become whole pages of memory (ELF segments, LiME chunks, regions).

Ranges are checked, sorted and joined where they touch both in memory and in the file; pages that a
range covers only in part are left out and counted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dumpscan.errors import DamagedImage
from dumpscan.image.bitmap import MAX_PAGE
from dumpscan.image.physical import I64, U64, FileMemory
from dumpscan.image.source import Source


class Extents(NamedTuple):
    """Ranges of ``size`` bytes at physical address ``address`` and file offset ``offset``, any order."""

    address: U64
    size: U64
    offset: U64


class Found(NamedTuple):
    """Memory over extents and how complete it is."""

    memory: FileMemory
    bytes_expected: int
    pages_present: int
    pages_expected: int
    truncated: bool
    notes: tuple[str, ...]


def memory_of(source: Source, extents: Extents, page: int, what: str) -> Found:
    """Memory of ``page``-sized pages over ``extents``; ``what`` names one of them in messages.

    :raises DamagedImage: an extent is beyond any machine's memory or overlaps another.
    """
    address, size, offset = _ordered(source, extents, what)
    first = -(-address // page)
    last = (address + size) // page
    count = np.maximum(last - first, 0)
    partial = int(((address % page != 0) | ((address + size) % page != 0)).sum())
    memory = FileMemory(source.data, first, count, offset + first * page - address, page)
    present, expected = int(memory.runs().page_count.sum()), int(count.sum())
    notes = (f"{partial} {what}s begin or end inside a page; such pages are left out",) if partial else ()
    end = int((offset + size).max(initial=0))
    return Found(memory, end, present, expected, present < expected, notes)


def _ordered(source: Source, extents: Extents, what: str) -> tuple[I64, I64, I64]:
    top = np.uint64(MAX_PAGE * 4096)
    for k in np.flatnonzero((extents.address > top) | (extents.size > top) | (extents.offset > top))[:1]:
        raise DamagedImage(
            f"{source.path.name}: {what} {int(k)} at physical {int(extents.address[k]):#x} with "
            f"{int(extents.size[k]):#x} bytes at file offset {int(extents.offset[k]):#x} is beyond any "
            "machine's memory; the header is damaged, copy it again"
        )
    order = np.argsort(extents.address, kind="stable")
    address, size, offset = (column[order].astype(np.int64) for column in extents)
    bad = np.flatnonzero(address[1:] < address[:-1] + size[:-1])
    if len(bad):
        k = int(bad[0])
        raise DamagedImage(
            f"{source.path.name}: the {what}s at file offsets {int(offset[k]):#x} and {int(offset[k + 1]):#x}"
            f" both claim physical {int(address[k + 1]):#x}; the header is damaged, copy it again"
        )
    return _joined(address, size, offset)


def _joined(address: I64, size: I64, offset: I64) -> tuple[I64, I64, I64]:
    if len(address) < 2:
        return address, size, offset
    fresh = np.ones(len(address), np.bool_)
    fresh[1:] = (address[1:] != address[:-1] + size[:-1]) | (offset[1:] != offset[:-1] + size[:-1])
    first = np.flatnonzero(fresh)
    return address[first], np.add.reduceat(size, first), offset[first]
