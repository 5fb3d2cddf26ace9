"""The tag table(s) and the table of large allocations.

Witness: facts/pool-algorithms.md sections 2 to 4 (sizes, hash, probing, per-processor tables, expansion,
overflow), facts/pool-structures.md (entries by version).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .blocks import tag_value
from .layouts import Layout

Row = dict[str, int]
FIELDS: Final = ("np_allocs", "np_frees", "np_bytes", "paged_allocs", "paged_frees", "paged_bytes")
_COLUMNS: Final = (
    "NonPagedAllocs",
    "NonPagedFrees",
    "NonPagedBytes",
    "PagedAllocs",
    "PagedFrees",
    "PagedBytes",
)

# Seeded before anything else, so they have a slot even when unused (facts/pool-algorithms.md section 2).
_HOT: Final = (
    "Io  ",
    "IoNm",
    "IoOp",
    "File",
    "Mdl ",
    "Pp  ",
    "BIG ",
    "Pool",
    "Irp ",
    "ObNm",
    "Even",
    "Proc",
    "Thre",
)


def tag_slot(tag: int, mask: int) -> int:
    """40543 times the tag, folded to 32 bits."""
    value = (tag & 0x7FFFFFFF) * 40543
    return (value ^ (value >> 32)) & 0xFFFFFFFF & mask


def big_slot(va: int, mask: int, page: int = 4096) -> int:
    """The page number's four bytes xor-ed together."""
    value = (va // page) & 0xFFFFFFFF
    return ((value >> 24) ^ (value >> 16) ^ (value >> 8) ^ value) & mask


@dataclass
class Tracker:
    """All tag tables of a machine, and what they say."""

    slots: int  # 2^k; one more for overflow
    tables: list[NDArray[np.void]]
    expansion: NDArray[np.void] | None
    rows: dict[str, Row]  # by tag, summed; without the tags that went to the overflow slot
    first_cpu: dict[str, Row]
    overflow_tags: list[str] = field(default_factory=list)
    overflow: Row | None = None


def _assign(tags: list[str], slots: int) -> tuple[dict[str, int], list[str]]:
    """Slot of each tag in order of first use, and those that found the table full."""
    taken: set[int] = set()
    found: dict[str, int] = {}
    rest: list[str] = []
    for tag in tags:
        if len(taken) == slots:
            rest.append(tag)
            continue
        slot = tag_slot(tag_value(tag), slots - 1)
        while slot in taken:
            slot = (slot + 1) & (slots - 1)
        taken.add(slot)
        found[tag] = slot
    return found, rest


def _split(row: Row, cpus: int, rng: np.random.Generator) -> list[Row]:
    """One tag's counters as the processors' tables hold them: only the sums mean anything."""
    if cpus == 1 or rng.random() < 0.25:
        return [row] + [dict.fromkeys(FIELDS, 0) for _ in range(cpus - 1)]
    shares = rng.dirichlet([2.0] * cpus)
    parts = [dict.fromkeys(FIELDS, 0) for _ in range(cpus)]
    for pool in ("np", "paged"):
        allocs, frees, size = (row[f"{pool}_{what}"] for what in ("allocs", "frees", "bytes"))
        for what, total in (("allocs", allocs), ("frees", frees)):
            for part, value in zip(parts, rng.multinomial(total, shares), strict=True):
                part[f"{pool}_{what}"] = int(value)
        if not allocs:
            continue
        for part in parts[1:]:
            drift = int(rng.integers(-size - 4096, size + 4096)) & ~7 if frees else int(size * shares[1]) & ~7
            part[f"{pool}_bytes"] = drift
        parts[0][f"{pool}_bytes"] = size - sum(part[f"{pool}_bytes"] for part in parts[1:])
    return parts


def _store(record: NDArray[np.void], slot: int, tag: str, row: Row) -> None:
    record[slot]["Key"] = tag_value(tag)
    for name, column in zip(FIELDS, _COLUMNS, strict=True):
        width = record.dtype[column].itemsize * 8
        record[slot][column] = row[name] & ((1 << width) - 1)


def _add(rows: list[Row]) -> Row:
    return {name: sum(row[name] for row in rows) for name in FIELDS}


def build_tracker(
    rows: dict[str, Row], layout: Layout, slots: int, cpus: int, overflow: str, rng: np.random.Generator
) -> Tracker:
    """Lay the rows out; `cpus` copies on kernels that have them."""
    rest = [tag for tag in rows if tag not in _HOT and tag != "IoSe"]
    order = [*_HOT, "IoSe", *(rest[i] for i in rng.permutation(len(rest)))]
    full = {tag: rows.get(tag, dict.fromkeys(FIELDS, 0)) for tag in order}
    where, spilled = _assign(order, slots)
    copies = cpus if layout.per_cpu_tables else 1
    # The further processors' tables are one entry longer (facts/pool-algorithms.md section 3).
    tables = [np.zeros(slots + 1 + (cpu > 0), dtype=layout.tracker) for cpu in range(copies)]
    wrap = (1 << 32) - 1, (1 << (32 if layout.pointer == 4 else 64)) - 1
    first: dict[str, Row] = {}
    for tag, slot in where.items():
        for cpu, part in enumerate(_split(full[tag], copies, rng)):
            if cpu == 0:
                first[tag] = {name: part[name] & wrap[name.endswith("bytes")] for name in FIELDS}
            if cpu == 0 or any(part.values()):
                _store(tables[cpu], slot, tag, part)
    tracker = Tracker(slots, tables, None, {tag: full[tag] for tag in where}, first)
    if spilled and overflow == "expansion":
        tracker.expansion = np.zeros(_expansion_entries(len(spilled), layout), dtype=layout.tracker)
        for slot, tag in enumerate(spilled):
            _store(tracker.expansion, slot, tag, full[tag])
            tracker.rows[tag] = full[tag]
    elif spilled:
        tracker.overflow_tags, tracker.overflow = spilled, _add([full[tag] for tag in spilled])
        for cpu, part in enumerate(_overflow_parts(tracker.overflow, copies, rng)):
            _store(tables[cpu], slots, "Ovfl", part)
    return tracker


def _overflow_parts(row: Row, copies: int, rng: np.random.Generator) -> list[Row]:
    """Allocations are counted in the first table's last slot, frees in the current processor's."""
    parts = [dict(row)] + [dict.fromkeys(FIELDS, 0) for _ in range(copies - 1)]
    for pool in ("np", "paged"):
        for part in parts[1:]:
            frees = int(row[f"{pool}_frees"] * rng.uniform(0.1, 0.9 / copies))
            part[f"{pool}_frees"], part[f"{pool}_bytes"] = frees, -frees * 64
            parts[0][f"{pool}_frees"] -= frees
            parts[0][f"{pool}_bytes"] += frees * 64
    return parts


def _expansion_entries(tags: int, layout: Layout) -> int:
    """Whole pages of entries."""
    size = layout.tracker.itemsize
    return -(-(tags + 1) * size // layout.page) * layout.page // size


@dataclass(frozen=True)
class BigEntry:
    """One live or freed large allocation."""

    va: int
    tag: str
    pages: int
    pool: str
    requested: int
    protected: bool = False


def big_table_size(live: int) -> int:
    """Entries: 4096 by default, doubled while more than two thirds would be in use."""
    size = 4096
    while live * 3 > size * 2:
        size *= 2
    return size


def build_big_table(
    live: list[BigEntry], freed: list[BigEntry], size: int, layout: Layout
) -> NDArray[np.void]:
    """The hashed table: Va 1 where never used, bit 0 set where freed."""
    table = np.zeros(size, dtype=layout.big)
    table["Va"] = 1
    taken: set[int] = set()
    for entry, dead in [*((e, 1) for e in freed), *((e, 0) for e in live)]:
        slot = big_slot(entry.va, size - 1, layout.page)
        while slot in taken:
            slot = (slot + 1) & (size - 1)
        taken.add(slot)
        row = table[slot]
        row["Va"] = entry.va | dead
        row["Key"] = tag_value(entry.tag) | (entry.protected << 31)
        if layout.modern:
            kind = int(entry.pool == "paged")
            # Windows 10: a pattern below and a slack above the type, in the same u32.
            row["PoolType"] = 0x5B | kind << 8 | 0x123 << 20 if layout.nt == "10.0" else kind
            row["NumberOfBytes"] = entry.requested
        else:
            row["NumberOfPages"] = entry.pages
    return table
