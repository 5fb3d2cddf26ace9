"""What a report draws: sizes of chosen tags' blocks, and each pool's pages by address.

One located walk of the pool pages answers both. Large pools are walked in part, evenly spread, so
that a report's time is bounded; the share is told. A page has one sign: the tag that holds most of
it, or why there is none (see :class:`dumpscan.model_pictures.PoolMap`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dumpscan.image.physical import I64, U8, Mask
from dumpscan.kernel.kernel import Kernel
from dumpscan.kernel.layouts import Layout
from dumpscan.memory.c_pte import PageState
from dumpscan.model import TagUse
from dumpscan.model_pictures import Histogram, MapSegment, Pictures, PoolMap, SizeCount
from dumpscan.pool.bigpages import BigPages, read_big_pages
from dumpscan.pool.chains import ChainWalker, KeyFormat
from dumpscan.pool.pagemap import PoolPages
from dumpscan.pool.pages import BATCH, Batch, block_tags, searched, walk_batches
from dumpscan.pool.tables import find_tables
from dumpscan.pool.tags import encode_tag
from dumpscan.records import record, replace

MOST_PAGES = 1 << 15
"""Small-block pages walked at most: 128 MB, a fifth of a second."""

_CELLS = 4096
_ROW = 128
_SEGMENTS = 48
_COLOURED = 8

_SIGNS = ".-xp?o&"
_UNUSED, _FREE, _ABSENT, _AWAY, _UNREAD, _OTHER, _TOGETHER = range(len(_SIGNS))
_FIRST_TAG = len(_SIGNS)
_UNWALKED = 255
_ALONE = 0.75
"""Share of the signature's bytes in a page above which one of its tags names the page alone."""

_BY_STATE = np.full(len(PageState), _UNREAD, np.uint8)
_BY_STATE[[PageState.NONE, PageState.DEMAND_ZERO]] = _UNUSED
_BY_STATE[[PageState.PAGEFILE, PageState.PROTOTYPE]] = _AWAY
_BY_STATE[PageState.ABSENT] = _ABSENT


@record
class _Scheme:
    """Which tags get a letter of their own in a pool; the first ``counted`` get a histogram."""

    tags: tuple[str, ...]
    counted: int

    def codes(self, values: NDArray[np.uint32]) -> I64:
        """The code of each stored tag."""
        found = np.full(len(values), _OTHER, np.int64)
        for index, tag in enumerate(self.tags):
            found[values == np.uint32(encode_tag(tag))] = _FIRST_TAG + index
        return found

    def signs(self, held: NDArray[np.float64], page_size: int = 4096) -> I64:
        """The sign of each page from its bytes by code: what holds most of it.

        The signature's tags count together; a page that they share has a sign of its own.
        """
        own = held[:, _FIRST_TAG : _FIRST_TAG + self.counted]
        together = own.sum(axis=1)
        rest = held.copy()
        rest[:, _FIRST_TAG : _FIRST_TAG + self.counted] = 0
        rest[:, _FREE] = page_size - held.sum(axis=1)
        signs: I64 = rest.argmax(axis=1)
        mine = together > rest.max(axis=1)
        alone = own[mine].max(axis=1) >= _ALONE * together[mine]
        signs[mine] = np.where(alone, _FIRST_TAG + own[mine].argmax(axis=1), _TOGETHER)
        return signs


