"""Directory table bases: verify a claimed one by the self-map, find one where no header tells.

Witness: facts/kernel-location.md section 4 ([2S]). Under PAE, CR3 names a 32-byte table anywhere
below 4 GB; what a scan finds page by page is the fourth page directory (it maps all four), which
is enough to translate kernel addresses. The trap of the area: from Windows 10 1607 on, x64 kernels
map their page tables at another place after each boot, so any slot of the upper half may be the one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dumpscan.errors import AbsentMemory
from dumpscan.image.physical import U8, PhysicalMemory, filled_runs
from dumpscan.memory.c_pte import PAE, VALID, X64, X86, Paging
from dumpscan.memory.virtual import PagedMemory
from dumpscan.records import record, replace

CHUNK = 2048
"""Pages per scan step: 8 MB of scratch, which stays in the processor's caches' reach."""

_X86_SELF = 0xC00
_X64_SELF = 0xF68
_X64_UPPER = 256
"""Index of the first entry of an x64 root table that maps system space; the table has 512."""
_PDPT_RESERVED = 0x1E6
"""Bits 1, 2 and 5 to 8 of a PAE page directory pointer are reserved and clear."""


@record
class Candidate:
    """A possible address space. ``roots`` are PAE directory entries when the PDPT is not known."""

    paging: Paging
    dtb: int
    roots: tuple[int, ...] = ()

    def open(self, physical: PhysicalMemory) -> PagedMemory:
        """Virtual memory of this candidate."""
        return PagedMemory(physical, self.paging, self.dtb, self.roots)


def verify(physical: PhysicalMemory, paging: Paging, dtb: int) -> bool:
    """Does the table at ``dtb`` map itself where Windows does? False also when it is absent."""
    return settle(physical, paging, dtb) is not None


def settle(physical: PhysicalMemory, paging: Paging, dtb: int) -> Paging | None:
    """The mode, with its self map where the table at ``dtb`` has it; None where :func:`verify` fails."""
    try:
        if paging.arch == "x64":
            return _settle_x64(physical, paging, dtb & ~0xFFF)
        if paging is X86:
            return paging if _maps_itself(physical, dtb & ~0xFFF, _X86_SELF, 4, paging) else None
        return paging if _verify_pdpt(physical, dtb & ~0x1F) else None
    except AbsentMemory:
        return None


def _settle_x64(physical: PhysicalMemory, paging: Paging, dtb: int) -> Paging | None:
    upper = np.frombuffer(physical.read(dtb + 8 * _X64_UPPER, 8 * _X64_UPPER), "<u8")
    slots = np.flatnonzero(_points_to(upper, np.full(len(upper), dtb, np.uint64), paging)) + _X64_UPPER
    if not len(slots):
        return None
    slot = _X64_SELF // 8 if _X64_SELF // 8 in slots else int(slots[0])
    return replace(paging, self_map=0xFFFF0000_00000000 | slot << 39)


def find_moved(
    rows: U8, pfns: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> Iterator[Candidate]:
    """As :func:`find_in`, for x64 root tables that map themselves anywhere: slower, and only of use
    where no table maps itself at the fixed place."""
    own = (pfns << 12).astype(np.uint64)
    upper = rows.view("<u8")[:, _X64_UPPER:] & np.uint64(X64.frame_mask | VALID)
    for i in np.flatnonzero((upper == (own | np.uint64(VALID))[:, None]).any(axis=1)):
        yield Candidate(X64, int(own[i]))


def _maps_itself(physical: PhysicalMemory, dtb: int, at: int, size: int, paging: Paging) -> bool:
    entry = int.from_bytes(physical.read(dtb + at, size), "little")
    return bool(entry & VALID) and entry & paging.frame_mask == dtb


def _verify_pdpt(physical: PhysicalMemory, pdpt: int) -> bool:
    entries = np.frombuffer(physical.read(pdpt, 32), "<u8")
    if not all(int(e) & VALID and not int(e) & _PDPT_RESERVED for e in entries):
        return False
    frames = [int(e) & PAE.frame_mask for e in entries]
    mapped = np.frombuffer(physical.read(frames[3], 32), "<u8")
    return [int(e) & PAE.frame_mask for e in mapped] == frames and all(int(e) & VALID for e in mapped)


def find_in(rows: U8, pfns: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Iterator[Candidate]:
    """Candidates among gathered pages: ``rows`` (n, 4096) uint8, ``pfns`` their page frames."""
    own = (pfns << 12).astype(np.uint64)
    wide = rows.view("<u8")
    entry = wide[:, _X64_SELF // 8]
    for i in np.flatnonzero(_points_to(entry, own, X64)):
        yield Candidate(X64, int(own[i]))
    entry = wide[:, 3]
    hits = _points_to(entry, own, PAE)
    for i in np.flatnonzero(hits & np.all(wide[:, :3] & np.uint64(VALID) != 0, axis=1)):
        yield Candidate(PAE, 0, tuple(int(e) for e in wide[i, :4]))
    entry = rows.view("<u4")[:, _X86_SELF // 4].astype(np.uint64)
    for i in np.flatnonzero(_points_to(entry, own, X86)):
        yield Candidate(X86, int(own[i]))


def _points_to(
    entry: np.ndarray[tuple[int], np.dtype[np.uint64]],
    own: np.ndarray[tuple[int], np.dtype[np.uint64]],
    paging: Paging,
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    hit: np.ndarray[tuple[int], np.dtype[np.bool_]] = ((entry & np.uint64(VALID)) != 0) & (
        entry & np.uint64(paging.frame_mask) == own
    )
    return hit


def chunks(
    physical: PhysicalMemory, size: int = CHUNK
) -> Iterator[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Page frame numbers of all present pages, ascending, ``size`` at a time, across runs.

    Holes of a sparse file are passed over: nothing is found in zeros."""
    runs = filled_runs(physical)
    ends = np.cumsum(runs.page_count)
    total = int(ends[-1]) if len(ends) else 0
    for at in range(0, total, size):
        ordinal = np.arange(at, min(at + size, total), dtype=np.int64)
        run = np.searchsorted(ends, ordinal, side="right")
        yield runs.base_page[run] + (ordinal - (ends[run] - runs.page_count[run]))
