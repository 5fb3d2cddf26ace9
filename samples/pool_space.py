"""Where pool pages lie: virtual layout with gaps, page states, frames, and the large allocations' pages.

Witness: facts/pool-algorithms.md section 7 (two nonpaged ranges, one bit a page in the paged pool maps),
facts/kernel-location.md section 7 (states of entries that are not valid).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .population import Big

I64 = NDArray[np.int64]

VALID: Final = 0
TRANSITION: Final = 1
PAGEFILE: Final = 2
DEMAND_ZERO: Final = 3
STATE_NAMES: Final = ("valid", "transition", "pagefile", "demandzero")


@dataclass(frozen=True)
class Placement:
    """One pool's pages in order of address.

    `slot` is the page's number in the pool's address range(s); `small` the small-block page it is, or -1;
    `big` the large allocation, or -1; `first`/`last` mark the ends of an allocation.
    """

    slot: I64
    small: I64
    big: I64
    first: NDArray[np.bool_]
    last: NDArray[np.bool_]
    state: NDArray[np.uint8]
    frame: I64
    va: NDArray[np.uint64]
    swap: I64 | None = None  # slot in the page files, or -1; None: the machine keeps no page files

    def of_small(self, column: NDArray[np.generic], count: int) -> NDArray[np.generic]:
        """A column reordered by small-block page number."""
        out = np.zeros(count, dtype=column.dtype)
        mask = self.small >= 0
        out[self.small[mask]] = column[mask]
        return out

    def big_va(self, number: int) -> int:
        return int(self.va[np.flatnonzero((self.big == number) & self.first)[0]])


def _slots(
    lengths: I64, rng: np.random.Generator, first_range: int | None, gap_share: float, room: int
) -> tuple[I64, I64]:
    """(order, start slot) of items placed with gaps; an item never straddles the end of the first range."""
    order = rng.permutation(len(lengths))
    gaps = np.where(rng.random(len(lengths)) < gap_share, rng.integers(1, 4, len(lengths)), 0)
    gaps[np.cumsum(gaps) > room - int(lengths.sum())] = 0
    ends = np.cumsum(lengths[order] + gaps)
    starts = ends - lengths[order]
    if first_range is not None:
        over = int(np.searchsorted(ends, first_range, side="right"))
        if over < len(starts):
            starts[over:] += first_range - (int(ends[over - 1]) if over else 0)
            starts[over:] -= gaps[over]
    return order, starts


def lay_out(
    small_pages: int,
    bigs: list[Big],
    rng: np.random.Generator,
    room: int,
    *,
    first_range: int | None = None,
    gaps: float = 0.03,
) -> tuple[I64, I64, I64, NDArray[np.bool_], NDArray[np.bool_]]:
    """(slot, small, big, first, last) for every allocated page, by slot; all of it inside `room` pages."""
    lengths = np.array([1] * small_pages + [big.pages for big in bigs], dtype=np.int64)
    order, starts = _slots(lengths, rng, first_range, gaps, room)
    sizes = lengths[order]
    item = np.repeat(order, sizes)
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    slot = np.repeat(starts, sizes) + within
    small = np.where(item < small_pages, item, -1)
    big = np.where(item >= small_pages, item - small_pages, -1)
    return slot, small, big, within == 0, within == np.repeat(sizes, sizes) - 1


def page_states(big: I64, paged_out: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Paged pool: a share is out, three quarters of it in the page file; big blocks may be demand zero."""
    draw = rng.random(len(big))
    state = np.full(len(big), VALID, dtype=np.uint8)
    state[draw < paged_out] = PAGEFILE
    state[draw < paged_out * 0.25] = TRANSITION
    untouched = (big >= 0) & (state == VALID) & (rng.random(len(big)) < 0.04)
    state[untouched] = DEMAND_ZERO
    return state
