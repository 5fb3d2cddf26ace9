"""The census: everything known about the two pools, from every source, held together.

``auto`` answers from the tables where they are verified and whole, else from the pages; tags that
the tables do not know then come from the pages, and each tag says which. ``sample`` walks a random
sample of the pages and gives estimates with intervals. Absent memory makes
figures unknown or lowers coverage, it never raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from dumpscan.errors import UsageError
from dumpscan.kernel.kernel import Kernel
from dumpscan.model import BigUse, Coverage, Interval, Pool, PoolUse, Reconciliation, TagUse
from dumpscan.pool.bigpages import BigPages, read_big_pages
from dumpscan.pool.limits import Limits, read_limits
from dumpscan.pool.tables import PoolTables, find_tables
from dumpscan.pool.tags import decode_tag
from dumpscan.pool.tracker import Tracker, read_tracker
from dumpscan.records import record, replace

if TYPE_CHECKING:
    # A verdict from tables walks no page, and should not wait for the code that does.
    from dumpscan.pool.pagemap import PoolMap
    from dumpscan.pool.pages import BlockCounts, Progress, WalkResult
    from dumpscan.pool.sample import Sample

MODES = ("auto", "tables", "pages", "sample")


@record
class Census:
    """The pools' record, and for each source (tracker, big_pages, pages, limits) where it was read.

    ``counted``: for mode "pages", tags with the tracker's counters where its tables are whole; else empty.
    """

    pool: Pool
    where: Mapping[str, str]
    walk: WalkResult | None = None
    counted: tuple[TagUse, ...] = ()


@record
class _Sources:
    tables: PoolTables
    tracker: Tracker | None
    big: BigPages | None
    walk: WalkResult | None
    sample: Sample | None = None

    @property
    def pages(self) -> WalkResult | Sample | None:
        """What looked at pool pages, if anything did."""
        return self.walk or self.sample


def take_census(
    kernel: Kernel, mode: str = "auto", progress: Progress | None = None, *, sample_pages: int | None = None
) -> Census:
    """Take the census of a kernel's pools.

    ``mode``: "tables" reads a few hundred pages, "pages" all of both pools, "auto" the tables and,
    where these are missing or not whole, the pages; "sample" a random sample of the pages, or all of
    them where they are no more than it would be. ``progress`` is called with a text, the pages
    done and their total. ``sample_pages`` are the pages of each pool that a sample reads
    (:data:`dumpscan.pool.sample.SAMPLE_PAGES` unless given).

    :raises UsageError: an unknown mode.
    """
    if mode not in MODES:
        raise UsageError(f"unknown census mode {mode!r}: choose one of {', '.join(MODES)}")
    tables = find_tables(kernel)
    tracker, big = read_tracker(kernel, tables), read_big_pages(kernel, tables)
    enough = _enough(tracker)
    walk, sample = None, None
    if mode == "sample":
        sample = _sample(kernel, big, progress, sample_pages)
    if mode == "pages" or (mode == "auto" and not enough) or (sample is not None and sample.whole):
        # A sample of all pages is a walk, and says more: what no table lists, and which page is damaged.
        walk, sample = _walk(kernel, big, progress), None
    return _census(kernel, mode, _Sources(tables, tracker, big, walk, sample))


def _enough(tracker: Tracker | None) -> bool:
    return tracker is not None and tracker.complete and not len(tracker.overflow)


def tags_from_pages(kernel: Kernel, progress: Progress | None = None) -> tuple[TagUse, ...]:
    """Resident blocks in use by tag, with the big page table's allocations, from the pool pages."""
    big = read_big_pages(kernel, find_tables(kernel))
    walk = _walk(kernel, big, progress)
    return walked_tags(walk.blocks, big) if walk else ()


def _walk(kernel: Kernel, big: BigPages | None, progress: Progress | None) -> WalkResult | None:
    from dumpscan.pool.pages import walk_pool

    return walk_pool(kernel, big, progress)


def _sample(
    kernel: Kernel, big: BigPages | None, progress: Progress | None, pages: int | None
) -> Sample | None:
    from dumpscan.pool.sample import SAMPLE_PAGES, take_sample

    return take_sample(kernel, big, progress, pages=pages or SAMPLE_PAGES)


def _untracked(found: _Sources) -> dict[str, BigUse]:
    if found.walk is None:
        return {}
    from dumpscan.pool.untracked import untracked_use

    return untracked_use(found.walk.pool, found.walk.foreign, found.big)


