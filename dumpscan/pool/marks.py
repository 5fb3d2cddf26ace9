"""Where allocations of whole pages begin and end, by the memory manager's own marks.

Nonpaged pool: two bits of each page's ``_MMPFN`` (StartOfAllocation, EndOfAllocation). Paged pool of
XP and 2003: two bitmaps. facts/pool-algorithms.md section 7, pool-structures.md "_MMPFN". A page of
small blocks is an allocation of one page. The trap of the area: on Vista the bits are inferred, a
PFN database may be missing or empty; so marks are believed only after :func:`agree` has held them
against pages that are small-block pages by their chain.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dumpscan.image.physical import I64, U8, U64, Mask, scattered_pages
from dumpscan.kernel.kernel import Kernel
from dumpscan.memory.c_pte import PAGE_FILE_FRAMES

_MAX_BITS = 1 << 25
"""Bits of a paged pool bitmap: 128 GB of pool, the largest range of the kernels read here."""

_DATABASE_PAGES = 1024


class Marks(NamedTuple):
    """Per page: does an allocation start here, does one end here, is that known at all."""

    start: Mask
    end: Mask
    known: Mask


class PageMap(NamedTuple):
    """The paged pool's bitmaps, unpacked: one element per page from ``first`` (an address) on."""

    first: int
    marks: Marks
    allocated: Mask
    page_size: int = 4096

    def at(self, vas: U64) -> Marks:
        """Marks of given pages; pages outside the bitmaps are unknown."""
        index = (vas - np.uint64(self.first)) // np.uint64(self.page_size)
        inside = (vas >= np.uint64(self.first)) & (index < np.uint64(len(self.allocated)))
        at = np.where(inside, index, np.uint64(0)).astype(np.int64)
        return Marks(*(mask[at] & inside for mask in self.marks))


def paged_pool_map(kernel: Kernel, start: int, end: int) -> PageMap | None:
    """The bitmaps of paged pool ``[start, end)``; None where the version has none or they are absent."""
    fields = dict(kernel.layout.paged_info_fields) if kernel.layout else {}
    info = kernel.address("MmPagedPoolInformation")
    if info is None or "allocation_map" not in fields:
        return None
    pages = (end - start) // kernel.page_size
    map_bits = _bitmap(kernel, info + fields["allocation_map"], pages)
    end_bits = _bitmap(kernel, info + fields["end_map"], pages)
    if map_bits is None or end_bits is None:
        return None
    (allocated, known), (ends, known_ends) = map_bits, end_bits
    count = min(len(allocated), len(ends))
    allocated, ends, known = allocated[:count], ends[:count], known[:count] & known_ends[:count]
    before = np.ones(count, np.bool_)
    before[1:] = ~allocated[:-1] | ends[:-1]
    sure = known.copy()
    sure[1:] &= known[:-1]
    marks = Marks(allocated & before, allocated & ends, sure)
    return PageMap(start, marks, allocated & known, kernel.page_size)


