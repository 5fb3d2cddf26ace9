"""Page bitmaps of kernel dumps become runs, a machine word at a time.

Two forms exist (facts/dump-formats.md 1): the older one of Windows 2000 to 7 (DumpType 2) and the
later one of Windows 8 on (DumpType 5 and 6). The trap: third-party writers mix type and form, and
only the form's own fields tell them apart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dumpscan.errors import DamagedImage
from dumpscan.image import c_crash
from dumpscan.image.physical import I64, U8, U64
from dumpscan.image.source import PAGE, Source

# Bytes of bitmap per step: bounds the arrays of a lying bitmap (8 Mi bits, at most 64 MiB of edges).
_STEP = 1 << 20

# 52 bits of physical address is the most that any x64 machine has: 2**40 pages.
MAX_PAGE = 1 << 40


# 32 TB of memory, more than any Windows takes: bounds the time that a sparse file full of no bits costs.
_MAX_BITS = 1 << 33


class BitmapForm(NamedTuple):
    """Where a bitmap says things are. ``first_page`` is a file offset, ``declared`` the set bits."""

    older: bool
    bits_at: int
    bits: int
    first_page: int
    declared: int


class PageRuns(NamedTuple):
    """Runs (``pfn``, ``pages``) of the set bits, those of the first ``limit`` pages; ``total`` counts all."""

    pfn: I64
    pages: I64
    total: int


def read_form(source: Source, at: int, wide: bool, prefer_older: bool) -> BitmapForm:
    """The bitmap header at file offset ``at`` (``wide``: of a 64-bit dump), in whichever form fits.

    :raises DamagedImage: neither form fits; says what the preferred one contradicts.
    """
    preferred, other = (_older, _later) if prefer_older else (_later, _older)
    form = preferred(source, at, wide)
    fault = _fault(source, form, at)
    if fault is None:
        return form
    try:
        second = other(source, at, wide)
    except DamagedImage:
        second = form
    if _fault(source, second, at) is None:
        return second
    raise DamagedImage(f"{source.path.name}: {fault}; the dump is damaged, copy it again from its source")


def _older(source: Source, at: int, wide: bool) -> BitmapForm:
    kind = c_crash.SUMMARY_DUMP64 if wide else c_crash.SUMMARY_DUMP32
    head = source.record(kind, at, "the page bitmap header")
    return BitmapForm(
        older=True,
        bits_at=at + kind.itemsize,
        bits=int(head["BitmapSize"]),
        first_page=int(head["HeaderSize"]),
        declared=int(head["Pages"]),
    )


def _later(source: Source, at: int, _wide: bool) -> BitmapForm:
    kind = c_crash.BITMAP_DUMP
    head = source.record(kind, at, "the page bitmap header")
    return BitmapForm(
        older=False,
        bits_at=at + kind.itemsize,
        bits=int(head["Pages"]),
        first_page=int(head["FirstPage"]),
        declared=int(head["TotalPresentPages"]),
    )


def _fault(source: Source, form: BitmapForm, at: int) -> str | None:
    """What in ``form`` contradicts itself or the file; None when it is plausible."""
    size_at = at + (0x10 if form.older else 0x30)
    first_at = at + (0xC if form.older else 0x20)
    end = form.bits_at + (form.bits + 7) // 8
    if not 0 < form.bits <= _MAX_BITS:
        return f"the bitmap at file offset {at:#x} claims {form.bits:#x} bits (field at {size_at:#x})"
    if end > source.size:
        return (
            f"the page bitmap at file offset {form.bits_at:#x} needs {end - form.bits_at:#x} bytes "
            f"(field at {size_at:#x}), but the file ends at {source.size:#x}"
        )
    if form.first_page % PAGE or not end <= form.first_page <= MAX_PAGE * PAGE:
        return (
            f"the first page at {form.first_page:#x} (field at file offset {first_at:#x}) is not page "
            f"aligned behind the bitmap, which ends at {end:#x}"
        )
    return None


def bitmap_runs(data: U8, bits: int, limit: int) -> PageRuns:
    """Runs of set bits among the first ``bits`` of ``data``, bit 0 of byte 0 first.

    Only runs that begin within the first ``limit`` set bits are returned (the file holds no more
    pages than that), so a lying bitmap costs no more memory than the file could justify.
    """
    starts: list[I64] = []
    counts: list[I64] = []
    total = 0
    for at in range(0, (bits + 7) // 8, _STEP):
        pfn, count = _chunk_runs(data[at : at + _STEP], min(bits - at * 8, _STEP * 8))
        pfn += at * 8
        found = int(count.sum())
        if total < limit:
            keep = len(pfn) if found < limit - total else _enough(count, limit - total)
            pfn, count = pfn[:keep], count[:keep]
            if starts and len(pfn) and len(starts[-1]) and starts[-1][-1] + counts[-1][-1] == pfn[0]:
                # A run that goes on over the chunk's end.
                counts[-1][-1] += count[0]
                pfn, count = pfn[1:], count[1:]
            if len(pfn):
                starts.append(pfn)
                counts.append(count)
        total += found
    none = np.zeros(0, np.int64)
    return PageRuns(np.concatenate([none, *starts]), np.concatenate([none, *counts]), total)


def _enough(count: I64, pages: int) -> int:
    """How many runs hold ``pages`` pages."""
    return int(np.searchsorted(np.cumsum(count), pages)) + 1


def _chunk_runs(data: U8, bits: int) -> tuple[I64, I64]:
    """Runs of one chunk. Edges are found on 64-bit words; only words with an edge are unpacked."""
    words = np.zeros((bits + 63) // 64 + 1, np.uint64)
    used = data[: (bits + 7) // 8]
    words.view(np.uint8)[: len(used)] = used
    if bits % 64:
        words[bits // 64] &= np.uint64((1 << (bits % 64)) - 1)
    carried = np.zeros_like(words)
    carried[1:] = words[:-1] >> np.uint64(63)
    edges = words ^ ((words << np.uint64(1)) | carried)
    touched = np.flatnonzero(edges)
    if 4 * len(touched) > len(edges):
        at = _set_bits(edges)
    else:
        set_bits = _set_bits(edges[touched])
        at = touched[set_bits >> 6] * 64 + (set_bits & 63)
    return at[0::2].copy(), at[1::2] - at[0::2]


def _set_bits(words: U64) -> I64:
    """Numbers of the bits that are set."""
    return np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little").view(np.bool_))
