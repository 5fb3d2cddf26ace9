"""Single allocations: where each block lies, its size, tag and state, and what is in it.

Small blocks come from the page walk, large ones from the big page table or, where there is none,
from the memory manager's marks (then without a tag). Everything streams: memory stays bounded
however many blocks a leak has left.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dumpscan.errors import UsageError
from dumpscan.image.physical import I64, U8, U64, Mask
from dumpscan.kernel.kernel import Kernel
from dumpscan.kernel.layouts import Layout
from dumpscan.pool.bigpages import BigPages, read_big_pages
from dumpscan.pool.chains import ChainWalker, KeyFormat
from dumpscan.pool.pagemap import PoolMap, PoolPages, map_pool
from dumpscan.pool.pages import BATCH, Batch, block_tags, searched, walk_batches
from dumpscan.pool.tables import find_tables
from dumpscan.pool.tags import decode_tags, matching_values
from dumpscan.pool.untracked import find_untracked
from dumpscan.records import record

UNTRACKED = "????"
"""Shown for large allocations that no table lists: neither tag nor owner is known."""


@record
class Filter:
    """Which allocations are wanted: tag patterns (any of), least size in bytes, pool, kind."""

    tags: tuple[str, ...] = ()
    min_size: int = 0
    pool: str | None = None
    big: bool | None = None

    def keep(self, tags: NDArray[np.uint32], sizes: I64, paged: Mask) -> Mask:
        """Which elements pass."""
        kept = sizes >= self.min_size
        if self.pool is not None:
            kept &= paged == (self.pool == "paged")
        if self.tags and bool(kept.any()):
            kept[kept] = matching_values(tags[kept], self.tags)
        return kept


@record
class Allocations:
    """A batch of allocations: arrays of one length, in the order of the ranges' addresses.

    ``va`` uint64 is the block's first byte, header included (large allocations have none);
    ``size`` int64 bytes likewise; ``tag`` uint32 without the protected bit; ``pool_type`` uint8 as
    stored (0 for large ones); ``state`` uint8 of PageState; ``header`` bytes before the content.
    """

    va: U64
    size: I64
    tag: NDArray[np.uint32]
    paged: Mask
    pool_type: U8
    state: U8
    big: bool
    header: int
    tracked: bool = True

    def names(self) -> list[str]:
        """The tags as text."""
        return decode_tags(self.tag) if self.tracked else [UNTRACKED] * len(self.va)


def allocations(kernel: Kernel, wanted: Filter | None = None) -> Iterator[Allocations]:
    """Every allocation in use that the image shows and ``wanted`` lets through, in batches.

    :raises UsageError: the filter names a pool that does not exist.
    """
    wanted = wanted or Filter()
    if wanted.pool not in (None, "paged", "nonpaged"):
        raise UsageError(f"unknown pool {wanted.pool!r}: choose paged or nonpaged")
    big = read_big_pages(kernel, find_tables(kernel))
    if kernel.layout is None:
        return
    if wanted.big is not True:
        yield from _small(kernel, kernel.layout, big, wanted)
    if wanted.big is not False:
        yield from _large(kernel, kernel.layout, big, wanted)


def _small(kernel: Kernel, layout: Layout, big: BigPages | None, wanted: Filter) -> Iterator[Allocations]:
    form, walker = KeyFormat(layout), ChainWalker(layout, BATCH)
    for pool in searched(kernel, big):
        for part in pool.parts:
            for batch in walk_batches(kernel, layout, part, locate=True, walker=walker):
                found = _blocks(layout, form, batch, wanted)
                if len(found.va):
                    yield found


def _blocks(layout: Layout, form: KeyFormat, batch: Batch, wanted: Filter) -> Allocations:
    chains = batch.chains
    tags = block_tags(layout, form, chains.keys)
    types, sizes = form.pool_type(chains.keys), form.size(chains.keys)
    paged = form.rules.paged[types]
    va = batch.part.pages.va[batch.index[chains.page]] + chains.offset.astype(np.uint64)
    kept = np.flatnonzero(wanted.keep(tags, sizes, paged))
    kept = kept[np.argsort(va[kept], kind="stable")]
    states = np.full(len(kept), batch.state, np.uint8)
    return Allocations(
        va[kept], sizes[kept], tags[kept], paged[kept], types[kept], states, False, form.header.header
    )


def _large(kernel: Kernel, layout: Layout, big: BigPages | None, wanted: Filter) -> Iterator[Allocations]:
    if big is not None:
        live = big.of(True)
        kept = wanted.keep(live.tag, live.size, live.paged)
        yield _big(kernel, live.va[kept], live.size[kept], live.tag[kept], live.paged[kept], True)
    elif not wanted.tags:
        pool = map_pool(kernel, None)
        found = find_untracked(pool, _foreign(kernel, layout, pool), None)
        size = found.pages * kernel.page_size
        tags = np.zeros(len(size), np.uint32)
        kept = wanted.keep(tags, size, found.paged)
        yield _big(kernel, found.va[kept], size[kept], tags[kept], found.paged[kept], False)


def _foreign(kernel: Kernel, layout: Layout, pool: PoolMap) -> U64:
    """Pages without a chain among those that marks call allocations of one page."""

    def of(part: PoolPages) -> Iterator[U64]:
        for batch in walk_batches(kernel, layout, part):
            yield part.pages.va[batch.index[~batch.chains.accepted]]

    vas = [va for part in pool.parts if part.marks is not None for va in of(part)]
    return np.concatenate([np.zeros(0, np.uint64), *vas])


def _big(
    kernel: Kernel, va: U64, size: I64, tag: NDArray[np.uint32], paged: Mask, tracked: bool
) -> Allocations:
    _, state = kernel.memory.translate(va)
    return Allocations(va, size, tag, paged, np.zeros(len(va), np.uint8), state, True, 0, tracked)


_CONTENT_LIMIT = 64 << 20


def read_content(kernel: Kernel, va: int, size: int, header: int) -> tuple[bytes, int]:
    """Content of an allocation (``va``, ``size``, ``header`` as in :class:`Allocations`), header left out.

    Bytes that are not in the image are zero; the second value counts them. At most 64 MB are read.
    """
    wanted = min(size - header, _CONTENT_LIMIT)
    if wanted <= 0:
        return b"", 0
    data, known = kernel.memory.read_masked(va + header, wanted)
    return data.tobytes(), int((~known).sum())