def _bitmap(kernel: Kernel, pointer: int, pages: int) -> tuple[Mask, Mask] | None:
    """Bits and which of them are known, of the RTL_BITMAP that ``pointer`` points to."""
    bitmap = kernel.read_int(pointer)
    if not bitmap or not kernel.is_kernel_address(bitmap):
        return None
    size, buffer = kernel.read_int(bitmap, 4), kernel.read_int(bitmap + kernel.memory.pointer_size)
    if not size or not buffer or not kernel.is_kernel_address(buffer) or size > _MAX_BITS:
        return None
    count = min(size, pages)
    data, known = kernel.memory.read_masked(buffer, -(-count // 8))
    bits = np.unpackbits(data, bitorder="little")[:count].astype(np.bool_)
    return bits, np.repeat(known, 8)[:count]


def pfn_marks(kernel: Kernel, pfns: I64) -> Marks | None:
    """Marks of physical pages from the PFN database; None where it cannot be read at all.

    Of frames that are not RAM's (-1, or in a page file) nothing is known."""
    database, layout = kernel.value("MmPfnDatabase"), kernel.layout
    if not database or layout is None or not kernel.is_kernel_address(database):
        return None
    pfn = layout.pfn
    # Both bits lie in the first byte of the flags, so one byte per page is enough and never split.
    ram = (pfns >= 0) & (pfns < PAGE_FILE_FRAMES)
    frames = np.where(ram, pfns, 0).astype(np.uint64)
    vas = np.uint64(database) + frames * np.uint64(pfn.size) + np.uint64(pfn.flags)
    flags, known = _bytes_at(kernel, vas)
    known &= ram
    if not bool(known.any()):
        return None
    return Marks((flags >> pfn.start_bit) & 1 != 0, (flags >> pfn.end_bit) & 1 != 0, known)


def _bytes_at(kernel: Kernel, vas: U64) -> tuple[U8, Mask]:
    """One byte at each address, and which are known. Addresses in any order; memory is bounded."""
    page = np.uint64(kernel.page_size)
    pages, inverse = np.unique(vas // page, return_inverse=True)
    values, known = np.zeros(len(vas), np.uint8), np.zeros(len(vas), np.bool_)
    order = np.argsort(inverse, kind="stable")
    bounds = np.searchsorted(inverse[order], np.arange(0, len(pages) + _DATABASE_PAGES, _DATABASE_PAGES))
    for part in range(len(bounds) - 1):
        first = part * _DATABASE_PAGES
        some = pages[first : first + _DATABASE_PAGES] * page
        rows, good = _pages_at(kernel, some)
        mine = order[bounds[part] : bounds[part + 1]]
        row = inverse[mine] - first
        values[mine] = rows[row, (vas[mine] % page).astype(np.int64)]
        known[mine] = good[row]
    values[~known] = 0
    return values, known


def _pages_at(kernel: Kernel, vas: U64) -> tuple[U8, Mask]:
    memory = kernel.memory
    readable = memory.readable(vas)
    pas, _ = memory.translate(vas)
    pfns = (pas // np.uint64(kernel.page_size)).astype(np.int64)
    rows, present = scattered_pages(memory.physical, pfns)
    return rows, readable & present


_SINGLE_SHARE = 0.5
_CLOSED_SHARE = 0.9
_SAMPLE_LEAST = 4


def agree(marks: Marks, small: Mask) -> bool:
    """Do marks fit pages that are small-block pages by their chain (``small``)?

    Such a page starts and ends an allocation. Not all need to: a large block can hold old
    small-block pages. Bits that are no marks are all clear, or as good as random (one in four).
    """
    test = small & marks.known
    count = int(test.sum())
    single = int((test & marks.start & marks.end).sum())
    return count >= _SAMPLE_LEAST and single >= _SINGLE_SHARE * count


def closed(vas: U64, marks: Marks, page_size: int = 4096) -> bool:
    """Does nearly every allocation that starts also end before the next one starts?"""
    starts = int((marks.start & marks.known).sum())
    return starts > 0 and len(spans(vas, marks, page_size)[0]) >= _CLOSED_SHARE * starts


def spans(vas: NDArray[Any], marks: Marks, page_size: int = 4096) -> tuple[I64, I64]:
    """Allocations by their marks: index of the first page and number of pages (int64 arrays).

    ``vas`` ascending. An allocation counts when its start and end are known, its pages adjoin and
    no other start lies between.
    """
    starts = np.flatnonzero(marks.start & marks.known)
    ends = np.flatnonzero(marks.end & marks.known)
    if not len(starts) or not len(ends):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    slot = np.searchsorted(ends, starts)
    closed = slot < len(ends)
    starts, last = starts[closed], ends[slot[closed]]
    following = np.append(starts[1:], len(vas))
    adjoin = vas[last] - vas[starts] == (last - starts).astype(np.uint64) * np.uint64(page_size)
    whole = (last < following) & adjoin
    return starts[whole].astype(np.int64), (last - starts)[whole].astype(np.int64) + 1
