"""Placing both pools: addresses, states, frames, page table entries, and the bytes of every page."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .blocks import chains_of
from .contents import filler_pages
from .page_files import page_files
from .paging import page_file_pte
from .pfn import FREE_PAGE, MODIFIED, STANDBY
from .pool_pages import FreeLists, PageStyle, link_free, write_pages
from .pool_space import PAGEFILE, TRANSITION, VALID, Placement, lay_out, page_states
from .pool_tables import BigEntry
from .population import Lot
from .work import Pool, Work

_VA_TYPES = {"nonpaged": 5, "paged": 6}


def place_nonpaged(work: Work) -> None:
    """Initial range in the boot block, the rest in the expansion range at scattered frames."""
    pool, bases = work.pools["nonpaged"], work.profile.bases
    rng = work.options.stream("nonpaged layout")
    slot, small, big, first, last = lay_out(
        pool.chains.pages,
        work.population.plans["nonpaged"].bigs,
        rng,
        pool.limit // work.page * 9 // 10,
        first_range=work.initial_pages,
    )
    if bases.boot_block is None or work.profile.arch.pointer == 4:
        expansion = bases.expansion_end - (pool.limit - work.initial_pages * work.page)
    else:  # behind a hole
        expansion = work.initial_va + work.initial_pages * work.page + 0x400000 & ~0x1FFFFF
    initial = slot < work.initial_pages
    frame = np.where(initial, work.block_pa // work.page + work.pfn_bytes // work.page + slot, 0)
    frame[~initial] = work.ram.take(int((~initial).sum()))
    work.ram.touched[frame] = True
    base = np.where(
        initial, np.uint64(work.initial_va), np.uint64(expansion - work.initial_pages * work.page)
    )
    va = base + slot.astype(np.uint64) * np.uint64(work.page)
    pool.placement = Placement(slot, small, big, first, last, np.zeros(len(slot), np.uint8), frame, va)
    pool.start, pool.end = work.initial_va, expansion + pool.limit - work.initial_pages * work.page
    pool.index = np.zeros(pool.chains.pages, dtype=np.int64)
    work.expansion_va = expansion
    if (~initial).any():
        _map_pages(work, va[~initial], frame[~initial])
    work.pfn.active(frame, va, _VA_TYPES["nonpaged"])
    work.pfn.start[frame], work.pfn.end[frame] = first, last


def _map_pages(work: Work, va: NDArray[np.uint64], frame: NDArray[np.int64]) -> None:
    """Entries for possibly gapped pages, written range by range."""
    work.ram.kernel[frame] = True
    entries = (frame.astype(np.uint64) << np.uint64(work.profile.arch.shift)) | np.uint64(
        work.profile.arch.bits.valid
    )
    _set_gapped(work, va, entries)


def _set_gapped(work: Work, va: NDArray[np.uint64], entries: NDArray[np.uint64]) -> None:
    pages = ((va - va[0]) // np.uint64(work.page)).astype(np.int64)
    table = np.zeros(int(pages[-1]) + 1, dtype=np.uint64)
    table[pages] = entries
    work.paging.set_ptes(int(va[0]), table)


def place_paged(work: Work) -> None:
    """Gapped address range, a share of the pages out of memory."""
    pool, bases = work.pools["paged"], work.profile.bases
    rng = work.options.stream("paged layout")
    slot, small, big, first, last = lay_out(
        pool.chains.pages, work.population.plans["paged"].bigs, rng, pool.limit // work.page
    )
    state = page_states(big, work.options.paged_out, rng)
    frame = np.full(len(slot), -1, dtype=np.int64)
    held = (state == VALID) | (state == TRANSITION)
    frame[held] = work.ram.take(int(held.sum()))
    va = np.uint64(bases.paged) + slot.astype(np.uint64) * np.uint64(work.page)
    swap = _paged_out(work, state)
    pool.placement = Placement(slot, small, big, first, last, state, frame, va, swap)
    pool.start, pool.end = bases.paged, bases.paged + pool.limit - 1
    descriptors = 2 if not work.profile.mp else 4
    pool.index = rng.integers(1, descriptors + 1, pool.chains.pages)
    pool.index[rng.random(pool.chains.pages) < 0.02] = 0  # prototype entries' own descriptor
    _map_paged(work, pool.placed, rng)


def _paged_out(work: Work, state: NDArray[np.uint8]) -> NDArray[np.int64] | None:
    """Places in the page files of the pages that are out; None where the machine keeps no such files."""
    if not work.options.page_files:
        return None
    out = state == PAGEFILE
    files = page_files(work.options.page_files, int(out.sum()), work.page, work.options.stream("page files"))
    swap = np.full(len(state), -1, dtype=np.int64)
    swap[out] = work.options.stream("page file slots").permutation(files.taken)
    work.page_files = files
    return swap


def _map_paged(work: Work, placed: Placement, rng: np.random.Generator) -> None:
    state, frame, bits = placed.state, placed.frame, work.profile.arch.bits
    entries = np.full(len(state), bits.demand_zero, dtype=np.uint64)
    valid, moving = state == VALID, state == TRANSITION
    entries[valid] = (frame[valid].astype(np.uint64) << np.uint64(work.profile.arch.shift)) | np.uint64(
        bits.valid
    )
    entries[moving] = (frame[moving].astype(np.uint64) << np.uint64(work.profile.arch.shift)) | np.uint64(
        bits.transition
    )
    out = state == PAGEFILE
    offsets = rng.permutation(int(out.sum())).astype(np.uint64) + np.uint64(0x100)
    numbers = None
    if work.page_files is not None and placed.swap is not None:
        numbers, offsets = work.page_files.place(placed.swap[out])
    entries[out] = page_file_pte(work.profile.arch, offsets, numbers)
    _set_gapped(work, placed.va, entries)
    work.ram.kernel[frame[valid]] = True
    work.pfn.active(frame[valid], placed.va[valid], _VA_TYPES["paged"])
    work.pfn.va[frame[moving]] = placed.va[moving]
    work.pfn.location[frame[moving]] = rng.choice([STANDBY, MODIFIED], int(moving.sum()))
    work.pfn.va_type[frame[moving]] = _VA_TYPES["paged"]


def style_for(work: Work, paged: bool) -> PageStyle:
    """Page style of one pool; needs the processes' addresses."""
    return PageStyle(
        layout=work.layout,
        paged=paged,
        tagging=bool(work.options.tagging),
        keys=work.names.keys(),
        contents=work.population.contents,
        filler=filler_pages(work.options.stream("filler"), work.layout.pointer, work.initial_va, work.page),
        processes=np.array([process.address for process in work.processes], dtype=np.uint64),
    )


