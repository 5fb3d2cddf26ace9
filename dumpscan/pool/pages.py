"""Every allocation below a page, from the pool pages themselves: the walk that needs no table.

Counts what the headers of resident small-block pages mark as in use (facts/pool-algorithms.md
section 6). Freed blocks that lookaside lists keep have that mark clear and are not counted, which
is what makes these figures match the tracker's. What is paged out cannot be seen: it is counted in
pages, by :class:`~dumpscan.model.PageStates`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dumpscan.image.physical import I64, U8, U64, Mask, mapped_words
from dumpscan.kernel.kernel import Kernel
from dumpscan.kernel.layouts import Layout
from dumpscan.memory.c_pte import PageState
from dumpscan.pool.bigpages import BigPages
from dumpscan.pool.c_pool import HeaderFormat, quota_replaces_tag
from dumpscan.pool.chains import Chains, ChainWalker, KeyFormat
from dumpscan.pool.limits import Descriptors, read_descriptors
from dumpscan.pool.pagemap import HELD_STATES, PoolMap, PoolPages, map_pool, widen
from dumpscan.pool.tags import QUOTA_UNKNOWN, encode_tag, printable, strip_protected
from dumpscan.pool.tally import Tally
from dumpscan.records import record

BATCH = 1024
"""Pages read and walked at a time: 4 MB, so that headers are still in the cache when stepped."""

Progress = Callable[[str, int, int], None]


@record
class BlockCounts:
    """In-use small blocks: arrays of one length, one element per (pool, state, tag, size).

    ``tag`` uint32 (protected bit stripped), ``paged`` bool, ``state`` uint8 of the pages' PageState,
    ``size`` int64 bytes with header, ``count`` int64 blocks. A histogram of sizes by tag.
    """

    tag: NDArray[np.uint32]
    paged: Mask
    state: U8
    size: I64
    count: I64


class DamagedPages(NamedTuple):
    """Pages whose chain began soundly and broke: address, and bytes up to the break."""

    va: U64
    reach: NDArray[np.int32]


@record
class WalkResult:
    """What the walk found. ``small_pages`` counts accepted pages by pool; ``foreign`` holds the
    addresses of walked pages without any chain (large allocations that no table lists, free pages).
    ``wider`` maps ranges beyond the pools' variables, where those had to be searched."""

    blocks: BlockCounts
    pool: PoolMap
    small_pages: dict[str, int]
    damaged: DamagedPages
    foreign: U64
    walked: int
    notes: tuple[str, ...] = ()
    wider: PoolMap | None = None


@record
class Batch:
    """One batch of walked pages: their index in the range, their state, their chains, the first word of
    each, and their contents, where these were read whole."""

    part: PoolPages
    index: I64
    state: PageState
    chains: Chains
    heads: I64
    pages: U8


def walk_batches(
    kernel: Kernel, layout: Layout, part: PoolPages, locate: bool = False, walker: ChainWalker | None = None
) -> Iterator[Batch]:
    """Walk the pages of one range, valid ones first, then those in transition, then those in page files.

    With ``locate``, batches come in the order of addresses, say where each block lies, and hold the
    pages' contents. The arrays of a batch are only good until the next one is asked for.
    """
    walker = walker or ChainWalker(layout, BATCH)
    scratch = np.empty((walker.batch, walker.page_size), np.uint8)
    for state in HELD_STATES:
        chosen = np.flatnonzero(part.small & (part.pages.state == state))
        if not locate:
            # In the file's order, which costs the fewest page faults.
            chosen = chosen[np.argsort(part.pages.pfn[chosen], kind="stable")]
        for at in range(0, len(chosen), walker.batch):
            index = chosen[at : at + walker.batch]
            pfns = part.pages.pfn[index]
            found = None if locate else mapped_words(kernel.memory.physical, pfns)
            if found is not None:
                start, index = found.start[found.present], index[found.present]
                chains = walker.walk_in_place(found.words, start)
                yield Batch(part, index, state, chains, found.words.take(start), scratch[:0])
                continue
            rows, present = kernel.memory.physical.pages(pfns, out=scratch)
            if not bool(present.all()):
                rows, index = rows[present], index[present]
            heads = rows[:, :8].copy().view("<i8").reshape(-1)
            yield Batch(part, index, state, walker.walk(rows, locate), heads, rows)


def walk_pool(kernel: Kernel, big: BigPages | None, progress: Progress | None = None) -> WalkResult | None:
    """Walk every resident small-block page; None where the kernel's layouts are not known."""
    if kernel.layout is None:
        return None
    work = _Work(kernel, kernel.layout, progress)
    maps: list[PoolMap] = []
    for pool in searched(kernel, big, work.small):
        maps.append(pool)
        work.walk(pool)
    return work.result(maps)


def searched(kernel: Kernel, big: BigPages | None, small: dict[str, int] | None = None) -> Iterator[PoolMap]:
    """The maps to walk: the pools' own ranges, then, where these cannot be all, the rest of Vista
    x86's system space. ``small`` counts the small-block pages found, by pool; it is looked at when
    the first map has been walked. Without it the rest is always given.
    """
    pool = map_pool(kernel, big)
    yield pool
    if small is None or _incomplete(pool, small, read_descriptors(kernel)):
        wider = widen(kernel, pool, big)
        if wider is not None:
            yield wider


