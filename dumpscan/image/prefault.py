"""Bring the parts of a mapped file that a gather will touch into the address space at once.

A first touch of each mapped page costs a page fault, microseconds even when the file is in the page
cache: a third of a scan's time. Linux 5.14 and later map a range in one call
(MADV_POPULATE_READ). Elsewhere nothing is done and pages fault in one by one.

The other way round for a few pages all over a large file: a fault there makes the system read ahead,
up to megabytes for a page, so that a sample of a file that is not in the page cache reads all of it.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dumpscan.image.physical import I64, U8, Mask

_MADV_POPULATE_READ = 22
_WINDOW = 1 << 21
_DENSE = 256
"""Pages wanted of a 2 MB window from which on mapping the whole window is cheaper than faults: half.
Scans are that dense; pool pages scattered over memory are not."""


class Prefault:
    """Remembers which windows of the file behind ``data`` have been mapped already."""

    def __init__(self, data: U8) -> None:
        self._map = _mapping_of(data) if sys.platform == "linux" else None
        self._size = len(data)
        self._done = np.zeros((len(data) >> 21) + 1 if self._map else 0, np.bool_)

    def bring(self, offsets: I64, mask: Mask) -> None:
        """Map the windows in which at least half of the pages at ``offsets[mask]`` lie."""
        if self._map is None or len(offsets) < _DENSE:
            return
        wanted = np.bincount(offsets[mask] >> 21, minlength=1)
        dense = np.flatnonzero((wanted >= _DENSE) & ~self._done[: len(wanted)])
        self._done[dense] = True
        for first, count in _stretches(dense):
            self._populate(first * _WINDOW, count * _WINDOW)

    @contextmanager
    def singly(self, offsets: I64, length: int) -> Iterator[None]:
        """Pages at these offsets are asked for in advance, all at once, and nothing around them is read
        while the context lasts."""
        if self._map is None:
            yield
            return
        with suppress(OSError, ValueError):
            self._map.madvise(mmap.MADV_RANDOM)
            for at in np.sort(offsets).tolist():
                start = at // mmap.PAGESIZE * mmap.PAGESIZE
                self._map.madvise(mmap.MADV_WILLNEED, start, at - start + length)
        try:
            yield
        finally:
            if self._map is not None:
                with suppress(OSError, ValueError):
                    self._map.madvise(mmap.MADV_NORMAL)

    def _populate(self, start: int, length: int) -> None:
        assert self._map is not None
        try:
            self._map.madvise(_MADV_POPULATE_READ, start, min(length, self._size - start))
        except (OSError, ValueError):
            self._map = None  # An older kernel or a file system that refuses: never ask again.


def _stretches(windows: I64) -> list[tuple[int, int]]:
    """Runs of consecutive window numbers as (first, count)."""
    if not len(windows):
        return []
    cuts = np.flatnonzero(np.diff(windows) != 1) + 1
    return [(int(run[0]), len(run)) for run in np.split(windows, cuts)]


def _mapping_of(data: U8) -> mmap.mmap | None:
    """The memory map under an array that covers all of it, else None."""
    base: object = data
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return base if base is not None and len(base) == len(data) else None