def draw(kernel: Kernel, uses: Sequence[TagUse], signature: Sequence[str]) -> Pictures | None:
    """Histograms of the ``signature``'s tags and maps of both pools, whose largest tags ``uses`` tell.

    None where the pools' ranges or the kernel's layouts are not known.
    """
    if kernel.layout is None:
        return None
    big = read_big_pages(kernel, find_tables(kernel))
    schemes = {paged: _scheme(uses, signature, paged) for paged in (False, True)}
    work = _Work(kernel, kernel.layout, big, schemes)
    parts = [part for pool in searched(kernel, big) for part in pool.parts]
    held = sum(int(part.small.sum()) for part in parts)
    stride = max(1, -(-held // MOST_PAGES))
    for part in parts:
        work.take(part, stride)
    if not work.pages:
        return None
    maps = tuple(work.map(paged) for paged in (True, False) if any(p is paged for _, p, _ in work.pages))
    return Pictures(work.histograms(), maps, work.walked / held if held else None)


def _scheme(uses: Sequence[TagUse], signature: Sequence[str], paged: bool) -> _Scheme:
    def size(use: TagUse) -> int:
        part = use.paged if paged else use.nonpaged
        return part.bytes + (part.big.bytes if use.source != "tracker" and part.big else 0)

    largest = [use.tag for use in sorted(uses, key=size, reverse=True) if size(use)]
    others = [tag for tag in largest if tag not in signature][: _COLOURED - len(signature)]
    return _Scheme((*signature, *others), len(signature))


class _Work:
    """The running state: signs of pages, and counts of sizes by (code, size)."""

    def __init__(
        self, kernel: Kernel, layout: Layout, big: BigPages | None, schemes: Mapping[bool, _Scheme]
    ) -> None:
        self.kernel, self.layout, self.schemes = kernel, layout, schemes
        self.big = big.of(True) if big else None
        self.form, self.walker = KeyFormat(layout), ChainWalker(layout, BATCH)
        self.pages: list[tuple[I64, bool, U8]] = []  # page numbers, paged, signs
        self.sizes: dict[tuple[bool, int, int], int] = {}
        self.walked = 0
        if self.big is not None:
            self._count_large(self.big)

    def take(self, part: PoolPages, stride: int) -> None:
        """Give each page of a range its sign. In ranges of either kind only small blocks count."""
        signs = _BY_STATE[part.pages.state]
        signs[~part.present & (signs == _UNREAD)] = _ABSENT
        signs[part.present & (signs == _AWAY)] = _UNREAD
        signs[part.small] = _UNWALKED
        chosen = np.zeros(len(signs), np.bool_)
        chosen[np.flatnonzero(part.small)[::stride]] = True
        paged = np.full(len(signs), part.where.paged is not False)
        seen = np.zeros(len(signs), np.bool_)
        walk = walk_batches(
            self.kernel, self.layout, replace(part, small=chosen), locate=True, walker=self.walker
        )
        for batch in walk:
            self._batch(batch, signs, paged, seen)
        if self.big is not None:
            self._mark_large(part, self.big, signs, seen, paged)
        numbers = (part.pages.va // np.uint64(self.kernel.page_size)).astype(np.int64)
        wanted = seen if part.where.paged is None else np.ones(len(signs), np.bool_)
        for kind in (False, True):
            keep = wanted & (paged == kind)
            if bool(keep.any()):
                self.pages.append((numbers[keep], kind, signs[keep]))

    def _batch(self, batch: Batch, signs: U8, paged: Mask, seen: Mask) -> None:
        chains, count = batch.chains, len(batch.index)
        self.walked += count
        signs[batch.index[~chains.accepted]] = _UNREAD
        kind = batch.part.where.paged is not False
        pools = np.where(chains.paged < 0, kind, chains.paged == 1)
        tags = block_tags(self.layout, self.form, chains.keys)
        sizes = self.form.size(chains.keys)
        for pool, scheme in self.schemes.items():
            mine = pools[chains.page] == pool
            codes, page = scheme.codes(tags[mine]), chains.page[mine]
            width = _FIRST_TAG + len(scheme.tags)
            held = np.bincount(page * width + codes, sizes[mine], count * width).reshape(count, width)
            here = chains.accepted & (pools == pool)
            signs[batch.index[here]] = scheme.signs(held[here], self.kernel.page_size)
            self._count(pool, scheme, codes, sizes[mine])
        paged[batch.index] = pools
        seen[batch.index[chains.accepted]] = True

    def _count(self, pool: bool, scheme: _Scheme, codes: I64, sizes: I64) -> None:
        chosen = (codes >= _FIRST_TAG) & (codes < _FIRST_TAG + scheme.counted)
        keys, counts = np.unique(codes[chosen] << 32 | sizes[chosen], return_counts=True)
        for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
            slot = (pool, key >> 32, key & 0xFFFF_FFFF)
            self.sizes[slot] = self.sizes.get(slot, 0) + count

    def _count_large(self, big: BigPages) -> None:
        for pool, scheme in self.schemes.items():
            mine = big.paged == pool
            self._count(pool, scheme, scheme.codes(big.tag[mine]), np.minimum(big.size[mine], 0xFFFF_FFFF))

    def _mark_large(self, part: PoolPages, big: BigPages, signs: U8, seen: Mask, paged: Mask) -> None:
        """Pages of large allocations that the image holds get their allocation's tag."""
        if not len(big.va):
            return
        slot = np.maximum(np.searchsorted(big.va, part.pages.va, side="right") - 1, 0)
        end = big.va[slot] + big.size[slot].astype(np.uint64)
        inside = (part.pages.va >= big.va[slot]) & (part.pages.va < end) & part.present & ~seen
        index = np.flatnonzero(inside)
        for pool, scheme in self.schemes.items():
            mine = index[big.paged[slot[index]] == pool]
            signs[mine] = scheme.codes(big.tag[slot[mine]])
            paged[mine], seen[mine] = pool, True

    def histograms(self) -> tuple[Histogram, ...]:
        """Sizes of the signature's tags where there are any."""
        found: dict[tuple[bool, int], list[SizeCount]] = {}
        for (pool, code, size), count in sorted(self.sizes.items()):
            found.setdefault((pool, code), []).append(SizeCount(size, count))
        return tuple(
            Histogram(self.schemes[pool].tags[code - _FIRST_TAG], _name(pool), tuple(sizes))
            for (pool, code), sizes in sorted(found.items(), key=lambda item: (not item[0][0], item[0][1]))
        )

    def map(self, paged: bool) -> PoolMap:
        """The pool's pages as segments of cells."""
        mine = [(numbers, signs) for numbers, kind, signs in self.pages if kind is paged]
        numbers = np.concatenate([numbers for numbers, _ in mine])
        signs = np.concatenate([signs for _, signs in mine])
        keep = (signs != _UNWALKED) & (signs != _UNUSED)
        numbers, signs = numbers[keep], signs[keep]
        per_cell = 1 << max(0, (max(len(numbers), 1) - 1).bit_length() - _CELLS.bit_length() + 1)
        tags = self.schemes[paged].tags
        letters = _SIGNS + "".join(chr(ord("A") + index) for index in range(len(tags)))
        segments, omitted = _segments(numbers, signs, per_cell, letters, self.kernel.page_size)
        counts = np.bincount(signs, minlength=len(letters)).tolist()
        return PoolMap(
            _name(paged),
            per_cell,
            dict(zip(letters[_FIRST_TAG:], tags, strict=True)),
            {letter: count for letter, count in zip(letters, counts, strict=True) if count},
            segments,
            omitted,
            self.kernel.page_size,
        )


def _name(paged: bool) -> str:
    return "paged" if paged else "nonpaged"


def _segments(
    numbers: I64, signs: U8, per_cell: int, letters: str, page_size: int = 4096
) -> tuple[tuple[MapSegment, ...], int]:
    """Cells by the sign of most of their pages, cut where a whole row of cells would be empty.

    The second value counts pages of segments left out because there are too many.
    """
    if not len(numbers):
        return (), 0
    cells, index = np.unique(numbers // per_cell, return_inverse=True)
    votes = np.bincount(index * len(letters) + signs, minlength=len(cells) * len(letters))
    votes = votes.reshape(len(cells), -1)
    winner = votes.argmax(axis=1)
    cuts = np.flatnonzero(np.diff(cells) > _ROW) + 1
    groups = np.split(np.arange(len(cells)), cuts)
    kept = sorted(sorted(groups, key=len, reverse=True)[:_SEGMENTS], key=lambda group: int(group[0]))
    listed = sum(int(votes[group].sum()) for group in kept)
    bytes_per_cell = per_cell * page_size
    segments = (_segment(cells[group], winner[group], bytes_per_cell, letters) for group in kept)
    return tuple(segments), len(numbers) - listed


def _segment(cells: I64, winner: I64, bytes_per_cell: int, letters: str) -> MapSegment:
    first = int(cells[0])
    row = np.full(int(cells[-1]) - first + 1, _UNUSED)
    row[cells - first] = winner
    return MapSegment(hex(first * bytes_per_cell), "".join(letters[code] for code in row.tolist()))
