"""Physical memory whose pages lie in a file at a fixed distance, or are filled with one byte.

Streams put a header before every page (QEMU: 8 bytes), so pages are not adjacent in the file; pages
of one repeated byte are only mentioned. Neighbours of one kind are one run, so an index stays small.
"""

from __future__ import annotations

import heapq
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dumpscan.errors import AbsentMemory, DamagedImage
from dumpscan.image.physical import I64, U8, Mask, Runs, run_heads

STORED = -1
# Rows per step of a gather: 1 MiB of scratch.
_ROWS = 256
_MAX_SHARED = 1 << 20


class StridedRuns(NamedTuple):
    """``pages`` pages from page frame ``pfn`` on: int64 arrays of one length.

    ``fill`` is the byte that fills them, or ``STORED``: then the first lies at file offset ``offset``,
    each next one ``stride`` bytes further.
    """

    pfn: I64
    pages: I64
    offset: I64
    fill: I64


class StridedMemory:
    """Pages of ``data`` (the whole file) by ``runs``, which must be ascending and disjoint."""

    page_size = 4096

    def __init__(self, data: U8, runs: StridedRuns, stride: int) -> None:
        self._data = data
        self._stride = stride
        self._pfn, self._count, self._offset, self._fill = runs

    def _locate(self, pfns: NDArray[Any]) -> tuple[I64, I64, Mask]:
        """File offset and fill byte of each page (unspecified where absent), and the presence mask."""
        wanted = np.asarray(pfns).astype(np.int64, copy=False)
        if not len(self._pfn):
            nothing = np.zeros(wanted.shape, np.int64)
            return nothing, nothing, np.zeros(wanted.shape, np.bool_)
        slot = np.maximum(np.searchsorted(self._pfn, wanted, side="right") - 1, 0)
        inside = wanted - self._pfn[slot]
        mask = (inside >= 0) & (inside < self._count[slot])
        return self._offset[slot] + inside * self._stride, self._fill[slot], mask

    def present(self, pfns: NDArray[Any]) -> Mask:
        """See :meth:`PhysicalMemory.present`."""
        return self._locate(pfns)[2]

    def pages(self, pfns: NDArray[Any], out: U8 | None = None) -> tuple[U8, Mask]:
        """See :meth:`PhysicalMemory.pages`."""
        offsets, fill, mask = self._locate(pfns)
        if out is None:
            out = np.empty((len(offsets), self.page_size), np.uint8)
        out = out[: len(offsets)]
        filled = np.flatnonzero(mask & (fill != STORED))
        out[filled] = fill[filled].astype(np.uint8)[:, None]
        stored = np.flatnonzero(mask & (fill == STORED))
        if len(stored):
            # One view with a byte's stride serves every offset; a plain index copies the rows asked for.
            shape = (len(self._data) - self.page_size + 1, self.page_size)
            view = np.lib.stride_tricks.as_strided(self._data, shape, (1, 1), writeable=False)
            for at in range(0, len(stored), _ROWS):
                rows = stored[at : at + _ROWS]
                out[rows] = view[offsets[rows]]
        return out, mask

    def read(self, pa: int, n: int) -> bytes:
        """See :meth:`PhysicalMemory.read`."""
        if n <= 0:
            return b""
        first, last = pa // self.page_size, (pa + n - 1) // self.page_size
        if not 0 <= first <= last < 1 << 62:
            raise AbsentMemory(pa, n, physical=True)
        parts = []
        for at in range(first, last + 1, _ROWS):
            found, mask = self.pages(np.arange(at, min(at + _ROWS, last + 1)))
            if not mask.all():
                missing = at + int(np.argmin(mask))
                raise AbsentMemory(max(missing * self.page_size, pa), n, physical=True)
            parts.append(found.tobytes())
        start = pa - first * self.page_size
        return b"".join(parts)[start : start + n]

    def runs(self) -> Runs:
        """See :meth:`PhysicalMemory.runs`."""
        return _joined(self._pfn, self._count)

    def filled(self) -> Runs:
        """See :func:`filled_runs`: pages of one repeated byte hold nothing to be found."""
        stored = self._fill == STORED
        return _joined(self._pfn[stored], self._count[stored])

    def close(self) -> None:
        """Let go of the file: every page is absent from then on."""
        self._data = self._data[:0]
        self._pfn, self._count, self._offset, self._fill = (np.zeros(0, np.int64) for _ in range(4))


def _joined(pfn: I64, count: I64) -> Runs:
    """Ascending runs, those that touch as one."""
    if not len(pfn):
        return Runs(pfn, count)
    first = run_heads(pfn, count)
    return Runs(pfn[first], np.add.reduceat(count, first))


def latest(runs: StridedRuns, stride: int, name: str) -> StridedRuns:
    """Ascending, disjoint runs: where several (in stored order) hold a page, the last one counts.

    Only runs that share pages are looked at one by one. :raises DamagedImage: there are too many of those.
    """
    order = np.argsort(runs.pfn, kind="stable")
    start = runs.pfn[order]
    end = start + runs.pages[order]
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = start[1:] >= np.maximum.accumulate(end)[:-1]
    group = np.cumsum(fresh) - 1
    shared = np.bincount(group)[group] > 1
    crowd = order[shared]
    if not len(crowd):
        return StridedRuns(*(column[order] for column in runs))
    if len(crowd) > _MAX_SHARED:
        raise DamagedImage(
            f"{name}: more than {_MAX_SHARED} pieces of memory are in the stream several times; save the "
            "machine again, paused"
        )
    number, low, high = _swept(start[shared].tolist(), end[shared].tolist(), crowd.tolist())
    alone = order[~shared]
    number = np.concatenate([alone, number])
    low = np.concatenate([runs.pfn[alone], low])
    pages = np.concatenate([runs.pages[alone], high - low[len(alone) :]])
    offset = runs.offset[number] + (low - runs.pfn[number]) * stride
    found = StridedRuns(low, pages, offset, runs.fill[number])
    return StridedRuns(*(column[np.argsort(low, kind="stable")] for column in found))


def _swept(starts: list[int], ends: list[int], numbers: list[int]) -> tuple[I64, I64, I64]:
    """Which run counts from where to where; ``starts`` ascend, a higher number covers a lower one."""
    pieces: list[tuple[int, int, int]] = []
    open_runs: list[tuple[int, int]] = []
    bounds = sorted({*starts, *ends})
    taken = 0
    for low, high in pairwise(bounds):
        while taken < len(starts) and starts[taken] <= low:
            heapq.heappush(open_runs, (-numbers[taken], ends[taken]))
            taken += 1
        while open_runs and open_runs[0][1] <= low:
            heapq.heappop(open_runs)
        if open_runs:
            pieces.append((-open_runs[0][0], low, high))
    number, start, end = np.array(pieces, np.int64).T
    return number, start, end
