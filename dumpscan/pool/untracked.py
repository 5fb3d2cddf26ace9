"""Allocations of whole pages that no table lists: their sizes, by the memory manager's marks.

With pool tagging off there is no big page table, and a large allocation carries no header: neither
tag nor size. What is left are the marks of :mod:`dumpscan.pool.marks` (facts/pool-algorithms.md
section 7). A one-page piece is a page of small blocks or a large block of one page; the chain tells
them apart where the page is in the image. The trap of the area: without marks that prove right
nothing is known, and nothing is said; and a few single freed pages keep their marks on 2003.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dumpscan.image.physical import I64, U64, Mask
from dumpscan.model import BigUse
from dumpscan.pool.bigpages import BigPages
from dumpscan.pool.marks import Marks, spans
from dumpscan.pool.pagemap import PoolMap, PoolPages, inside_large


class Untracked(NamedTuple):
    """Allocations by their marks: first address, pages, pool. Arrays of one length."""

    va: U64
    pages: I64
    paged: Mask


def find_untracked(pool: PoolMap, foreign: U64, big: BigPages | None) -> Untracked:
    """Allocations of whole pages that are not in ``big``. ``foreign``: walked pages without a chain."""
    parts = [_part(part, foreign, big, pool.page_size) for part in pool.parts if part.marks is not None]
    if not parts:
        return Untracked(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.bool_))
    return Untracked(*(np.concatenate([part[i] for part in parts]) for i in range(3)))


def _part(part: PoolPages, foreign: U64, big: BigPages | None, page_size: int) -> Untracked:
    if part.bitmap is not None:
        # The bitmaps tell of pages that are paged out as well.
        first, marks = np.uint64(part.bitmap.first), part.bitmap.marks
        vas = first + np.arange(len(marks.start), dtype=np.uint64) * np.uint64(page_size)
    else:
        vas = part.pages.va
        marks = part.marks or Marks(*(np.zeros(len(vas), np.bool_) for _ in range(3)))
    start, pages = spans(vas, marks, page_size)
    va = vas[start]
    keep = (pages > 1) | np.isin(va, foreign)
    if big is not None:
        keep &= ~inside_large(va, big)
    va, pages = va[keep], pages[keep]
    return Untracked(va, pages, np.full(len(va), bool(part.where.paged)))


def untracked_use(pool: PoolMap, foreign: U64, big: BigPages | None) -> dict[str, BigUse]:
    """Count and bytes by pool. A pool without marks is left out: unknown, not zero."""
    found = find_untracked(pool, foreign, big)
    uses = {}
    for name, paged in (("paged", True), ("nonpaged", False)):
        parts = list(pool.of(paged))
        if parts and all(part.marks is not None or not len(part.pages.va) for part in parts):
            mine = found.paged == paged
            uses[name] = BigUse(int(mine.sum()), int(found.pages[mine].sum()) * pool.page_size)
    return uses