def block_addresses(work: Work, pool: Pool) -> NDArray[np.uint64]:
    """Virtual address of every block."""
    page_va = pool.placed.of_small(pool.placed.va, pool.chains.pages).astype(np.uint64)
    offset = (pool.chains.offset * work.layout.unit).astype(np.uint64)
    result: NDArray[np.uint64] = page_va[pool.chains.page] + offset
    return result


def write_pool(work: Work, name: str, heads_at: dict[int, int]) -> FreeLists:
    """Small-block pages, then the contents of large allocations."""
    pool = work.pools[name]
    links = link_free(pool.chains, block_addresses(work, pool), pool.index, heads_at, work.layout)
    style = style_for(work, name == "paged")
    frames = pool.placed.of_small(pool.placed.frame, pool.chains.pages).astype(np.int64)
    rng = work.options.stream(f"{name} pages")
    write_pages(work.ram, pool.chains, frames, pool.index, links, style, rng)
    _write_bigs(work, pool, style, rng)
    if work.page_files is not None and pool.placed.swap is not None:
        _write_swap(work, pool, links, style)
    return links


def _write_swap(work: Work, pool: Pool, links: FreeLists, style: PageStyle) -> None:
    """The pages that are out, as in memory; here too some large allocations hold old small-block pages."""
    files, placed, rng = work.page_files, pool.placed, work.options.stream("page file contents")
    assert files is not None and placed.swap is not None
    slots = placed.of_small(np.where(placed.state == PAGEFILE, placed.swap + 1, 0), pool.chains.pages)
    write_pages(files, pool.chains, slots.astype(np.int64) - 1, pool.index, links, style, rng)
    large = placed.swap[(placed.big >= 0) & (placed.swap >= 0)]
    files.pages[large] = style.filler[rng.integers(0, len(style.filler), len(large))]
    donors = placed.swap[(placed.small >= 0) & (placed.swap >= 0)]
    old = large[rng.random(len(large)) < 0.125] if work.options.tagging else large[:0]
    if len(old) and len(donors):
        files.pages[old] = files.pages[donors[rng.integers(0, len(donors), len(old))]]
    files.touched[large] = True