def _census(kernel: Kernel, mode: str, found: _Sources) -> Census:
    tracked = _with_big(found.tracker.tags(), found.big) if found.tracker else ()
    walked = walked_tags(found.walk.blocks, found.big) if found.walk else ()
    if found.sample is not None:
        walked = sampled_tags(found.sample, found.big)
    limits = read_limits(kernel, _tracked_bytes(found.tracker))
    compared = _reconciled(tracked, walked, found)
    pool = Pool(
        tagging=found.tables.tagging,
        paged=limits.paged,
        nonpaged=limits.nonpaged,
        tags=walked if mode in ("pages", "sample") else _merged(tracked, walked),
        coverage=_coverage(found),
        reconciliation=compared,
        page_states=found.pages.pool.states() if found.pages else {},
        overflow=found.tracker.overflow_use() if found.tracker else None,
        untracked=_untracked(found),
        notes=(*_notes(kernel, mode, found, limits), *_surplus(kernel, compared)),
        sample=found.sample.pools if found.sample else {},
    )
    counted = _merged(tracked, walked) if mode == "pages" and _enough(found.tracker) else ()
    return Census(pool, _where(kernel, found, limits), found.walk, counted)


# -- tags -----------------------------------------------------------------------------------------


def walked_tags(blocks: BlockCounts, big: BigPages | None) -> tuple[TagUse, ...]:
    """Small blocks by tag and pool, with large allocations beside them, by tag."""
    keys = (blocks.tag.astype(np.uint64) << np.uint64(1)) | blocks.paged
    unique, inverse = np.unique(keys, return_inverse=True)
    counts, sizes = np.zeros(len(unique), np.int64), np.zeros(len(unique), np.int64)
    np.add.at(counts, inverse, blocks.count)
    np.add.at(sizes, inverse, blocks.count * blocks.size)
    small = {
        (decode_tag(key >> 1), "paged" if key & 1 else "nonpaged"): PoolUse(None, None, count, size)
        for key, count, size in zip(unique.tolist(), counts.tolist(), sizes.tolist(), strict=True)
    }
    return _page_tags(small, big, "pages")


def sampled_tags(sample: Sample, big: BigPages | None) -> tuple[TagUse, ...]:
    """Estimates of small blocks by tag and pool with their intervals, large allocations beside them."""
    names = [(decode_tag(tag), "paged" if paged else "nonpaged")
             for tag, paged in zip(sample.tag.tolist(), sample.paged.tolist(), strict=True)]  # fmt: skip
    ends = (sample.count.low, sample.count.high, sample.bytes.low, sample.bytes.high)
    rows = zip(sample.count.value.tolist(), sample.bytes.value.tolist(), *map(np.ndarray.tolist, ends),
               strict=True)  # fmt: skip
    small = {
        name: PoolUse(None, None, count, size, interval=Interval(*interval))
        for name, (count, size, *interval) in zip(names, rows, strict=True)
    }
    return _page_tags(small, big, "sample")


def _page_tags(
    small: Mapping[tuple[str, str], PoolUse], big: BigPages | None, source: str
) -> tuple[TagUse, ...]:
    large = big.by_tag() if big else {}

    def use(tag: str, name: str) -> PoolUse:
        extra = large.get((tag, name), BigUse()) if big else None
        return replace(small.get((tag, name), PoolUse()), big=extra)

    tags = sorted({tag for tag, _ in small} | {tag for tag, _ in large})
    return tuple(TagUse(tag, use(tag, "paged"), use(tag, "nonpaged"), source) for tag in tags)


def _with_big(tags: tuple[TagUse, ...], big: BigPages | None) -> tuple[TagUse, ...]:
    """The tracker's records with the large allocations among their bytes beside them."""
    if big is None:
        return tags
    large = big.by_tag()

    def add(use: PoolUse, tag: str, name: str) -> PoolUse:
        return replace(use, big=large.get((tag, name), BigUse()))

    return tuple(
        replace(use, paged=add(use.paged, use.tag, "paged"), nonpaged=add(use.nonpaged, use.tag, "nonpaged"))
        for use in tags
    )


def _merged(tracked: tuple[TagUse, ...], walked: tuple[TagUse, ...]) -> tuple[TagUse, ...]:
    """The tracker's records, and the walk's for tags that the tracker does not know."""
    known = {use.tag for use in tracked}
    rest = (use for use in walked if use.tag not in known)
    return tuple(sorted((*tracked, *rest), key=lambda use: use.tag))


def _tracked_bytes(tracker: Tracker | None) -> dict[str, int] | None:
    """Bytes by pool over all tags, the overflow slot included; None when they are not all known."""
    if tracker is None or not tracker.complete:
        return None
    rows = np.concatenate([tracker.rows, tracker.overflow])
    return {
        "paged": int(rows["paged_bytes"].sum(dtype=np.uint64)),
        "nonpaged": int(rows["np_bytes"].sum(dtype=np.uint64)),
    }


# -- reconciliation, coverage, words --------------------------------------------------------------


def _reconciled(
    tracked: tuple[TagUse, ...], walked: tuple[TagUse, ...], found: _Sources
) -> tuple[Reconciliation, ...]:
    if found.walk is None or found.tracker is None:
        return ()
    from dumpscan.pool.reconcile import reconcile

    costs = found.big.costs() if found.big else {}
    return reconcile(tracked, walked, costs, found.walk.pool.away(), found.walk.pool.page_size)


