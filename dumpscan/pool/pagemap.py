"""Every page of the pools' address ranges: where it is, whether the image holds it, what it is.

Decides which pages the chain walk reads. The trap of the area: a large allocation can hold old
small-block pages, which look perfect; so pages inside allocations of the big page table are left
out, and where the memory manager's own marks are there and prove right, so are pages that they give
to larger allocations or to nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from dumpscan.image.physical import I64, U64, Mask, scattered_pages
from dumpscan.kernel.kernel import Kernel
from dumpscan.memory.c_pte import PageState
from dumpscan.memory.virtual import PageSet
from dumpscan.model import PageStates
from dumpscan.pool.bigpages import BigPages
from dumpscan.pool.chains import ChainWalker
from dumpscan.pool.marks import Marks, PageMap, agree, closed, paged_pool_map, pfn_marks
from dumpscan.pool.ranges import PoolRange, elsewhere, pool_ranges
from dumpscan.records import record

HELD_STATES = (PageState.VALID, PageState.TRANSITION, PageState.PAGEFILE)
"""States of pages that the image may hold; the last one where page files lie beside it."""

SAMPLE = 128
_ALL = slice(None)


@record
class PoolPages:
    """Pages of one range, ascending by address.

    ``pages`` are all its non-empty pages, ``present`` tells which of them the image holds,
    ``small`` which of those may be small-block pages and are to be walked. ``marks`` (one element
    per page) are None where there are none or they are not to be believed; ``bitmap`` likewise.
    """

    where: PoolRange
    pages: PageSet
    present: Mask
    small: Mask
    marks: Marks | None = None
    bitmap: PageMap | None = None

    def away(self) -> int:
        """Pages with content that the image does not hold."""
        return int((~self.present & (self.pages.state != PageState.DEMAND_ZERO)).sum())

    def states(self, chosen: Mask | slice = _ALL) -> PageStates:
        """Pages (all, or those ``chosen``) by state of their page table entry."""
        counts = np.bincount(self.pages.state[chosen], minlength=len(PageState)).tolist()
        return PageStates(*(counts[s] for s in list(PageState)[1:]))


@record
class PoolMap:
    """All ranges. ``aliases`` counts pages mapped a second time and left out there."""

    parts: tuple[PoolPages, ...]
    aliases: int = 0
    notes: tuple[str, ...] = ()
    page_size: int = 4096

    def states(self) -> dict[str, PageStates]:
        """Pages of each pool by state. Ranges searched for pool of either kind are not in it."""
        return {name: sum_states(p.states() for p in self.of(paged)) for name, paged in _POOLS}

    def of(self, paged: bool | None) -> Iterator[PoolPages]:
        """The ranges of one pool; with None those searched for pool of either kind."""
        return (part for part in self.parts if part.where.paged is paged)

    def coverage(self, paged: bool) -> float | None:
        """Share (0..1) of the pool's pages with content that the image holds; None without pages."""
        held = sum(int(part.present.sum()) for part in self.of(paged))
        wanted = held + self.away()[_name(paged)]
        return held / wanted if wanted else None

    def away(self) -> dict[str, int]:
        """Pages of each pool with content that the image does not hold."""
        return {name: sum(part.away() for part in self.of(paged)) for name, paged in _POOLS}


_POOLS = (("paged", True), ("nonpaged", False))


def _name(paged: bool) -> str:
    return "paged" if paged else "nonpaged"


def sum_states(states: Iterable[PageStates]) -> PageStates:
    """Element-wise sum."""
    names = ("valid", "transition", "pagefile", "demand_zero", "prototype", "absent")
    rows = list(states)
    return PageStates(*(sum(getattr(row, name) for row in rows) for name in names))


def map_pool(kernel: Kernel, big: BigPages | None, paged: bool | None = None) -> PoolMap:
    """Map the ranges of both pools (or of one). Reads page tables, marks and a small sample of pages.

    Empty, with the reason, where this kernel's pool pages are not read."""
    if kernel.layout is not None and kernel.layout.unwalkable:
        return PoolMap((), notes=(kernel.layout.unwalkable,))
    known = tuple(where for where in pool_ranges(kernel) if paged in (None, where.paged))
    notes = () if known else ("the address ranges of the pools are not known: no pool page was read",)
    taken = np.zeros(0, np.int64)
    parts, aliases = [], 0
    for where in known:
        part, taken, double = _map(kernel, where, big, taken)
        parts.append(part)
        aliases += double
    return PoolMap(tuple(parts), aliases, notes, kernel.page_size)


