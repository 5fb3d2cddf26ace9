"""Physical memory in compressed blocks of several pages, decompressed when a page is asked for.

The last thousand blocks stay decompressed (64 MB where a block has 16 pages). A block that does not
decompress makes its pages absent from then on.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dumpscan.errors import AbsentMemory
from dumpscan.image.physical import I64, U8, Mask, Runs
from dumpscan.image.source import PAGE

CACHED_BLOCKS = 1024
_LAST_PAGE = (1 << 63) - 1


class Places(NamedTuple):
    """Ranges ascending by page frame and disjoint; ``ordinal`` counts pages over all blocks.

    Block ``k`` holds the pages ``first[k]`` to ``first[k] + pages[k]`` by ordinal, as ``size[k]``
    bytes at file offset ``offset[k]``.
    """

    pfn: I64
    length: I64
    ordinal: I64
    first: I64
    pages: I64
    offset: I64
    size: I64


class PackedMemory:
    """See :class:`dumpscan.image.physical.PhysicalMemory`. ``data`` is the whole file as uint8.

    A format says in :meth:`_decompressed` what a block of its holds.
    """

    page_size = PAGE

    def __init__(self, data: U8, places: Places) -> None:
        self._data = data
        self._places = places
        self._cache: OrderedDict[int, U8] = OrderedDict()
        self._bad = np.zeros(len(places.first), np.bool_)

    @property
    def cached_blocks(self) -> int:
        """Blocks that are decompressed now."""
        return len(self._cache)

    def runs(self) -> Runs:
        """See :meth:`PhysicalMemory.runs`."""
        return Runs(self._places.pfn, self._places.length)

    def present(self, pfns: NDArray[Any]) -> Mask:
        """See :meth:`PhysicalMemory.present`."""
        return self._locate(pfns)[2]

    def pages(self, pfns: NDArray[Any], out: U8 | None = None) -> tuple[U8, Mask]:
        """See :meth:`PhysicalMemory.pages`. Each block is decompressed once, whatever the order."""
        block, inside, mask = self._locate(pfns)
        if out is None:
            out = np.empty((len(block), PAGE), np.uint8)
        out = out[: len(block)]
        rows = np.flatnonzero(mask)
        rows = rows[np.argsort(block[rows], kind="stable")]
        cuts = np.flatnonzero(np.diff(block[rows])) + 1
        for some in np.split(rows, cuts) if len(rows) else ():
            plain = self._block(int(block[some[0]]))
            if plain is None:
                mask[some] = False
            else:
                out[some] = plain[inside[some]]
        return out, mask

    def read(self, pa: int, n: int) -> bytes:
        """See :meth:`PhysicalMemory.read`."""
        parts = []
        while n > 0:
            offset = pa % PAGE
            page = self._page(pa // PAGE)
            if page is None:
                raise AbsentMemory(pa, n, physical=True)
            parts.append(page[offset : offset + n].tobytes())
            step = PAGE - offset
            pa, n = pa + step, n - step
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _page(self, pfn: int) -> U8 | None:
        places = self._places
        if not len(places.pfn) or not 0 <= pfn <= _LAST_PAGE:
            return None
        slot = int(places.pfn.searchsorted(pfn, "right")) - 1
        within = pfn - int(places.pfn[slot])
        if slot < 0 or within >= int(places.length[slot]):
            return None
        ordinal = int(places.ordinal[slot]) + within
        block = int(places.first.searchsorted(ordinal, "right")) - 1
        plain = self._block(block)
        return None if plain is None else plain[ordinal - int(places.first[block])]

    def _locate(self, pfns: NDArray[Any]) -> tuple[I64, I64, Mask]:
        """Block of each page, page within the block (both unspecified where absent), and the mask."""
        places = self._places
        wanted = np.asarray(pfns).astype(np.int64, copy=False)
        if not len(places.pfn):
            return np.zeros(wanted.shape, np.int64), np.zeros(wanted.shape, np.int64), wanted != wanted
        slot = np.maximum(np.searchsorted(places.pfn, wanted, side="right") - 1, 0)
        within = wanted - places.pfn[slot]
        mask = (within >= 0) & (within < places.length[slot])
        ordinal = places.ordinal[slot] + np.where(mask, within, 0)
        block = np.searchsorted(places.first, ordinal, side="right") - 1
        return block, ordinal - places.first[block], mask & ~self._bad[block]

    def _block(self, number: int) -> U8 | None:
        """The pages of a block, one a row; None when it does not decompress."""
        found = self._cache.get(number)
        if found is not None:
            self._cache.move_to_end(number)
            return found
        if self._bad[number]:
            return None
        at, size, pages = (
            int(column[number]) for column in (self._places.offset, self._places.size, self._places.pages)
        )
        plain = self._decompressed(number, self._data[at : at + size], pages * PAGE)
        if plain is None:
            self._bad[number] = True
            return None
        found = self._cache[number] = np.frombuffer(plain, np.uint8).reshape(pages, PAGE)
        if len(self._cache) > CACHED_BLOCKS:
            self._cache.popitem(last=False)
        return found

    def _decompressed(self, number: int, raw: U8, length: int) -> U8 | bytes | bytearray | None:
        """The ``length`` bytes of a block, of which ``raw`` is in the file; None when it is damaged."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the file: every page is absent from then on."""
        nothing = np.zeros(0, np.int64)
        self._cache.clear()
        self._data = np.zeros(0, np.uint8)
        self._places = Places(*(nothing,) * len(Places._fields))
