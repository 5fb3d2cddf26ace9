"""`build`: from options to a machine in memory, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from .blocks import Special, TagNames, chains_of
from .descriptors import list_heads, write_descriptors, write_paged_info
from .drivers import Unloads, module_specials, modules, ring_specials, unload_ring
from .kernel_space import (
    map_block,
    map_drivers,
    map_kernel,
    map_loose,
    map_processors,
    map_shared_page,
    map_user,
)
from .options import Options
from .page_files import PageFiles
from .paging import ROOT_FRAMES, Paging
from .pfn import PfnTable
from .pool_build import (
    big_entries,
    freed_entries,
    place_nonpaged,
    place_paged,
    write_free_runs,
    write_pool,
    write_stale,
)
from .pool_tables import big_table_size
from .population import POOLS, Big, Population, populate
from .processes import process_specials
from .ram import MB, Ram
from .truth import machine_truth
from .variables import (
    find_processes,
    write_debugger,
    write_memory_limits,
    write_modules,
    write_pool_tables,
    write_processes,
    write_unloads,
    write_version,
)
from .work import Pool, Work, kernel_place, root_frame, round_up

_HAL_SIZE: Final = 0x20300


@dataclass(frozen=True)
class Machine:
    """A finished machine: physical memory, what a dump header says, and the truth."""

    options: Options
    ram: Ram
    truth: dict[str, Any]
    dtb: int
    pfn_database: int
    header: dict[str, int]  # addresses that crash dump headers carry
    page_files: PageFiles | None = None

    @property
    def pointer(self) -> int:
        """Bytes of a pointer: 4 or 8."""
        return self.options.kernel.profile.arch.pointer


def _slots(options: Options) -> int:
    """Tag table size without the overflow slot."""
    if options.overflow != "none":
        return 128
    return 1024 if options.kernel.profile.nt == "5.1" else 2048


def _own_tables(options: Options, population: Population, limit_pages: int, slots: int) -> int:
    """Add the pool's own large allocations to the plan; the big page table's size comes back."""
    layout = options.kernel.profile.layout
    page = layout.page
    bigs = population.plans["nonpaged"].bigs
    descriptors = (5 if options.kernel.profile.mp else 3) * layout.descriptor.size
    bigs.append(Big("Pool", round_up(descriptors, page) // page, "paged descriptors"))
    bitmap = round_up(limit_pages // 8 + 64, page) // page
    bigs += [Big("Mm  ", bitmap, "bitmap allocation"), Big("Mm  ", bitmap, "bitmap end")]
    live = sum(len(plan.bigs) for plan in population.plans.values()) + 3
    size = big_table_size(live * 2)
    if options.tagging:
        bigs.append(Big("Pool", round_up((slots + 1) * layout.tracker.itemsize, page) // page, "tracker"))
        bigs.append(Big("Pool", round_up(size * layout.big.itemsize, page) // page, "big table"))
        if options.overflow == "expansion":
            bigs.append(Big("Pool", round_up(512 * layout.tracker.itemsize, page) // page, "expansion"))
    return size


def _paged_limit(options: Options, used_pages: int) -> int:
    """Bytes of paged pool: as full as asked, else plenty; always inside the range the profile has."""
    most = options.kernel.profile.bases.paged_limit_mb * MB
    page = options.kernel.profile.arch.page
    used = used_pages * page
    if options.fullness is not None:
        limit = round_up(int(used / options.fullness), page)
    else:
        limit = round_up(min(max(used * 3, options.ram_mb * MB // 2), max(most, used)), 4 * MB)
    if limit > most:
        raise ValueError(f"{limit // MB} MB of paged pool do not fit {options.profile}")
    return limit


def _nonpaged_limit(options: Options, used: int) -> int:
    """A quarter of RAM; on x86 no more than there is room for above the system PTEs."""
    quarter = options.ram_mb * MB // 4
    if options.kernel.profile.arch.pointer == 4:
        quarter = min(quarter, 96 * MB)
    return round_up(max(used * 3 // 2, quarter, 4 * MB), 2 * MB)


def _initial_pages(options: Options, block_pa: int, frames: int, used_pages: int) -> int:
    """Initial nonpaged pool: about 60 % of what is in use, up to the end of a large page."""
    profile = options.kernel.profile
    page = profile.arch.page
    table = round_up(frames * profile.layout.pfn.size, page)
    if options.ram_mb < 48:
        return min(used_pages * 6 // 10, (0x400000 - block_pa - table) // page)
    end = round_up(block_pa + table + used_pages * page * 6 // 10, profile.arch.large)
    return (end - block_pa - table) // page


def _specials(work_modules: list[Special], ring: Unloads, options: Options) -> list[Special]:
    layout = options.kernel.profile.layout
    block = Special("memory block", "Mm  ", 16 + 16 * 4)
    return [*process_specials(layout), block, *work_modules, *ring_specials(ring, layout.pointer)]


def _plan(options: Options) -> Work:
    """Everything that is decided before a byte is placed."""
    build, profile = options.kernel, options.kernel.profile
    layout = profile.layout
    population, names = populate(options, layout), TagNames()
    kernel_pa, hal_pa, block_pa = kernel_place(profile, options.ram_mb)
    identity = profile.bases.identity
    found = modules(
        build, options, (identity + kernel_pa, profile.image_size), (identity + hal_pa, _HAL_SIZE)
    )
    ring = unload_ring(options, found[-1].base + 0x100000)
    specials = {"nonpaged": _specials(module_specials(found, layout.ldr_size), ring, options), "paged": []}
    chains = {
        pool: chains_of(
            population.plans[pool].lots, specials[pool], names, layout, options.stream(f"{pool} blocks")
        )
        for pool in POOLS
    }
    used = {pool: chains[pool].pages + sum(b.pages for b in population.plans[pool].bigs) for pool in POOLS}
    limit = _paged_limit(options, used["paged"])
    pools = {pool: Pool(pool, chains[pool], specials[pool]) for pool in POOLS}
    pools["paged"].limit = limit
    ram = Ram(options.ram_mb, options.stream("frames"), layout.page)
    slots = _slots(options)
    big_size = _own_tables(options, population, limit // layout.page, slots)
    np_pages = chains["nonpaged"].pages + sum(b.pages for b in population.plans["nonpaged"].bigs)
    pools["nonpaged"].limit = _nonpaged_limit(options, np_pages * layout.page)
    initial = _initial_pages(options, block_pa, ram.frames, np_pages)
    size = round_up(ram.frames * layout.pfn.size, layout.page) + initial * layout.page
    root = root_frame(profile, options.ram_mb)
    ram.reserve(root, ROOT_FRAMES)
    _reserve(ram, options, kernel_pa, hal_pa, block_pa, size)
    work = Work(
        options=options,
        build=build,
        ram=ram,
        paging=Paging(ram, profile.arch, root, options.dtb_offset, profile.bases.system_start),
        pfn=PfnTable(ram.frames),
        kernel_pa=kernel_pa,
        hal_pa=hal_pa,
        block_pa=block_pa,
        block_size=size,
        initial_pages=initial,
        names=names,
        population=population,
        pools=pools,
        module_list=found,
        ring=ring,
    )
    work.slots, work.big_size = slots, big_size
    return work


def _reserve(ram: Ram, options: Options, kernel_pa: int, hal_pa: int, block_pa: int, block_size: int) -> None:
    """Contiguous memory: whole large pages around the kernel on machines with room."""
    start, end = kernel_pa, hal_pa + round_up(_HAL_SIZE, ram.page)
    if options.ram_mb >= 48:
        large = options.kernel.profile.arch.large
        start, end = start // large * large, round_up(end, large)
    for pa, size in ((start, end - start), (block_pa, block_size)):
        if not ram.available(pa // ram.page, size // ram.page):
            raise MemoryError("the machine has too little RAM for this kernel")
        ram.reserve(pa // ram.page, size // ram.page)


def _map_system(work: Work) -> None:
    map_kernel(work)
    map_block(work)
    map_shared_page(work)
    map_processors(work)
    map_drivers(work)
    if work.options.tagging and work.layout.per_cpu_tables:
        size = (work.slots + 2) * work.layout.tracker.itemsize
        for number in range(1, work.options.processors):
            at = work.profile.bases.system_ptes + 0x200000 + number * round_up(size + work.page, 0x10000)
            map_loose(work, at, size)
            work.cpu_tables.append(at)


def _fill_pools(work: Work) -> None:
    place_nonpaged(work)
    place_paged(work)
    spaces = find_processes(work)
    map_user(work, spaces)
    links = {pool: write_pool(work, pool, list_heads(work, pool)) for pool in POOLS}
    write_free_runs(work)
    work.bigs_live = big_entries(work)
    if work.options.tagging:
        work.bigs_freed = freed_entries(work, max(len(work.bigs_live) // 2, 8))
    write_descriptors(work, links)
    write_paged_info(work)


def _finish(work: Work) -> None:
    write_processes(work)
    write_modules(work)
    write_unloads(work)
    write_debugger(work)
    write_version(work)
    write_memory_limits(work)
    write_pool_tables(work, work.slots, work.big_size)
    write_stale(work)
    work.paging.share_kernel()
    work.paging.table_frames(work.pfn.va, work.pfn.table)
    target = work.ram.data[work.block_pa : work.block_pa + work.pfn_bytes]
    work.pfn.write(target, work.layout, work.profile.arch)
    block = slice(work.block_pa // work.page, (work.block_pa + work.pfn_bytes) // work.page)
    work.ram.touched[block] = target.reshape(-1, work.page).any(axis=1)


def build(profile: str = "xpsp3-x86-pae", scenario: str = "leak", **parameters: Any) -> Machine:
    """A machine from a profile, a scenario and the parameters of `Options`."""
    options = Options(profile=profile, scenario=scenario, **parameters).resolved()
    work = _plan(options)
    _map_system(work)
    _fill_pools(work)
    _finish(work)
    header = {
        name: work.address(name)
        for name in ("PsLoadedModuleList", "PsActiveProcessHead", "KdDebuggerDataBlock")
    }
    return Machine(
        options, work.ram, machine_truth(work), work.paging.dtb, work.block_va, header, work.page_files
    )
