"""Allocations of a page and more: PoolBigPageTable, on 5.1 to 10.0.

Layouts: facts/pool-structures.md, "_POOL_TRACKER_BIG_PAGES". XP and 2003 entries count pages and
do not say which pool (the address decides); Vista's count bytes and carry the pool type. A freed
entry keeps its address with bit 0 set, its tag and size: history, not use. All slots are read.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dumpscan.image.physical import I64, U64, Mask
from dumpscan.kernel.kernel import Kernel
from dumpscan.kernel.layouts import Layout
from dumpscan.model import BigUse
from dumpscan.pool.c_pool import PAGED_TYPE, table_dtype
from dumpscan.pool.tables import PoolTables
from dumpscan.pool.tags import decode_tag, strip_protected
from dumpscan.records import record, replace

_ENTRIES_AT_ONCE = 1 << 16


@record
class BigPages:
    """Entries of the table: arrays of one length, ascending by address.

    ``va`` uint64 (bit 0 cleared), ``tag`` uint32 (protected bit stripped), ``size`` int64 bytes as
    the table has it, ``paged`` by type or address, ``live`` False for freed entries. ``coverage``
    is the share (0..1) of the table that the image holds; ``damaged`` counts unusable entries.
    """

    va: U64
    tag: NDArray[np.uint32]
    size: I64
    paged: Mask
    live: Mask
    coverage: float
    damaged: int = 0
    page_size: int = 4096

    def of(self, live: bool) -> BigPages:
        """Only the live entries, or only the freed ones."""
        keep = self.live == live
        return BigPages(
            self.va[keep], self.tag[keep], self.size[keep], self.paged[keep], self.live[keep],
            self.coverage, self.damaged, self.page_size,
        )

    def costs(self) -> dict[tuple[str, str], int]:
        """Bytes of whole pages that live allocations take, by (tag, "paged" or "nonpaged")."""
        rounded = replace(self, size=-(-self.size // self.page_size) * self.page_size)
        return {key: use.bytes for key, use in rounded.by_tag().items()}

    def by_tag(self) -> dict[tuple[str, str], BigUse]:
        """Live allocations by (tag, "paged" or "nonpaged"), bytes as the table has them."""
        live = self.of(True)
        keys = (live.tag.astype(np.uint64) << np.uint64(1)) | live.paged
        unique, inverse = np.unique(keys, return_inverse=True)
        counts = np.bincount(inverse, minlength=len(unique)).tolist()
        sizes = np.zeros(len(unique), np.int64)
        np.add.at(sizes, inverse, live.size)
        return {
            (decode_tag(key >> 1), "paged" if key & 1 else "nonpaged"): BigUse(count, size)
            for key, count, size in zip(unique.tolist(), counts, sizes.tolist(), strict=True)
        }


@lru_cache(maxsize=None)
def entry_dtype(layout: Layout) -> np.dtype[np.void]:
    """numpy type of one entry; ``va`` is pointer-sized, ``size`` too where it counts bytes."""
    pointer = f"<u{layout.pointer_size}"
    formats = {"va": pointer, "size": pointer if layout.big_unit == 1 else "<u4"}
    return table_dtype(layout.big_fields, formats, layout.big_entry_size)


def read_big_pages(kernel: Kernel, tables: PoolTables) -> BigPages | None:
    """The big page table, or None where the kernel has none that was verified."""
    if kernel.layout is None or tables.big is None:
        return None
    dtype = entry_dtype(kernel.layout)
    used, known = [], 0
    for first in range(0, tables.big_size, _ENTRIES_AT_ONCE):
        count = min(_ENTRIES_AT_ONCE, tables.big_size - first)
        address = tables.big + first * dtype.itemsize
        data, mask = kernel.memory.read_masked(address, count * dtype.itemsize)
        whole = mask.reshape(count, dtype.itemsize).all(axis=1)
        known += int(whole.sum())
        rows = data.view(dtype)
        # 1 marks a slot that was never used; 0 is no encoding of the kernel's, but found (facts).
        used.append(rows[whole & (rows["va"] > 1)])
    return _entries(kernel, kernel.layout, np.concatenate(used), known / tables.big_size)


def _entries(kernel: Kernel, layout: Layout, rows: Any, coverage: float) -> BigPages:
    va = rows["va"].astype(np.uint64)
    live = (va & np.uint64(1)) == 0
    va &= ~np.uint64(1)
    size = rows["size"].astype(np.int64) * layout.big_unit
    good = (va % np.uint64(kernel.page_size) == 0) & (size > 0)
    good &= va >= np.uint64(kernel.system_start)
    order = np.flatnonzero(good)
    order = order[np.argsort(va[order], kind="stable")]
    paged = _paged(kernel, rows, va)
    tag = strip_protected(rows["key"])
    damaged = int(len(rows) - len(order))
    return BigPages(
        va[order], tag[order], size[order], paged[order], live[order], coverage, damaged, kernel.page_size
    )


def _paged(kernel: Kernel, rows: Any, va: U64) -> Mask:
    if "pool_type" in rows.dtype.names:
        shift = kernel.layout.big_type_shift if kernel.layout else 0
        by_type: Mask = (rows["pool_type"] >> np.uint32(shift) & np.uint32(PAGED_TYPE)) != 0
        return by_type
    start, end = kernel.value("MmPagedPoolStart"), kernel.value("MmPagedPoolEnd")
    if start is None or end is None:
        return np.zeros(len(va), np.bool_)
    by_address: Mask = (va >= np.uint64(start)) & (va <= np.uint64(end))
    return by_address