def _write_bigs(work: Work, pool: Pool, style: PageStyle, rng: np.random.Generator) -> None:
    """Filler; every eighth page is an old small-block page that now belongs to a large allocation.

    Without tables nothing tells a one-page allocation with such contents from pool, so those are spared then.
    """
    pages = np.array([big.pages for big in work.population.plans[pool.name].bigs], dtype=np.int64)
    frames = pool.placed.frame[(pool.placed.big >= 0) & (pool.placed.frame >= 0)]
    for at in range(0, len(frames), 4096):
        part = frames[at : at + 4096]
        work.ram.pages[part] = style.filler[rng.integers(0, len(style.filler), len(part))]
        work.ram.touched[part] = True
    donors = pool.placed.frame[(pool.placed.small >= 0) & (pool.placed.frame >= 0)]
    aged = rng.random(len(frames)) < 0.125
    if not work.options.tagging:
        aged &= pages[pool.placed.big[(pool.placed.big >= 0) & (pool.placed.frame >= 0)]] > 1
    old = frames[aged]
    if len(old) and len(donors):
        work.ram.pages[old] = work.ram.pages[donors[rng.integers(0, len(donors), len(old))]]


def free_runs(work: Work) -> list[tuple[int, int]]:
    """(slot, pages) of the free runs inside the initial nonpaged range."""
    used = np.zeros(work.initial_pages + 1, dtype=bool)
    slot = work.pools["nonpaged"].placed.slot
    used[slot[slot < work.initial_pages]] = True
    used[-1] = True
    edges = np.flatnonzero(np.diff(np.r_[True, used].astype(np.int8)))
    return [(int(a), int(b - a)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def write_free_runs(work: Work) -> None:
    """_MMFREE_POOL_ENTRY at the start of each free run (XP and 2003): List, Size, Signature, Owner."""
    pointer = work.layout.pointer
    if work.layout.modern:
        return
    runs = free_runs(work)
    addresses = [work.initial_va + slot * work.page for slot, _ in runs]
    for number, (slot, pages) in enumerate(runs):
        values = (addresses[(number + 1) % len(runs)], addresses[number - 1], pages, 0, addresses[number])
        data = b"".join(value.to_bytes(pointer, "little") for value in values)
        work.ram.poke(work.block_pa + work.pfn_bytes + slot * work.page, data)


def write_stale(work: Work) -> None:
    """Old paged pool pages on the free list: chains intact, no entry maps them any more."""
    rng = work.options.stream("stale")
    wanted = work.options.stale_pages
    count = min(wanted if wanted is not None else work.options.ram_mb * 2, work.ram.free_frames // 4)
    if count <= 0:
        return
    size = len(work.population.contents[0])
    lots = [Lot("IoSe", size, count * 8, content=0, leak=True), Lot("Pp  ", 116, count * 16, leak=True)]
    chains = chains_of(lots, [], work.names, work.layout, rng)
    pages = min(count, chains.pages)
    frames = np.full(chains.pages, -1, dtype=np.int64)
    frames[:pages] = work.ram.take(pages)
    style = style_for(work, True)
    write_pages(work.ram, chains, frames, np.ones(chains.pages, dtype=np.int64), None, style, rng)
    work.pfn.location[frames[:pages]] = FREE_PAGE
    used = chains.used() & (chains.page < pages)
    for tag in ("IoSe", "Pp  "):
        work.stale[tag] = int((used & (chains.tag == work.names.number(tag))).sum())
    work.stale_frames = pages


def big_entries(work: Work) -> list[BigEntry]:
    """Every live large allocation with its address, both pools."""
    found = []
    for name, pool in work.pools.items():
        placed, bigs = pool.placed, work.population.plans[name].bigs
        heads = np.flatnonzero((placed.big >= 0) & placed.first)
        for at in heads:
            big = bigs[int(placed.big[at])]
            slack = big.slack if work.options.big_requested else 0
            size = big.pages * work.page - slack
            found.append(BigEntry(int(placed.va[at]), big.tag, big.pages, name, size, big.protected))
    return found


def freed_entries(work: Work, count: int) -> list[BigEntry]:
    """Entries of large allocations long gone; their addresses may hold something else now."""
    rng = work.options.stream("freed big")
    found, seen = [], {entry.va for entry in work.bigs_live}
    for _ in range(count):
        name = "paged" if rng.random() < 0.7 else "nonpaged"
        placed = work.pools[name].placed
        va = int(placed.va[int(rng.integers(len(placed.va)))])
        donor = work.bigs_live[int(rng.integers(len(work.bigs_live)))]
        if va not in seen:
            seen.add(va)
            found.append(BigEntry(va, donor.tag, donor.pages, name, donor.pages * work.page, donor.protected))
    return found
