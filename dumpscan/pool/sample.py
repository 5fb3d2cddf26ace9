"""Pool figures from a random sample of the resident pool pages: what a census costs at most.

The pages that a whole walk would read (:mod:`dumpscan.pool.pagemap`) are divided into strata, by
address range and by the state of their page table entry. From the strata of each pool up to
:data:`SAMPLE_PAGES` pages are drawn without replacement, in proportion to their sizes, and their
chains walked; totals by tag and pool are estimated with 95 % intervals
(:mod:`dumpscan.pool.intervals`). The draw depends on nothing but the seed and the number of pages:
the same image gives the same answer, with every version of numpy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dumpscan.image.physical import I64, U64, Mask, scattered
from dumpscan.kernel.kernel import Kernel
from dumpscan.kernel.layouts import Layout
from dumpscan.model import Interval, SampledPool
from dumpscan.pool.bigpages import BigPages
from dumpscan.pool.chains import ChainWalker, KeyFormat
from dumpscan.pool.intervals import F64, Estimate, Stratum, estimate, unseen_pages
from dumpscan.pool.pagemap import HELD_STATES, PoolMap, PoolPages
from dumpscan.pool.pages import BATCH, Batch, Progress, block_tags, damaged_pages, searched, walk_batches
from dumpscan.records import record, replace

SAMPLE_PAGES = 2048
"""Pages of each pool: 8 MB. Totals of a tag on every page are known to a few per cent."""

SEED = 950162
_LEAST = 32
"""Pages of each stratum at least, where it has them: below that its spread is not known well."""

_POOLS = (("paged", True), ("nonpaged", False))


@record
class Sample:
    """Estimates by tag and pool: arrays of one length. ``tag`` uint32 (protected bit stripped),
    ``paged`` bool. ``pools`` say how much was read; ``damaged`` pages are among it and not counted."""

    tag: NDArray[np.uint32]
    paged: Mask
    count: Estimate
    bytes: Estimate
    pool: PoolMap
    pools: dict[str, SampledPool]
    damaged: int = 0
    notes: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Was every page read?"""
        return all(each.pages == each.pages_held for each in self.pools.values())


class _Drawn(NamedTuple):
    """One stratum: its range, its number of pages, and which of the range's pages were drawn."""

    part: PoolPages
    pages: int
    chosen: I64


class _Counted(NamedTuple):
    """What the pages drawn from one stratum hold: an element for each tag, pool and page.

    ``key`` is (tag << 1) | paged. ``small`` counts pages of small blocks by pool.
    """

    drawn: _Drawn
    taken: int
    key: U64
    blocks: F64
    octets: F64
    small: dict[str, int]
    damaged: int


def take_sample(
    kernel: Kernel,
    big: BigPages | None,
    progress: Progress | None = None,
    *,
    pages: int = SAMPLE_PAGES,
    seed: int = SEED,
) -> Sample | None:
    """Sample at most ``pages`` pages of each pool; None where the kernel's layouts are not known."""
    if kernel.layout is None:
        return None
    maps: list[PoolMap] = []
    strata: list[_Counted] = []
    small = {"paged": 0, "nonpaged": 0}
    for pool in searched(kernel, big, small):
        maps.append(pool)
        drawn = draw(pool, pages, seed)
        for number, each in enumerate(drawn):
            strata.append(_count(kernel, kernel.layout, each))
            if progress is not None:
                progress("sampled strata", number + 1, len(drawn))
        small.update(_small_pages(strata))
    notes = [note for pool in maps for note in pool.notes]
    if len(maps) > 1:
        notes.append("pages outside the pools' own ranges were sampled too")
    return _result(kernel.layout, strata, maps[0], tuple(notes))


# -- the draw -------------------------------------------------------------------------------------


def draw(pool: PoolMap, pages: int, seed: int = SEED) -> list[_Drawn]:
    """Draw ``pages`` pages of each pool (and of ranges that may hold either), by strata."""
    drawn: list[_Drawn] = []
    for paged in (True, False, None):
        held = [
            (part, np.flatnonzero(part.small & (part.pages.state == state)))
            for part in pool.of(paged)
            for state in HELD_STATES
        ]
        held = [(part, index) for part, index in held if len(index)]
        for (part, index), take in zip(held, allot([len(i) for _, i in held], pages), strict=True):
            drawn.append(_Drawn(part, len(index), index[choose(len(index), take, seed + len(drawn))]))
    return drawn


