"""The census: everything known about the two pools, from every source, held together.

``auto`` answers from the tables where they are verified and whole, else from the pages; tags that
the tables do not know then come from the pages, and each tag says which. Absent memory makes
figures unknown or lowers coverage, it never raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from dumpscan.errors import UsageError
from dumpscan.kernel.kernel import Kernel
from dumpscan.model import BigUse, Coverage, Pool, PoolUse, Reconciliation, TagUse
from dumpscan.pool.bigpages import BigPages, read_big_pages
from dumpscan.pool.limits import Limits, read_limits
from dumpscan.pool.tables import PoolTables, find_tables
from dumpscan.pool.tags import decode_tag
from dumpscan.pool.tracker import Tracker, read_tracker
from dumpscan.records import record, replace

if TYPE_CHECKING:
    # A verdict from tables walks no page, and should not wait for the code that does.
    from dumpscan.pool.pages import BlockCounts, Progress, WalkResult

MODES = ("auto", "tables", "pages")


@record
class Census:
    """The pools' record, and for each source (tracker, big_pages, pages, limits) where it was read."""

    pool: Pool
    where: Mapping[str, str]
    walk: WalkResult | None = None


@record
class _Sources:
    tables: PoolTables
    tracker: Tracker | None
    big: BigPages | None
    walk: WalkResult | None


def take_census(kernel: Kernel, mode: str = "auto", progress: Progress | None = None) -> Census:
    """Take the census of a kernel's pools.

    ``mode``: "tables" reads a few hundred pages, "pages" all of both pools, "auto" the tables and,
    where these are missing or not whole, the pages. ``progress`` is called with a text, the pages
    done and their total.

    :raises UsageError: an unknown mode.
    """
    if mode not in MODES:
        raise UsageError(f"unknown census mode {mode!r}: choose one of {', '.join(MODES)}")
    tables = find_tables(kernel)
    tracker, big = read_tracker(kernel, tables), read_big_pages(kernel, tables)
    enough = tracker is not None and tracker.complete and not len(tracker.overflow)
    walk = None
    if mode == "pages" or (mode == "auto" and not enough):
        walk = _walk(kernel, big, progress)
    return _census(kernel, mode, _Sources(tables, tracker, big, walk))


def tags_from_tracker(kernel: Kernel) -> tuple[TagUse, ...]:
    """Counters by tag from the tracker tables; empty where there are none."""
    tables = find_tables(kernel)
    tracker = read_tracker(kernel, tables)
    return _with_big(tracker.tags(), read_big_pages(kernel, tables)) if tracker else ()


def tags_from_pages(kernel: Kernel, progress: Progress | None = None) -> tuple[TagUse, ...]:
    """Resident blocks in use by tag, with the big page table's allocations, from the pool pages."""
    big = read_big_pages(kernel, find_tables(kernel))
    walk = _walk(kernel, big, progress)
    return walked_tags(walk.blocks, big) if walk else ()


def _walk(kernel: Kernel, big: BigPages | None, progress: Progress | None) -> WalkResult | None:
    from dumpscan.pool.pages import walk_pool

    return walk_pool(kernel, big, progress)


def _untracked(found: _Sources) -> dict[str, BigUse]:
    if found.walk is None:
        return {}
    from dumpscan.pool.untracked import untracked_use

    return untracked_use(found.walk.pool, found.walk.foreign, found.big)


def _census(kernel: Kernel, mode: str, found: _Sources) -> Census:
    tracked = _with_big(found.tracker.tags(), found.big) if found.tracker else ()
    walked = walked_tags(found.walk.blocks, found.big) if found.walk else ()
    limits = read_limits(kernel, _tracked_bytes(found.tracker))
    pool = Pool(
        tagging=found.tables.tagging,
        paged=limits.paged,
        nonpaged=limits.nonpaged,
        tags=walked if mode == "pages" else _merged(tracked, walked),
        coverage=_coverage(found),
        reconciliation=_reconciled(tracked, walked, found),
        page_states=found.walk.pool.states() if found.walk else {},
        overflow=found.tracker.overflow_use() if found.tracker else None,
        untracked=_untracked(found),
        notes=_notes(kernel, mode, found, limits),
    )
    return Census(pool, _where(kernel, found, limits), found.walk)


# -- tags -----------------------------------------------------------------------------------------


def walked_tags(blocks: BlockCounts, big: BigPages | None) -> tuple[TagUse, ...]:
    """Small blocks by tag and pool, with large allocations beside them, by tag."""
    keys = (blocks.tag.astype(np.uint64) << np.uint64(1)) | blocks.paged
    unique, inverse = np.unique(keys, return_inverse=True)
    counts, sizes = np.zeros(len(unique), np.int64), np.zeros(len(unique), np.int64)
    np.add.at(counts, inverse, blocks.count)
    np.add.at(sizes, inverse, blocks.count * blocks.size)
    small = {
        (decode_tag(key >> 1), "paged" if key & 1 else "nonpaged"): (count, size)
        for key, count, size in zip(unique.tolist(), counts.tolist(), sizes.tolist(), strict=True)
    }
    large = big.by_tag() if big else {}

    def use(tag: str, name: str) -> PoolUse:
        count, size = small.get((tag, name), (0, 0))
        extra = large.get((tag, name), BigUse()) if big else None
        return PoolUse(None, None, count, size, extra)

    tags = sorted({tag for tag, _ in small} | {tag for tag, _ in large})
    return tuple(TagUse(tag, use(tag, "paged"), use(tag, "nonpaged"), "pages") for tag in tags)


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
    return reconcile(tracked, walked, costs, found.walk.pool.away())


def _coverage(found: _Sources) -> Coverage:
    walk = found.walk
    return Coverage(
        tracker=found.tracker.coverage if found.tracker else None,
        big_pages=found.big.coverage if found.big else None,
        paged_pages=walk.pool.coverage(True) if walk else None,
        nonpaged_pages=walk.pool.coverage(False) if walk else None,
    )


def _where(kernel: Kernel, found: _Sources, limits: Limits) -> dict[str, str]:
    where = dict(found.tables.where)
    if found.tables.processors[1:]:
        tables = ", ".join("not found" if a is None else f"{a:#x}" for a in found.tables.processors)
        where["tracker"] += f", tables of {len(found.tables.processors)} processors: {tables}"
    if found.walk is not None:
        small = sum(found.walk.small_pages.values())
        parts = ", ".join(f"{p.where.start:#x}..{p.where.end:#x}" for p in found.walk.pool.parts)
        where["pages"] = f"chain walk of {small} small-block pages in {parts}"
    if limits.paged.used_bytes is not None or limits.nonpaged.used_bytes is not None:
        where["limits"] = f"pool descriptors and memory manager counters ({kernel.source})"
    return where


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
        notes += [*found.walk.notes, *_away_notes(found.walk)]
    elif mode == "pages" and kernel.layout is None:
        notes.append("no pool page was walked: this kernel's layouts are not known")
    return tuple(notes)


def _away_notes(walk: WalkResult) -> list[str]:
    from dumpscan.pool.pagemap import sum_states

    notes = []
    for name, paged in (("paged", True), ("nonpaged", False)):
        away = sum_states(part.states(~part.present) for part in walk.pool.of(paged))
        pages = walk.pool.away()[name]
        if pages:
            notes.append(
                f"{pages} pages of {name} pool have content that is not in the image "
                f"({away.pagefile} in the page file, {away.valid + away.transition} left out of the image)"
            )
    return notes
