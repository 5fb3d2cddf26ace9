"""What small and large allocations of chosen tags hold, gathered as arrays of rows.

Blocks come out by tag, pool and size, because blocks of one size are rows of one array and can be
compared all at once. The trap of the area: a block's size is its request rounded up, so the last
bytes of a row (less than one allocation unit) may be left over from an earlier owner; and only
resident blocks can be seen, what is paged out has no content here unless its page file was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
from numpy.typing import NDArray

from dumpscan.image.physical import I64, U8, U64, Mask, scattered
from dumpscan.kernel.kernel import Kernel
from dumpscan.kernel.layouts import Layout
from dumpscan.pool.allocations import Filter
from dumpscan.pool.bigpages import BigPages, read_big_pages
from dumpscan.pool.chains import ChainWalker, KeyFormat
from dumpscan.pool.pagemap import HELD_STATES, PoolMap, PoolPages, map_pool
from dumpscan.pool.pages import BATCH, Batch, block_tags, searched, walk_batches
from dumpscan.pool.tables import find_tables
from dumpscan.records import record, replace

_WORD = 8
_MOST_LARGE = 4096
"""Large allocations looked at: one page of each is read, 16 MB in all."""


@record
class Contents:
    """Blocks of one tag (uint32 value), pool and size.

    ``size`` counts bytes with the ``header`` of small blocks; ``rows`` is uint8, one row per block,
    without the header; of a large allocation only the first page. ``va`` are the blocks' first bytes.
    """

    tag: int
    paged: bool
    size: int
    header: int
    va: U64
    rows: U8


class ContentReader:
    """Reads the contents of the allocations that ``wanted`` lets through.

    With ``most_pages`` it walks only that many small-block pages of the pools' own ranges, evenly
    spread, and no large allocations. ``pages_read`` and ``pages_held`` (all that could be walked)
    are known after :meth:`batches` has ended; ``slack`` is the number of last bytes of a row that
    may belong to nobody.
    """

    def __init__(self, kernel: Kernel, wanted: Filter, most_pages: int | None = None) -> None:
        self.kernel, self.wanted, self.most_pages = kernel, wanted, most_pages
        self.pages_read = self.pages_held = 0
        self.large_left_out = 0
        self.slack = KeyFormat(kernel.layout).header.unit - 1 if kernel.layout else 0
        self.pointer_size = kernel.memory.pointer_size
        self._asked = {None: None, "paged": True, "nonpaged": False}[wanted.pool]

    @property
    def sampled(self) -> bool:
        """Were pages left out?"""
        return self.pages_read < self.pages_held

    def batches(self) -> Iterator[Contents]:
        """The contents, a batch of pages at a time. Nothing where the kernel's layouts are not known."""
        layout = self.kernel.layout
        if layout is None:
            return
        big = read_big_pages(self.kernel, find_tables(self.kernel))
        for pool in self._maps(big):
            yield from self._small(layout, pool)
        if big is not None and self.most_pages is None:
            yield from self._large(big)

    def _maps(self, big: BigPages | None) -> Iterator[PoolMap]:
        if self.most_pages is None:
            yield from searched(self.kernel, big)
        else:
            yield map_pool(self.kernel, big, self._asked)

    def _small(self, layout: Layout, pool: PoolMap) -> Iterator[Contents]:
        form, walker = KeyFormat(layout), ChainWalker(layout, min(BATCH, self.most_pages or BATCH))
        for part in self._chosen(pool):
            few = part.pages.pfn[part.small] if self.most_pages is not None else part.pages.pfn[:0]
            with scattered(self.kernel.memory.physical, few) if len(few) else nullcontext():
                for batch in walk_batches(self.kernel, layout, part, locate=True, walker=walker):
                    self.pages_read += len(batch.index)
                    yield from self._blocks(layout, form, batch)

    def _chosen(self, pool: PoolMap) -> list[PoolPages]:
        """The ranges to walk, thinned to the sample if one is asked for."""
        parts = [p for p in pool.parts if self._asked is None or p.where.paged in (self._asked, None)]
        held = [p.small & np.isin(p.pages.state, np.array(HELD_STATES, np.uint8)) for p in parts]
        total = sum(int(mask.sum()) for mask in held)
        self.pages_held += total
        if self.most_pages is None or total <= self.most_pages:
            return parts
        return [
            replace(p, small=_thinned(m, self.most_pages / total)) for p, m in zip(parts, held, strict=True)
        ]

    def _blocks(self, layout: Layout, form: KeyFormat, batch: Batch) -> Iterator[Contents]:
        chains = batch.chains
        tags = block_tags(layout, form, chains.keys)
        sizes = form.size(chains.keys)
        paged = form.rules.paged[form.pool_type(chains.keys)]
        kept = np.flatnonzero(self.wanted.keep(tags, sizes, paged) & (sizes > form.header.header))
        va = batch.part.pages.va[batch.index[chains.page[kept]]] + chains.offset[kept].astype(np.uint64)
        first = (chains.page[kept] * batch.pages.shape[1] + chains.offset[kept] + form.header.header) // _WORD
        words = batch.pages.reshape(-1).view("<u8")
        for rows, key in _classes(tags[kept], sizes[kept], paged[kept]):
            width = int(sizes[kept[rows[0]]]) - form.header.header
            yield Contents(*key, form.header.header, va[rows], _gather(words, first[rows], width))

    def _large(self, big: BigPages) -> Iterator[Contents]:
        live = big.of(True)
        kept = np.flatnonzero(self.wanted.keep(live.tag, live.size, live.paged))
        self.large_left_out = max(0, len(kept) - _MOST_LARGE)
        kept = kept[:_MOST_LARGE]
        kept = kept[self.kernel.memory.readable(live.va[kept])]
        pas, _ = self.kernel.memory.translate(live.va[kept])
        pfns = (pas // np.uint64(self.kernel.page_size)).astype(np.int64)
        pages, present = self.kernel.memory.physical.pages(pfns)
        kept, pages = kept[present], pages[present]
        for rows, key in _classes(live.tag[kept], live.size[kept], live.paged[kept]):
            width = min(int(live.size[kept[rows[0]]]), pages.shape[1]) // _WORD * _WORD
            if width:
                yield Contents(*key, 0, live.va[kept[rows]], pages[rows, :width])


def _thinned(mask: Mask, share: float) -> Mask:
    """About ``share`` of the set elements, evenly spread."""
    index = np.flatnonzero(mask)
    count = max(1, round(len(index) * share)) if len(index) else 0
    chosen = np.zeros(len(mask), np.bool_)
    chosen[index[((np.arange(count) + 0.5) * len(index) / max(count, 1)).astype(np.int64)]] = True
    return chosen


def _classes(
    tags: NDArray[np.uint32], sizes: I64, paged: Mask
) -> Iterator[tuple[I64, tuple[int, bool, int]]]:
    """Indices of blocks of one (tag, pool, size), with that key."""
    keys = (tags.astype(np.uint64) << np.uint64(32)) | (sizes.astype(np.uint64) << np.uint64(1)) | paged
    order = np.argsort(keys, kind="stable")
    unique, starts = np.unique(keys[order], return_index=True)
    for key, index in zip(unique.tolist(), np.split(order, starts[1:]) if len(order) else [], strict=True):
        yield index, (key >> 32, bool(key & 1), (key & 0xFFFF_FFFF) >> 1)


def _gather(words: U64, first: I64, width: int) -> U8:
    """Rows of ``width`` bytes (a multiple of eight) that start at word ``first``."""
    count = width // _WORD
    windows = np.lib.stride_tricks.as_strided(
        words, (len(words) - count + 1, count), (_WORD, _WORD), writeable=False
    )
    return np.ascontiguousarray(windows[first]).view(np.uint8).reshape(len(first), width)
