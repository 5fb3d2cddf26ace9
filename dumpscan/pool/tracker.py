"""Counters by tag since boot: PoolTrackTable of every processor, expansion table, overflow slot.

Reads layouts of :mod:`dumpscan.kernel.layouts` on 5.1 to 10.0. All slots are read, no hash is
trusted. The trap of the area: on multiprocessor kernels from 5.2 on one processor's row is
meaningless alone (frees may exceed allocations, bytes may be "negative"); rows are summed over all
processors modulo the counter's width, and a table that is missing makes the sums unknown, not
smaller (facts/pool-algorithms.md section 3).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dumpscan.kernel.kernel import Kernel
from dumpscan.kernel.layouts import Layout
from dumpscan.model import PoolUse, TagUse
from dumpscan.pool.c_pool import table_dtype
from dumpscan.pool.tables import PoolTables
from dumpscan.pool.tags import OVERFLOW, PROTECTED, decode_tag, encode_tag
from dumpscan.records import record

Rows = NDArray[Any]
"""Structured array: ``key``, then :data:`COUNTERS`."""

_OVERFLOW_KEY = encode_tag(OVERFLOW)

COUNTERS = ("np_allocs", "np_frees", "np_bytes", "paged_allocs", "paged_frees", "paged_bytes")


@record
class Tracker:
    """Summed counters. ``rows`` has one row per tag, sorted by key; ``overflow`` has one or no row.

    ``coverage`` is the share (0..1) of the pages of all processors' tables that the image holds;
    ``unknown_tags`` counts tags that were seen but whose row misses a part. Rows are exact.
    """

    rows: Rows
    overflow: Rows
    coverage: float
    unknown_tags: int
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Is every tag of every table known?"""
        return self.coverage == 1.0 and not self.unknown_tags

    def tags(self) -> tuple[TagUse, ...]:
        """One record per tag, in the order of the tags' names."""
        return tuple(sorted((_use(row) for row in _by_name(self.rows)), key=lambda use: use.tag))

    def overflow_use(self) -> TagUse | None:
        """The overflow slot 'Ovfl', or None while it was never used."""
        return _use(_by_name(self.overflow)[0]) if len(self.overflow) else None


@lru_cache(maxsize=None)
def entry_dtype(layout: Layout) -> np.dtype[np.void]:
    """numpy type of one tracker entry: bytes are pointer-sized, counters too or u32."""
    wide = COUNTERS if layout.wide_counts else ("np_bytes", "paged_bytes")
    width = dict.fromkeys(wide, f"<u{layout.pointer_size}")
    return table_dtype(layout.tracker_fields, width, layout.tracker_size)


def read_tracker(kernel: Kernel, tables: PoolTables) -> Tracker | None:
    """The summed counters, or None where the kernel has no (verified) tracker table."""
    if kernel.layout is None or tables.tracker is None:
        return None
    dtype = entry_dtype(kernel.layout)
    parts = [_read(kernel, dtype, address, tables.tracker_size) for address in tables.processors]
    known = np.logical_and.reduce([mask for _, mask in parts])
    shares = [float(mask.mean()) for _, mask in parts]
    stacked = np.stack([rows for rows, _ in parts])
    notes = _check_slots(stacked, known)
    sums, unknown = _sum_slots(stacked, known)
    main, overflow = _split(sums)
    extra, extra_lost = _expansion(kernel, dtype, tables)
    rows = sum_by_tag(np.concatenate([main[main["key"] != 0], extra]))
    rows, overflow, lost, share = _possible(rows, overflow, len(parts), notes)
    if extra_lost:
        notes.append(f"{extra_lost} entries of the tracker expansion table are not in the image")
    coverage = float(np.mean(shares)) * share
    return Tracker(rows, overflow, coverage, unknown + extra_lost + lost, tuple(notes))


_RUNNING_SHARE = 0.01
_RUNNING_COUNT = 16
_RUNNING_BYTES = 64 << 10
"""By so little may sums be negative in an image that was taken while the machine ran."""


def _possible(
    rows: Rows, overflow: Rows, tables: int, notes: list[str]
) -> tuple[Rows, Rows, int, float]:
    """Rows that can be true, the overflow slot if it can, tags left out, and a factor of the coverage.

    More frees than allocations, or bytes below zero: parts of the sum are missing. Where that is more
    than a moment's difference between tables, no row of theirs is to be trusted.
    """
    every = np.concatenate([rows, overflow])
    wrong, gross = np.zeros(len(every), np.bool_), np.zeros(len(every), np.bool_)
    for pool in ("np", "paged"):
        allocs, size = every[f"{pool}_allocs"], every[f"{pool}_bytes"]
        short, less = -_signed(allocs - every[f"{pool}_frees"]), -_signed(size)
        wrong |= (short > 0) | (less > 0)
        gross |= (short > _RUNNING_COUNT + _RUNNING_SHARE * allocs) | (less > _RUNNING_BYTES)
    if not bool(wrong.any()):
        return rows, overflow, 0, 1.0
    if not bool(gross.any()):
        first = decode_tag(int(every["key"][wrong][0]))
        notes.append(f"{int(wrong.sum())} tags left out, the first '{first}': more was freed than allocated")
        kept, keep = len(rows), ~wrong
        return rows[keep[:kept]], overflow[keep[kept:]], int(wrong.sum()), float(keep.mean())
    first = decode_tag(int(every["key"][gross][0]))
    notes.append(
        f"the tracker table is not used: more was freed than allocated under '{first}' and "
        f"{int(wrong.sum()) - 1} other tags, so tables of further processors are missing"
    )
    return rows[:0], overflow[:0], len(every), tables / (tables + 1)