def _surplus(kernel: Kernel, compared: tuple[Reconciliation, ...]) -> tuple[str, ...]:
    """Pages of another moment in a page file hold blocks that the tracker no longer counts."""
    rows = [row for row in compared if (row.unexplained_bytes or 0) < 0]
    if not rows or not getattr(kernel.memory.physical, "admitted", ()):
        return ()
    size = -sum(row.unexplained_bytes or 0 for row in rows)
    return (
        f"with the page files {len(rows)} tags have {size:,} bytes more than the tracker counts: "
        "the files may be of another moment",
    )


def _coverage(found: _Sources) -> Coverage:
    pages = found.pages
    return Coverage(
        tracker=found.tracker.coverage if found.tracker else None,
        big_pages=found.big.coverage if found.big else None,
        paged_pages=pages.pool.coverage(True) if pages else None,
        nonpaged_pages=pages.pool.coverage(False) if pages else None,
    )


def _where(kernel: Kernel, found: _Sources, limits: Limits) -> dict[str, str]:
    where = dict(found.tables.where)
    if found.tables.processors[1:]:
        tables = ", ".join("not found" if a is None else f"{a:#x}" for a in found.tables.processors)
        where["tracker"] += f", tables of {len(found.tables.processors)} processors: {tables}"
    if found.walk is not None and found.walk.pool.parts:
        small = sum(found.walk.small_pages.values())
        where["pages"] = f"chain walk of {small} small-block pages in {_ranges(found.walk.pool)}"
    if found.sample is not None and found.sample.pool.parts:
        read = sum(each.pages for each in found.sample.pools.values())
        where["sample"] = f"chain walk of {read} pages drawn at random from {_ranges(found.sample.pool)}"
    if limits.paged.used_bytes is not None or limits.nonpaged.used_bytes is not None:
        where["limits"] = f"pool descriptors and memory manager counters ({kernel.source})"
    return where


def _ranges(pool: PoolMap) -> str:
    return ", ".join(f"{part.where.start:#x}..{part.where.end:#x}" for part in pool.parts)


def _notes(kernel: Kernel, mode: str, found: _Sources, limits: Limits) -> tuple[str, ...]:
    notes = [*found.tables.notes, *limits.notes]
    if found.tracker is not None:
        notes += found.tracker.notes
        if not found.tracker.complete:
            notes.append(
                f"{found.tracker.coverage:.0%} of the tracker tables are in the image; "
                f"{found.tracker.unknown_tags} tags seen there are incomplete and left out"
            )
        if len(found.tracker.overflow):
            notes.append("the tracker table overflowed: tags it had no room for are summed up under 'Ovfl'")
    if found.big is not None and (found.big.coverage < 1 or found.big.damaged):
        notes.append(
            f"big page table: {found.big.coverage:.0%} in the image, "
            f"{found.big.damaged} damaged entries left out"
        )
    if found.walk is not None:
        if mode == "sample" and found.walk.walked:
            notes.append("the pools have no more pages than a sample: all were walked, figures are exact")
        notes += [*found.walk.notes, *_away_notes(found.walk.pool)]
        notes += _large_notes(found.walk) if found.big is None else []
    elif found.sample is not None:
        notes += [*_sample_notes(found.sample), *_away_notes(found.sample.pool)]
    elif mode in ("pages", "sample") and kernel.layout is None:
        notes.append("no pool page was walked: this kernel's layouts are not known")
    return tuple(notes)


def _sample_notes(sample: Sample) -> list[str]:
    notes = list(sample.notes)
    for name, each in sample.pools.items():
        if each.pages < each.pages_held:
            notes.append(
                f"{name} pool: estimates from {each.pages} of its {each.pages_held} pages in the image, "
                "drawn at random, with 95 % intervals; a tag that is not listed lies on at most "
                f"{each.unseen_pages} of them"
            )
    if sample.damaged:
        notes.append(f"{sample.damaged} of the pages drawn are damaged and not counted")
    return notes


def _away_notes(pool: PoolMap) -> list[str]:
    from dumpscan.pool.pagemap import sum_states

    notes = []
    for name, paged in (("paged", True), ("nonpaged", False)):
        away = sum_states(part.states(~part.present) for part in pool.of(paged))
        pages = pool.away()[name]
        if pages:
            unknown = pages - away.pagefile - away.valid - away.transition
            notes.append(
                f"{pages} pages of {name} pool have or may have content that is not in the image "
                f"({away.pagefile} in the page file, {away.valid + away.transition} left out of the image"
                + (f", {unknown} unknown: their page tables are not in the image)" if unknown else ")")
            )
    return notes


def _large_notes(walk: WalkResult) -> list[str]:
    """Without a big page table only marks keep old blocks inside large allocations from being counted."""
    blind = [
        name
        for name, paged in (("paged", True), ("nonpaged", False))
        if any(part.marks is None and bool(part.small.any()) for part in walk.pool.of(paged))
    ]
    if not blind:
        return []
    return [
        f"nothing tells large allocations of {' and '.join(blind)} pool from pages of small blocks (no big "
        "page table, no marks): old blocks inside them may be counted"
    ]
