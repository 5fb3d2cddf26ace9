"""Physical memory of the imaged machine: the protocol, and its implementation over a mapped file.

Everything above this room reads physical memory through :class:`PhysicalMemory` only. A mapped
dump, a volatility3 layer, a remote file and a test buffer are all just implementations. A page
is either wholly present or absent; an absent page is *unknown*, never zeros.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dumpscan.errors import AbsentMemory, DamagedImage
from dumpscan.image.prefault import Prefault
from dumpscan.records import record

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Rows per step of a gather over runs at mixed alignments: 1 MiB of scratch.
_GATHER_ROWS = 256
_LAST_PAGE = (1 << 63) - 1
_NOTHING: U8 = np.zeros(0, np.uint8)


class Runs(NamedTuple):
    """Present page ranges, ascending and disjoint: int64 arrays of the same length."""

    base_page: I64
    page_count: I64


class RemoteBytes(Protocol):
    """A file that is not mapped: slices and pages of it are fetched when asked for."""

    def __len__(self) -> int:
        """Bytes of the file."""
        ...

    def __getitem__(self, part: slice) -> U8:
        """A contiguous part."""
        ...

    def gather(self, offsets: I64, out: U8) -> None:
        """Fill each row of ``out`` with the file's bytes from the offset on; all at once."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


FileBytes = U8 | RemoteBytes
"""A whole file, as an array over a memory map or fetched in parts."""


class MappedWords(NamedTuple):
    """Pages where they lie in a mapped file: the file as 64-bit words, the word at which each page
    starts (int64, unspecified where absent), and the mask of those present."""

    words: I64
    start: I64
    present: Mask


class PhysicalMemory(Protocol):
    """What the rooms above need of a container."""

    page_size: int

    def read(self, pa: int, n: int) -> bytes:
        """``n`` bytes at physical address ``pa``. :raises AbsentMemory: any page is absent."""
        ...

    def pages(self, pfns: NDArray[Any], out: U8 | None = None) -> tuple[U8, Mask]:
        """Gather whole pages: ``(len(pfns), page_size)`` bytes and a mask of those present.

        Rows of absent pages hold unspecified bytes. ``out``, when given, is a scratch array of at
        least that many rows; the result is then a view into it.
        """
        ...

    def present(self, pfns: NDArray[Any]) -> Mask:
        """Which of ``pfns`` are present, without reading them."""
        ...

    def runs(self) -> Runs:
        """The present page ranges."""
        ...


def mapped_words(memory: PhysicalMemory, pfns: NDArray[Any]) -> MappedWords | None:
    """``pfns`` in place, where ``memory`` is a mapped file that can show them; else None."""
    words = getattr(memory, "words", None)
    found: MappedWords | None = words(pfns) if words else None
    return found


def scattered(memory: PhysicalMemory, pfns: NDArray[Any]) -> AbstractContextManager[None]:
    """A context for reading ``pfns``, few pages all over the image, without what lies around them."""
    found = getattr(memory, "scattered", None)
    context: AbstractContextManager[None] = found(pfns) if found else nullcontext()
    return context


def scattered_pages(memory: PhysicalMemory, pfns: NDArray[Any]) -> tuple[U8, Mask]:
    """:meth:`PhysicalMemory.pages` of few pages all over the image, read as :func:`scattered` does."""
    with scattered(memory, pfns):
        return memory.pages(pfns)


def filled_runs(memory: PhysicalMemory) -> Runs:
    """The page ranges to search for something: all but stretches known to be one
    repeated byte: holes of the file, pages that a stream of a virtual machine only mentions."""
    filled = getattr(memory, "filled", None)
    return filled() if filled else memory.runs()


def run_heads(pfn: I64, count: I64) -> I64:
    """Indices of the ascending runs that do not go on where the one before them ends."""
    fresh = np.ones(len(pfn), np.bool_)
    fresh[1:] = pfn[1:] != pfn[:-1] + count[:-1]
    return np.flatnonzero(fresh)


@record
class Segment:
    """``pages`` pages from page frame ``pfn`` on lie in the file from byte ``offset`` on."""

    pfn: int
    pages: int
    offset: int