def _signed(values: Rows) -> NDArray[np.float64]:
    """Counters that may have gone below zero, by their own width."""
    signed = np.ascontiguousarray(values).view(values.dtype.str.replace("u", "i"))
    return np.asarray(signed, np.float64)


def _read(kernel: Kernel, dtype: np.dtype[np.void], address: int | None, count: int) -> tuple[Rows, Any]:
    """``count`` entries and which of them are wholly known; unknown entries are zero."""
    if address is None:
        return np.zeros(count, dtype), np.zeros(count, np.bool_)
    data, known = kernel.memory.read_masked(address, count * dtype.itemsize)
    whole = known.reshape(count, dtype.itemsize).all(axis=1)
    rows = data.view(dtype).copy()
    rows[~whole] = np.zeros(1, dtype)
    return rows, whole


def _check_slots(stacked: Rows, known: Any) -> list[str]:
    """A tag sits in the same slot of every table; the last slot is the overflow bucket."""
    keys = stacked["key"][:, :-1]
    clash = ((keys != 0) & (keys != keys.max(axis=0))).any(axis=0) & known[:-1]
    count = int(clash.sum())
    return [f"{count} slots hold different tags in different processors' tables"] if count else []


def _sum_slots(stacked: Rows, known: Any) -> tuple[Rows, int]:
    """Sum over tables where a slot is known in all of them; count tags of slots that are not."""
    sums = np.zeros(stacked.shape[1], stacked.dtype)
    keys = stacked["key"]
    sums["key"] = keys.max(axis=0)
    lost = int(((sums["key"] != 0) & ~known).sum())
    for table in range(len(stacked)):
        # Rows of another tag in this slot belong to damaged tables: reported, not added.
        mine = known & ((keys[table] == sums["key"]) | (keys[table] == 0))
        mine[-1] = known[-1]
        for name in COUNTERS:
            sums[name][mine] += stacked[name][table][mine]
    sums["key"][~known] = 0
    return sums, lost


def _split(sums: Rows) -> tuple[Rows, Rows]:
    """The tags' rows, and the overflow bucket: the last slot, which no other tag gets."""
    if int(sums["key"][-1]) not in (0, _OVERFLOW_KEY):
        return sums, sums[:0]
    last = sums[-1:].copy()
    last["key"] = _OVERFLOW_KEY
    used = np.logical_or.reduce([last[name] != 0 for name in COUNTERS])
    return sums[:-1], last[used]


def _expansion(kernel: Kernel, dtype: np.dtype[np.void], tables: PoolTables) -> tuple[Rows, int]:
    if tables.expansion is None:
        return np.zeros(0, dtype), 0
    rows, known = _read(kernel, dtype, tables.expansion, tables.expansion_size)
    return rows[known & (rows["key"] != 0)], int((~known).sum())


def sum_by_tag(rows: Rows) -> Rows:
    """One row per key (protected bit stripped), counters summed modulo their width, sorted by key."""
    keys, inverse = np.unique(rows["key"] & np.uint32(PROTECTED - 1), return_inverse=True)
    sums = np.zeros(len(keys), rows.dtype)
    sums["key"] = keys
    for name in COUNTERS:
        np.add.at(sums[name], inverse, rows[name])
    return sums


def _by_name(rows: Rows) -> list[tuple[int, ...]]:
    """Rows as tuples of ``key``, then :data:`COUNTERS`, in whatever order the version stores them; the
    difference of allocations and frees, modulo their width, comes last: paged, then nonpaged."""
    columns = [rows[name].tolist() for name in ("key", *COUNTERS)]
    left = [(rows[f"{pool}_allocs"] - rows[f"{pool}_frees"]).tolist() for pool in ("paged", "np")]
    return list(zip(*columns, *left, strict=True))


def _use(row: tuple[int, ...]) -> TagUse:
    key, np_allocs, np_frees, np_bytes, paged_allocs, paged_frees, paged_bytes, paged_left, np_left = row
    return TagUse(
        decode_tag(key),
        PoolUse(paged_allocs, paged_frees, paged_left, paged_bytes),
        PoolUse(np_allocs, np_frees, np_left, np_bytes),
        "tracker",
    )
