"""Itanium address space: regions, three of them partly direct, the rest by three levels of 8 KB tables.

Server 2008 and 2003 for Itanium. Witness: facts/ia64.md 2 and 3 ([WD], how Microsoft's debugger read
such dumps; no real dump was at hand). The upper three bits of an address are its region. The trap of
the area: a header names the root of the *kernel's* region only; user and session space have roots of
their own, which nothing names, so what is there is unknown.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dumpscan.image.physical import I64, U8, U64, Mask, PhysicalMemory
from dumpscan.memory.c_pte import IA64, Level, PageState
from dumpscan.memory.virtual import PagedMemory, PageSet

REGION_SHIFT = 61
KERNEL_REGION = 0xE0000000_00000000
KSEG0 = 0xE0000000_80000000
"""Kernel image and boot drivers: direct, from a physical address that is 0 unless found otherwise."""
KSEG0_SIZE = 1 << 30
KSEG3 = 0x80000000_00000000
KSEG4 = 0xA0000000_00000000
"""All of physical memory, cached and uncached."""
_KSEG3_SIZE = 1 << 44

_WALKED_BITS = 43
"""Bits of an address that tables translate; the region's other bits are all clear or all set."""
_WALKED = ((KERNEL_REGION, 0xE0000800_00000000), (0xFFFFF800_00000000, 1 << 64))
_GAP_MARKS = 1 << 16


class _Window(NamedTuple):
    """``size`` bytes from virtual address ``base`` on are physical memory from ``physical`` on."""

    base: int
    size: int
    physical: int


class Ia64Memory(PagedMemory):
    """:class:`~dumpscan.memory.virtual.VirtualMemory` of an Itanium kernel.

    ``dtb`` is the physical address of the root of region 7, ``kseg0`` that of the KSEG0 window.
    """

    def __init__(self, physical: PhysicalMemory, dtb: int, kseg0: int = 0) -> None:
        super().__init__(physical, IA64, dtb)
        self.kseg0 = kseg0
        self._windows = (
            _Window(KSEG3, _KSEG3_SIZE, 0),
            _Window(KSEG4, _KSEG3_SIZE, 0),
            _Window(KSEG0, KSEG0_SIZE, kseg0),
        )

    def translate(self, vas: NDArray[Any]) -> tuple[U64, U8]:
        """See :class:`~dumpscan.memory.virtual.VirtualMemory`. Unused regions hold nothing."""
        vas = np.asarray(vas, np.uint64)
        pas, states = np.zeros(len(vas), np.uint64), np.zeros(len(vas), np.uint8)
        region = vas >> np.uint64(REGION_SHIFT)
        states[region <= np.uint64(1)] = PageState.ABSENT
        walked: Mask = np.isin(region, np.array((4, 5, 7), np.uint64))
        for window in self._windows:
            within = vas - np.uint64(window.base)
            inside = within < np.uint64(window.size)
            pas[inside] = within[inside] + np.uint64(window.physical)
            states[inside] = PageState.VALID
            walked &= ~inside
        if bool(walked.any()):
            pas[walked], states[walked] = super().translate(vas[walked])
        return pas, states

    def _decode(self, entries: U64, level: Level, last: bool) -> tuple[U64, U8, Mask]:
        """Only a valid entry leads to another table; what lies behind any other is unknown."""
        frame, state, large = super()._decode(entries, level, last)
        if not last:
            state[(state != PageState.VALID) & (state != PageState.NONE)] = PageState.ABSENT
        return frame, state, large

    def _canonical(self, vas: U64) -> U64:
        return vas

    def pages_in(self, start: int, end: int) -> PageSet:
        """See :class:`~dumpscan.memory.virtual.VirtualMemory`. In direct windows, pages that the
        image holds are valid and the gaps between them unknown."""
        start, end = start & ~(self.page_size - 1), min(end, 1 << 64)
        parts = [PageSet(*self._lost(_unknown(start, end), Level(REGION_SHIFT, 1, False), start, end))]
        for window in self._windows:
            low, high = max(start, window.base), min(end, window.base + window.size)
            if low < high:
                parts.append(self._window_pages(window, low, high))
        for base, stop in _WALKED:
            for low, high in _without_kseg0(max(start, base), min(end, stop)):
                parts.append(self._walk(base, low, high))
        va, pfn, state = (np.concatenate([part[i] for part in parts]) for i in range(3))
        order = np.argsort(va, kind="stable")
        return PageSet(va[order], pfn[order], state[order], sum(part.looped for part in parts))

    def _walk(self, base: int, low: int, high: int) -> PageSet:
        """Pages by the tables, whose indices are the low 43 bits of an address."""
        found = super().pages_in(low - base, high - base)
        return found._replace(va=found.va + np.uint64(base))

    def _window_pages(self, window: _Window, low: int, high: int) -> PageSet:
        """Pages of ``[low, high)`` inside a window; marks of gaps are thinned in long ranges."""
        shift = self.paging.page_shift
        first, stop = (address - window.base + window.physical >> shift for address in (low, high))
        held = _present(*self.physical.runs(), first, stop)
        step = max(1, (stop - first) // _GAP_MARKS)
        gaps = np.arange(first, stop, step, dtype=np.int64)
        gaps = gaps[~self.physical.present(gaps)]
        state = np.full(len(held) + len(gaps), PageState.ABSENT, np.uint8)
        state[: len(held)] = PageState.VALID
        frames = np.concatenate([held, gaps])
        offset = np.uint64(window.base - window.physical & (1 << 64) - 1)
        va = (frames.astype(np.uint64) << np.uint64(shift)) + offset
        return PageSet(va, np.where(state == PageState.VALID, frames, -1), state)


def _present(base: I64, count: I64, first: int, stop: int) -> I64:
    """Page frames of runs inside ``[first, stop)``, ascending."""
    low, high = np.maximum(base, first), np.minimum(base + count, stop)
    low, counts = low[low < high], (high - low)[low < high]
    return np.repeat(low - (np.cumsum(counts) - counts), counts) + np.arange(
        int(counts.sum()), dtype=np.int64
    )


def _unknown(start: int, end: int) -> U64:
    """Where the parts of ``[start, end)`` in the regions without a known root (user, session) begin."""
    spans = ((region << REGION_SHIFT, region + 1 << REGION_SHIFT) for region in (0, 1))
    return np.array([low for low, high in spans if max(low, start) < min(high, end)], np.uint64)


def _without_kseg0(low: int, high: int) -> list[tuple[int, int]]:
    """``[low, high)`` without the direct window in its middle."""
    sides = ((low, min(high, KSEG0)), (max(low, KSEG0 + KSEG0_SIZE), high))
    return [(a, b) for a, b in sides if a < b]
