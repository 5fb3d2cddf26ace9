"""Which virtual addresses hold which pool.

KDBG names MmNonPagedPoolStart/End and MmPagedPoolStart/End (facts/kernel-location.md section 6).
The trap of the area: nonpaged pool is *two* ranges, and between Start and End of XP and 2003 lie
paged pool, the system cache, page tables and drivers. Where no symbol names the inner ends, the
ranges here are the smallest ones that cannot miss pool; the chain test rejects what is foreign.
"""

from __future__ import annotations

import numpy as np

from dumpscan.kernel.kernel import Kernel
from dumpscan.memory.c_pte import PageState
from dumpscan.records import record


@record
class PoolRange:
    """``[start, end)``; ``paged`` is None for a range searched for pool of either kind."""

    start: int
    end: int
    paged: bool | None
    source: str


def pool_ranges(kernel: Kernel) -> tuple[PoolRange, ...]:
    """The ranges of both pools, disjoint. Empty where the variables are not known."""
    paged = paged_range(kernel)
    found = _nonpaged(kernel, paged)
    return (*found, paged) if paged else found


def paged_range(kernel: Kernel) -> PoolRange | None:
    """Paged pool. MmPagedPoolEnd is the address of its last byte."""
    start, end = kernel.value("MmPagedPoolStart"), kernel.value("MmPagedPoolEnd")
    if not _plausible(kernel, start, end) or start is None or end is None:
        return None
    rounded = -(-end // kernel.page_size) * kernel.page_size
    return PoolRange(start, rounded, True, "MmPagedPoolStart..MmPagedPoolEnd")


def _plausible(kernel: Kernel, start: int | None, end: int | None) -> bool:
    if start is None or end is None or start % kernel.page_size or start >= end:
        return False
    return kernel.is_kernel_address(start) and kernel.is_kernel_address(end)


def _nonpaged(kernel: Kernel, paged: PoolRange | None) -> tuple[PoolRange, ...]:
    start, end = kernel.value("MmNonPagedPoolStart"), kernel.value("MmNonPagedPoolEnd")
    if not _plausible(kernel, start, end) or start is None or end is None:
        return ()
    inner, expansion = kernel.value("MmNonPagedPoolEnd0"), kernel.value("MmNonPagedPoolExpansionStart")
    if inner is not None and expansion is not None and start < inner <= expansion < end:
        return (
            PoolRange(start, inner, False, "MmNonPagedPoolStart..MmNonPagedPoolEnd0"),
            PoolRange(expansion, end, False, "MmNonPagedPoolExpansionStart..MmNonPagedPoolEnd"),
        )
    limit = kernel.value("MmMaximumNonPagedPoolInBytes")
    apart = paged is not None and start < paged.start < end
    if not limit or (end - start <= 2 * limit and not apart):
        # One stretch, as on Vista: nothing large can lie between the two ranges.
        tables = kernel.memory.paging.self_map
        self_map = PoolRange(tables, tables + kernel.memory.paging.self_map_size, None, "page tables")
        whole = PoolRange(start, end, False, "MmNonPagedPoolStart..MmNonPagedPoolEnd")
        return tuple(part for rest in _without(whole, paged) for part in _without(rest, self_map))
    return _two_windows(kernel, start, end, limit, paged)


def _two_windows(
    kernel: Kernel, start: int, end: int, limit: int, paged: PoolRange | None
) -> tuple[PoolRange, ...]:
    """Both ranges together are MmMaximumNonPagedPoolInBytes: neither reaches farther than that."""
    expansion = max(end - limit, start)
    initial_end = start + limit
    system_ptes = kernel.value("MmSystemPtesEnd")
    if system_ptes is not None and expansion <= system_ptes + 1 < end:
        # System PTEs lie directly below the expansion range (facts, section 6).
        expansion = -(-(system_ptes + 1) // kernel.page_size) * kernel.page_size
        initial_end = start + limit - (end - expansion)
    initial_end = min(initial_end, _mapped_end(kernel, start, start + limit))
    initial = PoolRange(start, initial_end, False, "from MmNonPagedPoolStart, as far as mapped")
    grown = PoolRange(expansion, end, False, "up to MmNonPagedPoolEnd, at most the pool's maximum")
    if initial.end >= grown.start:
        return _without(PoolRange(start, end, False, "MmNonPagedPoolStart..MmNonPagedPoolEnd"), paged)
    parts = _without(initial, paged) if initial.end > initial.start else ()
    return (*parts, *_without(grown, paged))


def _mapped_end(kernel: Kernel, start: int, end: int) -> int:
    """End of the unbroken mapping from ``start``: the initial pool is mapped wholly and for good."""
    pages = kernel.memory.pages_in(start, end)
    held = (pages.state == PageState.VALID) | (pages.state == PageState.ABSENT)
    va = pages.va[held]
    if not len(va) or int(va[0]) != start:
        return start
    gaps = np.flatnonzero(np.diff(va) != np.uint64(kernel.page_size))
    last = int(va[gaps[0]]) if len(gaps) else int(va[-1])
    return last + kernel.page_size


def _without(whole: PoolRange, hole: PoolRange | None) -> tuple[PoolRange, ...]:
    """``whole`` with ``hole`` cut out of it."""
    if hole is None or hole.end <= whole.start or hole.start >= whole.end:
        return (whole,)
    sides = ((whole.start, hole.start), (hole.end, whole.end))
    return tuple(PoolRange(a, b, whole.paged, whole.source) for a, b in sides if a < b)


def elsewhere(kernel: Kernel, known: tuple[PoolRange, ...]) -> tuple[PoolRange, ...]:
    """The rest of Vista x86's system space, where pool of either kind may lie too; else nothing."""
    layout = kernel.layout
    if layout is None or layout.pointer_size != 4 or layout.in_use_bit != 2:
        return ()
    paging = kernel.memory.paging
    whole = PoolRange(kernel.system_start, paging.va_mask + 1, None, "rest of system space")
    rest: tuple[PoolRange, ...] = (whole,)
    tables = PoolRange(paging.self_map, paging.self_map + paging.self_map_size, None, "page tables")
    for hole in (*known, tables):
        rest = tuple(part for whole in rest for part in _without(whole, hole))
    return rest