def widen(kernel: Kernel, found: PoolMap, big: BigPages | None) -> PoolMap | None:
    """The system space outside ``found``'s ranges, where this kernel may keep pool too; else None."""
    ranges = elsewhere(kernel, tuple(part.where for part in found.parts))
    if not ranges:
        return None
    pfns = [part.pages.pfn[part.present] for part in found.parts]
    taken = np.unique(np.concatenate(pfns)) if pfns else np.zeros(0, np.int64)
    parts, aliases = [], 0
    for where in ranges:
        part, taken, double = _map(kernel, where, big, taken)
        parts.append(part)
        aliases += double
    return PoolMap(tuple(parts), aliases, page_size=kernel.page_size)


def _map(kernel: Kernel, where: PoolRange, big: BigPages | None, taken: I64) -> tuple[PoolPages, I64, int]:
    """One range; ``taken`` are the page frames of ranges before it, returned with its own added."""
    pages = kernel.memory.pages_in(where.start, where.end)
    present = (pages.pfn >= 0) & kernel.memory.physical.present(np.maximum(pages.pfn, 0))
    alone, taken = _first_mappings(pages.pfn, present, taken)
    double = int((present & ~alone).sum())
    small = present & alone
    if big is not None:
        small &= ~inside_large(pages.va, big)
    part = _with_marks(kernel, PoolPages(where, pages, present, small))
    return part, taken, double


def _first_mappings(pfns: I64, present: Mask, taken: I64) -> tuple[Mask, I64]:
    """Which present pages are met for the first time; ``taken`` (ascending) with them added."""
    index = np.flatnonzero(present)
    index = index[np.argsort(pfns[index], kind="stable")]
    ordered = pfns[index]
    new = np.ones(len(ordered), np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    if len(taken):
        slot = np.minimum(np.searchsorted(taken, ordered), len(taken) - 1)
        new &= taken[slot] != ordered
    alone = np.zeros(len(pfns), np.bool_)
    alone[index[new]] = True
    return alone, np.sort(np.concatenate([taken, ordered[new]]))


def inside_large(vas: U64, big: BigPages) -> Mask:
    """Which addresses lie in live allocations of the big page table."""
    live = big.of(True)
    if not len(live.va):
        return np.zeros(len(vas), np.bool_)
    rounded = -(-live.size // big.page_size) * big.page_size
    end = live.va + rounded.astype(np.uint64)
    # A damaged size must not swallow the allocations behind it.
    end[:-1] = np.minimum(end[:-1], live.va[1:])
    slot = np.searchsorted(live.va, vas, side="right") - 1
    inside: Mask = (slot >= 0) & (vas < end[np.maximum(slot, 0)])
    return inside


def _with_marks(kernel: Kernel, part: PoolPages) -> PoolPages:
    """Add the marks of a range if they agree with a sample of its pages, and heed them."""
    bitmap = None
    if part.where.paged:
        bitmap = paged_pool_map(kernel, part.where.start, part.where.end)
        marks = bitmap.at(part.pages.va) if bitmap else None
    else:
        marks = pfn_marks(kernel, part.pages.pfn) if len(part.pages.pfn) else None
    if marks is None or kernel.layout is None or not closed(part.pages.va, marks, kernel.page_size):
        return part
    chosen = evenly(part.small & (part.pages.state == PageState.VALID))
    if not len(chosen):
        return part
    walker = ChainWalker(kernel.layout, len(chosen))
    rows, _ = scattered_pages(kernel.memory.physical, part.pages.pfn[chosen])
    small = walker.walk(rows).accepted
    if not agree(Marks(*(m[chosen] for m in marks)), small):
        return part
    single = (marks.start & marks.end) | ~marks.known
    return PoolPages(part.where, part.pages, part.present, part.small & single, marks, bitmap)


def evenly(wanted: Mask) -> I64:
    """At most ``SAMPLE`` indices of set elements, evenly spread."""
    index = np.flatnonzero(wanted)
    step = max(1, len(index) // SAMPLE)
    return index[::step][:SAMPLE]
