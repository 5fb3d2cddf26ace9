"""Physical memory under construction: bytes, free frames, and what each frame is used for.

The array is one lazily committed block: a 4 GB machine costs only the pages that are written.
`touched` feeds the sparse writers, `kernel` the bitmap of a kernel dump.
"""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray

PAGE = 0x1000  # of every processor but Itanium
MB = 1 << 20

Bytes = NDArray[np.uint8]
Pfns = NDArray[np.int64]


def memory_runs(ram_mb: int) -> list[tuple[int, int]]:
    """(first page, pages): the BIOS hole at 640 KB, one at 15 MB, and PCI space from 3 GB on."""
    total = ram_mb * MB // PAGE
    runs = [(1, 158), (0x100, 0xEFF)]
    low_end = min(total, 0xC0000) - 0x10
    if low_end > 0x1000:
        runs.append((0x1000, low_end - 0x1000))
    if total > 0xC0000:
        runs.append((0x100000, total - 0xC0000))
    return runs


def efi_runs(ram_mb: int, page: int) -> list[tuple[int, int]]:
    """As above for an Itanium machine: the firmware keeps parts of the first megabyte and of the last."""
    low, total = MB // page, ram_mb * MB // page
    return [(1, low // 2 - 1), (low, total - low - low // 2), (total - low // 4, low // 4)]


def _lazy_zeros(size: int) -> Bytes:
    """Anonymous memory in 4 KB pages: with huge ones, scattered frames would commit all of it."""
    block = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        block.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(block, dtype=np.uint8)


class Ram:
    """Page-granular physical memory with a shuffled free list."""

    def __init__(self, ram_mb: int, rng: np.random.Generator, page: int = PAGE) -> None:
        self.page = page
        self.runs = memory_runs(ram_mb) if page == PAGE else efi_runs(ram_mb, page)
        self.frames = max(base + count for base, count in self.runs)
        self.data: Bytes = _lazy_zeros(self.frames * page)
        self.present = np.zeros(self.frames, dtype=bool)
        for base, count in self.runs:
            self.present[base : base + count] = True
        self.reserved = ~self.present  # frames nobody may be given
        self.touched = np.zeros(self.frames, dtype=bool)  # may hold something other than zero
        self.kernel = np.zeros(self.frames, dtype=bool)  # goes into a kernel dump
        self._rng = rng
        self._free: Pfns | None = None
        self._next = 0

    @property
    def pages(self) -> NDArray[np.uint8]:
        return self.data.reshape(self.frames, self.page)

    def reserve(self, first: int, count: int) -> None:
        """Take fixed frames out of the free list; only before the first `take`."""
        if self._free is not None:
            raise RuntimeError("reserve before the first allocation")
        self.reserved[first : first + count] = True

    def available(self, first: int, count: int) -> bool:
        """Whether these frames are RAM."""
        return first >= 0 and first + count <= self.frames and bool(self.present[first : first + count].all())

    def take(self, count: int, *, low: bool = False) -> Pfns:
        """`count` scattered frames; `low` asks for frames below 4 GB (a PAE pointer table)."""
        if self._free is None:
            self._free = self._rng.permutation(np.flatnonzero(~self.reserved))
        if low and self._next < len(self._free) and self._free[self._next] >= 0x100000:
            at = self._next + int(np.flatnonzero(self._free[self._next :] < 0x100000)[0])
            self._free[[self._next, at]] = self._free[[at, self._next]]
        frames = self._free[self._next : self._next + count]
        if len(frames) < count:
            raise MemoryError(f"the machine has too little RAM for its contents ({count} pages wanted)")
        self._next += count
        self.touched[frames] = True
        return frames

    @property
    def free_frames(self) -> int:
        used = 0 if self._free is None else self._next
        return int((~self.reserved).sum()) - used

    def untaken(self) -> Pfns:
        """The frames still on the free list, in its order."""
        if self._free is None:
            return self.take(0)
        return self._free[self._next :]

    def poke(self, pa: int, data: bytes | Bytes) -> None:
        """Write inside physical memory; the caller keeps to contiguous frames."""
        raw = np.frombuffer(data, dtype=np.uint8) if isinstance(data, bytes) else data
        self.data[pa : pa + len(raw)] = raw
        self.touched[pa // self.page : (pa + len(raw) + self.page - 1) // self.page] = True
