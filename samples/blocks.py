"""Small blocks: chains packed into pages, their headers, contents and free lists.

Witness: facts/pool-structures.md (header fields, PoolType values, quota), facts/pool-algorithms.md
sections 5 and 6 (lookaside blocks, gapless chains, fragments without a list entry).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .layouts import Layout
from .population import Lot, block_units

USED: Final = 0
FREE: Final = 1
CACHED: Final = 2
QUOTA: Final = 8

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Chains:
    """Blocks in page order; every array has one entry per block."""

    page: I64
    offset: I64  # units from the page start
    units: I64
    previous: I64
    kind: NDArray[np.uint8]
    tag: I64  # index into the name list
    protected: NDArray[np.bool_]
    quota: NDArray[np.bool_]
    content: I64
    special: I64
    pages: int

    def used(self) -> NDArray[np.bool_]:
        result: NDArray[np.bool_] = self.kind == USED
        return result


@dataclass(frozen=True)
class Special:
    """A block whose contents the writer fills in later, by name."""

    name: str
    tag: str
    size: int
    protected: bool = False


class TagNames:
    """Tag text <-> small number, shared by both pools."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._index: dict[str, int] = {}

    def number(self, tag: str) -> int:
        if tag not in self._index:
            self._index[tag] = len(self.names)
            self.names.append(tag)
        return self._index[tag]

    def keys(self) -> NDArray[np.uint32]:
        """The tags as stored, without the protected bit."""
        return np.array([tag_value(name) for name in self.names], dtype=np.uint32)


def tag_value(tag: str) -> int:
    """Four characters as the u32 that memory holds."""
    return int.from_bytes(tag.encode("latin-1"), "little")


def _spread(
    lots: list[Lot], names: TagNames, layout: Layout, rng: np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    """All blocks of the lots in a lifelike order: old background first, leaked blocks through all of it."""
    counts = np.array([lot.count for lot in lots], dtype=np.int64)

    def repeat(values: list[int]) -> I64:
        return np.repeat(np.array(values, dtype=np.int64), counts)

    leak = repeat([int(lot.leak) for lot in lots])
    age = rng.random(len(leak)) * np.where(leak == 1, 1.0, 0.8) + np.where(leak == 1, 0.15, 0.0)
    order = np.argsort(age, kind="stable")
    quota = np.repeat(np.array([lot.quota for lot in lots]), counts)
    columns = {
        "units": repeat([int(block_units(lot.size, layout)) for lot in lots]),
        "tag": repeat([names.number(lot.tag) for lot in lots]),
        "protected": repeat([int(lot.protected) for lot in lots]),
        "content": repeat([lot.content for lot in lots]),
        "quota": (rng.random(len(quota)) < quota).astype(np.int64),
    }
    return {name: column[order] for name, column in columns.items()}


def _with_dead(
    columns: dict[str, I64], rng: np.random.Generator, cached: float, gaps: float
) -> dict[str, I64]:
    """Insert freed blocks between live ones, on a list or on a lookaside list; never two neighbours."""
    count = len(columns["units"])
    holes = np.flatnonzero(rng.random(count) < gaps + cached)
    if not len(holes):
        return {**columns, "kind": np.zeros(count, dtype=np.int64)}
    donors = rng.integers(0, count, len(holes))  # a dead block keeps the tag and size of a former live one
    is_cached = (rng.random(len(holes)) < cached / (gaps + cached)) & (columns["units"][donors] <= 32)
    dead = {name: column[donors] for name, column in columns.items()}
    dead["quota"][:] = 0
    dead["content"][:] = -1
    dead["kind"] = np.where(is_cached, CACHED, FREE)
    dead["units"] = np.maximum(dead["units"], 2)
    live = {**columns, "kind": np.zeros(count, dtype=np.int64)}
    return {name: np.insert(live[name], holes, dead[name]) for name in live}


def _page_starts(units: I64, per_page: int) -> I64:
    """Index of the first block of each page when filling page after page."""
    ends = np.cumsum(units)
    starts, at, base = [0], 0, 0
    while True:
        at = int(np.searchsorted(ends, base + per_page, side="right"))
        if at >= len(units):
            return np.array(starts, dtype=np.int64)
        starts.append(at)
        base = int(ends[at - 1])


def _without_free_pages(columns: dict[str, I64], per_page: int) -> tuple[dict[str, I64], I64]:
    """(columns, page starts): a page that is one free block would have gone back to the memory manager."""
    while True:
        starts = _page_starts(columns["units"], per_page)
        lengths = np.diff(np.append(starts, len(columns["units"])))
        alone = starts[(lengths == 1) & (columns["kind"][starts] == FREE)]
        if not len(alone):
            return columns, starts
        columns = {name: np.delete(column, alone) for name, column in columns.items()}


def pack(columns: dict[str, I64], per_page: int, rng: np.random.Generator) -> Chains:
    """Lay the blocks out; what is left at the end of a page becomes (or enlarges) a free block."""
    columns, starts = _without_free_pages(columns, per_page)
    ends = np.append(starts[1:], len(columns["units"]))
    left = per_page - np.add.reduceat(columns["units"], starts)
    last_free = columns["kind"][ends - 1] == FREE
    columns["units"][(ends - 1)[last_free]] += left[last_free]
    tails = ends[(left > 0) & ~last_free]
    sizes = left[(left > 0) & ~last_free]
    filler = {name: np.zeros(len(tails), dtype=np.int64) for name in columns}
    filler["units"], filler["kind"] = sizes, np.full(len(tails), FREE, dtype=np.int64)
    filler["tag"] = columns["tag"][rng.integers(0, len(columns["tag"]), len(tails))]
    filler["content"] = filler["special"] = np.full(len(tails), -1, dtype=np.int64)
    page = np.repeat(np.arange(len(starts)), ends - starts)
    tail_pages = np.flatnonzero((left > 0) & ~last_free)
    merged = {name: np.insert(column, tails, filler[name]) for name, column in columns.items()}
    page = np.insert(page, tails, tail_pages)
    running = np.cumsum(merged["units"]) - merged["units"]
    first = np.r_[True, page[1:] != page[:-1]]
    previous = np.where(first, 0, np.r_[0, merged["units"][:-1]])
    return Chains(
        page=page,
        offset=running - page * per_page,
        units=merged["units"],
        previous=previous,
        kind=merged["kind"].astype(np.uint8),
        tag=merged["tag"],
        protected=merged["protected"].astype(bool),
        quota=merged["quota"].astype(bool),
        content=merged["content"],
        special=merged["special"],
        pages=len(starts),
    )


def chains_of(
    lots: list[Lot],
    specials: list[Special],
    names: TagNames,
    layout: Layout,
    rng: np.random.Generator,
    *,
    cached: float = 0.004,
    gaps: float = 0.03,
) -> Chains:
    """Specials first, then everything else."""
    columns = _with_dead(_spread(lots, names, layout, rng), rng, cached, gaps)
    count = len(specials)
    front = {
        "units": np.array([int(block_units(s.size, layout)) for s in specials], dtype=np.int64),
        "tag": np.array([names.number(s.tag) for s in specials], dtype=np.int64),
        "protected": np.array([int(s.protected) for s in specials], dtype=np.int64),
        "content": np.full(count, -1, dtype=np.int64),
        "quota": np.zeros(count, dtype=np.int64),
        "kind": np.zeros(count, dtype=np.int64),
    }
    everything = {name: np.concatenate([front[name], column]) for name, column in columns.items()}
    everything["special"] = np.r_[np.arange(count), np.full(len(columns["units"]), -1, dtype=np.int64)]
    return pack(everything, layout.units_per_page, rng)