class FileMemory:
    """Pages of a file, found by binary search over runs (millions of runs are fine).

    ``data`` is the whole file as uint8 (a memory map, or fetched in parts); ``pfn``, ``count`` and
    ``offset`` describe the runs: int64 arrays of one length, ``pfn`` ascending and runs disjoint.
    Pages that lie beyond the end of the file count as absent (a truncated dump).

    :raises DamagedImage: runs are unsorted, overlapping or negative.
    """

    def __init__(self, data: FileBytes, pfn: I64, count: I64, offset: I64, page_size: int = 4096) -> None:
        self.page_size = page_size
        self._data = data
        self._mapped = data if isinstance(data, np.ndarray) else _NOTHING
        keep = count > 0
        pfn, count, offset = (_chosen(column, keep) for column in (pfn, count, offset))
        self._pfn, self._offset = pfn, offset
        self._count = self._clip(count)
        self._check()
        self._phase = self._common_phase()
        self._rows = self._row_view()
        self._resident = Prefault(self._mapped)
        self.path: Path | None = None
        """The file behind ``data``, where it is one that may have holes."""

    def _clip(self, count: I64) -> I64:
        """Cut runs at the end of the file: pages not wholly in it are absent."""
        room = np.maximum((len(self._data) - self._offset) // self.page_size, 0)
        return np.minimum(count, room)

    def _check(self) -> None:
        if len(self._pfn) and (self._pfn.min() < 0 or self._offset.min() < 0):
            raise DamagedImage("a memory run starts at a negative page or offset; the header is damaged")
        ends = self._pfn + self._count
        if len(ends) > 1 and bool(np.any(ends[:-1] > self._pfn[1:])):
            bad = int(np.argmax(ends[:-1] > self._pfn[1:]))
            raise DamagedImage(
                f"memory runs overlap or are unsorted at page {int(self._pfn[bad + 1]):#x}; "
                "the header is damaged"
            )

    def _common_phase(self) -> int | None:
        """File offset modulo page size when all runs share it, else None."""
        phases = self._offset % self.page_size
        return int(phases[0]) if len(phases) and bool((phases == phases[0]).all()) else None

    def _row_view(self) -> U8:
        start = self._phase or 0
        rows = max(len(self._mapped) - start, 0) // self.page_size
        return self._mapped[start : start + rows * self.page_size].reshape(rows, self.page_size)

    def _locate(self, pfns: NDArray[Any]) -> tuple[I64, Mask]:
        """File offsets of pages (unspecified where absent) and the presence mask."""
        wanted = np.asarray(pfns).astype(np.int64, copy=False)
        if not len(self._pfn):
            return np.zeros(wanted.shape, np.int64), np.zeros(wanted.shape, np.bool_)
        slot = np.maximum(np.searchsorted(self._pfn, wanted, side="right") - 1, 0)
        inside = wanted - self._pfn[slot]
        mask = (inside >= 0) & (inside < self._count[slot])
        return self._offset[slot] + inside * self.page_size, mask

    def present(self, pfns: NDArray[Any]) -> Mask:
        """See :meth:`PhysicalMemory.present`."""
        return self._locate(pfns)[1]

    def words(self, pfns: NDArray[Any]) -> MappedWords | None:
        """The pages in place, to look at parts of them without copying; None where they do not lie
        at multiples of eight bytes."""
        if self._phase is None or self._phase % 8:
            return None
        offsets, mask = self._locate(pfns)
        self._resident.bring(offsets, mask)
        return MappedWords(self._data[: len(self._data) & ~7].view("<i8"), offsets >> 3, mask)

    def scattered(self, pfns: NDArray[Any]) -> AbstractContextManager[None]:
        """See :func:`scattered`."""
        offsets, mask = self._locate(pfns)
        return self._resident.singly(offsets[mask], self.page_size)

    def pages(self, pfns: NDArray[Any], out: U8 | None = None) -> tuple[U8, Mask]:
        """See :meth:`PhysicalMemory.pages`."""
        offsets, mask = self._locate(pfns)
        if out is None:
            out = np.empty((len(offsets), self.page_size), np.uint8)
        out = out[: len(offsets)]
        if not isinstance(self._data, np.ndarray):
            if bool(mask.any()):
                self._data.gather(np.where(mask, offsets, offsets[mask][0]), out)
            return out, mask
        self._resident.bring(offsets, mask)
        if self._phase is None or not len(self._rows):
            self._gather_unaligned(offsets, mask, out)
        else:
            rows = np.where(mask, (offsets - self._phase) // self.page_size, 0)
            np.take(self._rows, rows, axis=0, out=out, mode="clip")
        return out, mask

    def _gather_unaligned(self, offsets: I64, mask: Mask, out: U8) -> None:
        if not bool(mask.any()):
            return
        # Runs at different alignments: a view with a byte stride of one serves them all. np.take
        # would copy that view whole (its rows overlap); plain indexing copies the rows asked for.
        view = np.lib.stride_tricks.as_strided(
            self._mapped, (len(self._mapped) - self.page_size + 1, self.page_size), (1, 1), writeable=False
        )
        wanted = np.where(mask, offsets, offsets[mask][0])
        for at in range(0, len(wanted), _GATHER_ROWS):
            out[at : at + _GATHER_ROWS] = view[wanted[at : at + _GATHER_ROWS]]

    def read(self, pa: int, n: int) -> bytes:
        """See :meth:`PhysicalMemory.read`."""
        parts = []
        while n > 0:
            at, room = self._stretch(pa)
            if not room:
                raise AbsentMemory(pa, n, physical=True)
            parts.append(self._data[at : at + min(n, room)].tobytes())
            pa, n = pa + room, n - room
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _stretch(self, pa: int) -> tuple[int, int]:
        """File offset of ``pa`` and the bytes that follow it in its run; (0, 0) where absent."""
        page = pa // self.page_size
        if not len(self._pfn) or not 0 <= page <= _LAST_PAGE:
            return 0, 0
        slot = int(self._pfn.searchsorted(page, "right")) - 1
        inside = pa - int(self._pfn[slot]) * self.page_size
        room = int(self._count[slot]) * self.page_size - inside
        return (int(self._offset[slot]) + inside, room) if slot >= 0 and room > 0 else (0, 0)

    def runs(self) -> Runs:
        """See :meth:`PhysicalMemory.runs`."""
        keep = self._count > 0
        return Runs(_chosen(self._pfn, keep), _chosen(self._count, keep))

    def filled(self) -> Runs:
        """As :meth:`runs`, without the holes of a sparse file: those are zeros."""
        from dumpscan.image import holes

        data = holes.data_of(self.path, len(self._data)) if self.path is not None else None
        return self.runs() if data is None else holes.filled(*self.placed(), self.page_size, data)

    def close(self) -> None:
        """Let go of the file: every page is absent from then on.

        The mapping itself ends with the last array over it; Windows keeps the file open until then.
        """
        if not isinstance(self._data, np.ndarray):
            self._data.close()
        self._data = self._mapped = _NOTHING
        self._resident = Prefault(self._mapped)
        self._pfn = self._count = self._offset = np.zeros(0, np.int64)
        self._phase = None
        self._rows = self._row_view()

    def placed(self) -> tuple[I64, I64, I64]:
        """Where the present pages lie: first page frame, pages and file offset of each run."""
        keep = self._count > 0
        return self._pfn[keep], self._count[keep], self._offset[keep]


def _chosen(column: I64, keep: Mask) -> I64:
    """The elements to keep; the column itself, millions of elements perhaps, where these are all."""
    return np.ascontiguousarray(column if bool(keep.all()) else column[keep], dtype=np.int64)


def from_segments(data: U8, segments: list[Segment], page_size: int = 4096) -> FileMemory:
    """A :class:`FileMemory` over segments in any order. :raises DamagedImage: they overlap."""
    ordered = sorted(segments, key=lambda s: s.pfn)
    pfn = np.array([s.pfn for s in ordered], np.int64)
    count = np.array([s.pages for s in ordered], np.int64)
    offset = np.array([s.offset for s in ordered], np.int64)
    return FileMemory(data, pfn, count, offset, page_size)