def allot(sizes: list[int], pages: int) -> list[int]:
    """How many of ``pages`` each stratum gets: in proportion to its size, none too few to judge by."""
    if sum(sizes) <= pages:
        return sizes
    least = max(2, min(_LEAST, pages // (2 * len(sizes))))
    given = [min(size, least) for size in sizes]
    rest = max(0, pages - sum(given))
    left = sum(sizes) - sum(given)
    return [g + (size - g) * rest // left for g, size in zip(given, sizes, strict=True)]


def choose(count: int, take: int, seed: int) -> I64:
    """``take`` different numbers below ``count``, ascending, each set equally likely.

    Those with the smallest of pseudo-random keys (splitmix64), which no library may change.
    """
    if take >= count:
        return np.arange(count, dtype=np.int64)
    start = np.uint64(seed * 0x2545_F491_4F6C_DD1D & 0xFFFF_FFFF_FFFF_FFFF)
    key = start + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E37_79B9_7F4A_7C15)
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    key ^= key >> np.uint64(31)
    return np.sort(np.argpartition(key, take)[:take]).astype(np.int64)


# -- counting -------------------------------------------------------------------------------------


def _count(kernel: Kernel, layout: Layout, drawn: _Drawn) -> _Counted:
    """Walk the pages drawn; a page without a sound chain holds nothing, as in a walk of all."""
    form, walker = KeyFormat(layout), ChainWalker(layout, min(BATCH, max(1, len(drawn.chosen))))
    keys, sizes, owners = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    small, taken, damaged = {"paged": 0, "nonpaged": 0}, 0, 0
    for batch in _batches(kernel, layout, drawn, walker):
        chains = batch.chains
        tags = block_tags(layout, form, chains.keys).astype(np.uint64)
        keys.append((tags << np.uint64(1)) | form.rules.paged[form.pool_type(chains.keys)])
        sizes.append(form.size(chains.keys))
        owners.append(chains.page + taken)
        taken += len(batch.index)
        damaged += int(damaged_pages(walker.form, batch).sum())
        kinds = chains.paged[chains.accepted]
        paged = int((kinds == 1).sum()) + (int((kinds == -1).sum()) if drawn.part.where.paged else 0)
        small["paged"] += paged
        small["nonpaged"] += len(kinds) - paged
    columns = _by_page(np.concatenate(keys), np.concatenate(sizes), np.concatenate(owners), taken)
    return _Counted(drawn, taken, *columns, small, damaged)


def _batches(kernel: Kernel, layout: Layout, drawn: _Drawn, walker: ChainWalker) -> Iterator[Batch]:
    wanted = np.zeros(len(drawn.part.small), np.bool_)
    wanted[drawn.chosen] = True
    with scattered(kernel.memory.physical, drawn.part.pages.pfn[drawn.chosen]):
        part = replace(drawn.part, small=wanted)
        yield from walk_batches(kernel, layout, part, locate=True, walker=walker)


def _by_page(keys: U64, sizes: I64, owners: I64, pages: int) -> tuple[U64, F64, F64]:
    """Blocks and bytes by key and page, from single blocks."""
    unique, which = np.unique(keys, return_inverse=True)
    pairs, inverse, count = np.unique(
        which.reshape(-1) * max(pages, 1) + owners, return_inverse=True, return_counts=True
    )
    octets = _weighed(inverse.reshape(-1), sizes.astype(np.float64), len(pairs))
    return unique[pairs // max(pages, 1)], count.astype(np.float64), octets


def _weighed(slot: NDArray[np.intp], weights: F64, size: int) -> F64:
    """Sums of ``weights`` by slot."""
    return np.bincount(slot, weights=weights, minlength=size).astype(np.float64, copy=False)


def _small_pages(strata: list[_Counted]) -> dict[str, int]:
    """Pages of small blocks by pool: upper ends of intervals, so that chance does not look like a gap."""
    kinds, sums = np.array([True, False]), []
    for each in strata:
        found = np.array([each.small["paged"], each.small["nonpaged"]], np.float64)
        most = _may_hold(each, kinds).astype(np.float64)
        sums.append(Stratum(each.drawn.pages, each.taken, found, found, most))
    high = estimate(sums, 2).high.tolist()
    return {"paged": high[0], "nonpaged": high[1]}


# -- estimates ------------------------------------------------------------------------------------


def _result(layout: Layout, strata: list[_Counted], pool: PoolMap, notes: tuple[str, ...]) -> Sample:
    keys = np.unique(np.concatenate([np.zeros(0, np.uint64), *(s.key for s in strata)]))
    paged = (keys & np.uint64(1)).astype(np.bool_)
    blocks = _sums(strata, keys, [s.blocks for s in strata])
    octets = _sums(strata, keys, [s.octets for s in strata])
    page = layout.page_size
    packed = page / np.maximum(octets / np.maximum(blocks, 1), 1)
    count = [_stratum(s, s.blocks, keys, np.where(_may_hold(s, paged), packed, 0)) for s in strata]
    size = [_stratum(s, s.octets, keys, np.where(_may_hold(s, paged), page, 0)) for s in strata]
    return Sample(
        (keys >> np.uint64(1)).astype(np.uint32),
        paged,
        estimate(count, len(keys)),
        estimate(size, len(keys)),
        pool,
        {name: _sampled(layout, strata, kind) for name, kind in _POOLS},
        sum(s.damaged for s in strata),
        notes,
    )


def _sums(strata: list[_Counted], keys: U64, weights: list[F64]) -> F64:
    """What was seen of each key in all strata."""
    totals = np.zeros(len(keys))
    for each, column in zip(strata, weights, strict=True):
        totals += _weighed(np.searchsorted(keys, each.key), column, len(keys))
    return totals


def _may_hold(stratum: _Counted, paged: Mask) -> Mask:
    """Which keys belong to the stratum's pool; blocks of the other one are strays there."""
    kind = stratum.drawn.part.where.paged
    return np.ones(len(paged), np.bool_) if kind is None else paged == kind


def _stratum(found: _Counted, weights: F64, keys: U64, full: F64) -> Stratum:
    slot = np.searchsorted(keys, found.key)
    most = np.zeros(len(keys))
    np.maximum.at(most, slot, weights)
    total, squares = _weighed(slot, weights, len(keys)), _weighed(slot, weights**2, len(keys))
    return Stratum(found.drawn.pages, found.taken, total, squares, np.maximum(most, full))


def _sampled(layout: Layout, strata: list[_Counted], paged: bool) -> SampledPool:
    mine = [(s.drawn.pages, s.taken) for s in strata if s.drawn.part.where.paged in (paged, None)]
    unseen = unseen_pages(mine)
    smallest = 2 * KeyFormat(layout).header.unit
    most = Interval(0, unseen * (layout.page_size // smallest), 0, unseen * layout.page_size)
    return SampledPool(sum(t for _, t in mine), sum(n for n, _ in mine), unseen, most)