def _incomplete(pool: PoolMap, small: dict[str, int], descriptors: Descriptors) -> bool:
    """Does the kernel count more small-block pages than were found or may be out of the image?"""
    for name, paged, total in (
        ("paged", True, descriptors.paged_small), ("nonpaged", False, descriptors.nonpaged_small)
    ):
        away = sum(int((~part.present).sum()) for part in pool.of(paged))
        if total is None or small[name] + away < total:
            return True
    return False


class _Work:
    """The running counts of a walk."""

    def __init__(self, kernel: Kernel, layout: Layout, progress: Progress | None) -> None:
        self.kernel, self.layout, self.progress = kernel, layout, progress
        self.walker = ChainWalker(layout, BATCH)
        self.tallies = {state: Tally() for state in HELD_STATES}
        self.small = {"paged": 0, "nonpaged": 0}
        self.damaged: list[tuple[U64, NDArray[np.int32]]] = []
        self.found: list[int] = []
        self.foreign: list[U64] = []
        self.walked = 0

    def walk(self, pool: PoolMap) -> None:
        total = sum(int(part.small.sum()) for part in pool.parts)
        done, before = 0, sum(self.small.values())
        for part in pool.parts:
            for batch in walk_batches(self.kernel, self.layout, part, walker=self.walker):
                self._take(batch)
                done += len(batch.index)
                if self.progress is not None:
                    self.progress("pool pages", done, total)
        self.found.append(sum(self.small.values()) - before)

    def _take(self, batch: Batch) -> None:
        chains = batch.chains
        self.tallies[batch.state].add(chains.keys)
        self.walked += len(batch.index)
        kinds = chains.paged[chains.accepted]
        paged = int((kinds == 1).sum()) + (int((kinds == -1).sum()) if batch.part.where.paged else 0)
        self.small["paged"] += paged
        self.small["nonpaged"] += len(kinds) - paged
        if len(kinds) < len(batch.index):
            self._reject(batch)

    def _reject(self, batch: Batch) -> None:
        """Tell damaged small-block pages from pages that never were any."""
        refused, damaged = ~batch.chains.accepted, damaged_pages(self.walker.form, batch)
        if bool(damaged.any()):
            vas = batch.part.pages.va[batch.index[damaged]]
            self.damaged.append((vas, batch.chains.reach[damaged]))
        self.foreign.append(batch.part.pages.va[batch.index[refused & ~damaged]])

    def result(self, maps: list[PoolMap]) -> WalkResult:
        notes = [note for pool in maps for note in pool.notes]
        aliases = sum(pool.aliases for pool in maps)
        if aliases:
            notes.append(f"{aliases} pages are mapped more than once and were read once")
        wider = maps[1] if len(maps) > 1 else None
        if wider is not None:
            notes.append(f"{self.found[1]} pool pages were found outside the pools' own ranges")
        vas = [np.zeros(0, np.uint64), *(va for va, _ in self.damaged)]
        reaches = [np.zeros(0, np.int32), *(reach for _, reach in self.damaged)]
        damaged = DamagedPages(np.concatenate(vas), np.concatenate(reaches))
        if len(damaged.va):
            notes.append(
                f"{len(damaged.va)} pool pages are damaged and not counted, "
                f"the first at {int(damaged.va[0]):#x} after {int(damaged.reach[0])} bytes"
            )
        blocks = block_counts(self.layout, self.tallies)
        return WalkResult(
            blocks, maps[0], self.small, damaged, np.concatenate([vas[0], *self.foreign]), self.walked,
            tuple(notes), wider,
        )


def damaged_pages(form: HeaderFormat, batch: Batch) -> Mask:
    """Which pages of a batch were small-block pages before something overwrote them.

    A page counts as damaged when two headers in a row were sound: one alone may be chance.
    """
    first = ((batch.heads >> form.size_shift) & form.size_mask) * form.unit
    return ~batch.chains.accepted & (batch.chains.reach > first) & (first > 0)


def block_counts(layout: Layout, tallies: dict[PageState, Tally]) -> BlockCounts:
    """Turn counted keys into tags, pools and sizes. ``tallies``: by the state of the pages."""
    form = KeyFormat(layout)
    results = [(state, *tally.result()) for state, tally in tallies.items()]
    keys = np.concatenate([keys for _, keys, _ in results])
    counts = np.concatenate([counts for _, _, counts in results])
    states = np.concatenate([np.full(len(keys), state, np.uint8) for state, keys, _ in results])
    paged = form.rules.paged[form.pool_type(keys)]
    return BlockCounts(block_tags(layout, form, keys), paged, states, form.size(keys), counts)


_QUOTA_TAG = encode_tag(QUOTA_UNKNOWN)


def block_tags(layout: Layout, form: KeyFormat, keys: U64) -> NDArray[np.uint32]:
    """Tags of keys, protected bit stripped; XP's quota blocks without a tag get :data:`QUOTA_UNKNOWN`."""
    stored = form.tag(keys)
    tags = strip_protected(stored)
    if not quota_replaces_tag(layout):
        return tags
    charged = form.rules.quota[form.pool_type(keys)] & (stored >= np.uint32(0x8000_0000))
    if bool(charged.any()):
        # The flag alone does not tell: with tagging on the tag stays where it is (facts, "Quota").
        charged[charged] = ~printable(stored[charged])
        tags[charged] = _QUOTA_TAG
    return tags
