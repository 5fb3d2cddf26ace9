"""The state that the building steps share, and writes by virtual address."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .blocks import Chains, Special, TagNames
from .drivers import Module, Unloads
from .layouts import Layout
from .options import Options
from .page_files import PageFiles
from .paging import Paging
from .pe import data_rva
from .pfn import PfnTable
from .pool_space import Placement
from .pool_tables import BigEntry, Tracker
from .population import Population
from .processes import Process
from .profiles import KernelBuild, Profile
from .ram import MB, Ram
from .symbols import variables


def round_up(value: int, to: int) -> int:
    return (value + to - 1) // to * to


@dataclass
class Pool:
    """One pool on its way from plan to bytes."""

    name: str
    chains: Chains
    specials: list[Special]
    placement: Placement | None = None
    index: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(0, dtype=np.int64)
    )  # PoolIndex by small page
    limit: int = 0
    start: int = 0
    end: int = 0

    @property
    def placed(self) -> Placement:
        if self.placement is None:
            raise RuntimeError(f"the {self.name} pool is not placed yet")
        return self.placement


@dataclass
class Work:
    """A machine under construction."""

    options: Options
    build: KernelBuild
    ram: Ram
    paging: Paging
    pfn: PfnTable
    kernel_pa: int
    hal_pa: int
    block_pa: int  # PFN database, then initial nonpaged pool
    block_size: int
    initial_pages: int
    names: TagNames
    population: Population
    pools: dict[str, Pool]
    module_list: list[Module]
    ring: Unloads
    tracker: Tracker | None = None
    bigs_live: list[BigEntry] = field(default_factory=list)
    bigs_freed: list[BigEntry] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    pcrs: list[int] = field(default_factory=list)
    loose: dict[int, int] = field(default_factory=dict)  # page address -> frame, outside pool and identity
    cpu_tables: list[int] = field(default_factory=list)
    stale: dict[str, int] = field(default_factory=dict)
    stale_frames: int = 0
    expansion_va: int = 0
    page_files: PageFiles | None = None
    slots: int = 0
    big_size: int = 0

    @property
    def page(self) -> int:
        """Bytes of a page."""
        return self.ram.page

    @property
    def profile(self) -> Profile:
        return self.build.profile

    @property
    def layout(self) -> Layout:
        return self.profile.layout

    @property
    def base(self) -> int:
        return self.profile.bases.identity + self.kernel_pa

    @property
    def block_va(self) -> int:
        if self.profile.bases.boot_block is None:
            return self.profile.bases.identity + self.block_pa
        return self.profile.bases.boot_block + self.block_pa % self.profile.arch.large

    @property
    def pfn_bytes(self) -> int:
        return round_up(self.ram.frames * self.layout.pfn.size, self.page)

    @property
    def initial_va(self) -> int:
        return self.block_va + self.pfn_bytes

    @property
    def rvas(self) -> dict[str, int]:
        return variables(self.profile, data_rva(self.profile))

    def address(self, variable: str) -> int:
        """Virtual address of a kernel variable."""
        return self.base + self.rvas[variable]

    def frame_of(self, va: int) -> int:
        """Frame behind a kernel address of the writer's own."""
        if va & -self.page in self.loose:
            return self.loose[va & -self.page]
        pa = va - self.profile.bases.identity
        if self.kernel_pa <= pa < self.hal_pa + 0x21000:
            return pa // self.page
        nonpaged = self.pools["nonpaged"].placed
        at = int(np.searchsorted(nonpaged.va, np.uint64(va & -self.page)))
        if at == len(nonpaged.va) or int(nonpaged.va[at]) != va & -self.page:
            raise KeyError(f"{va:#x} is not mapped")
        return int(nonpaged.frame[at])

    def poke(self, va: int, data: bytes) -> None:
        """Write to kernel memory, page by page."""
        done = 0
        while done < len(data):
            at = va + done
            count = min(self.page - at % self.page, len(data) - done)
            self.ram.poke(self.frame_of(at) * self.page + at % self.page, data[done : done + count])
            done += count

    def set(self, variable: str, value: int, size: int | None = None) -> None:
        """A kernel variable; pointer size unless told."""
        width = size or self.layout.pointer
        self.poke(self.address(variable), (value & ((1 << 8 * width) - 1)).to_bytes(width, "little"))

    def special_addresses(self) -> dict[str, int]:
        """Address of every named block's contents."""
        pool = self.pools["nonpaged"]
        page_va = pool.placed.of_small(pool.placed.va, pool.chains.pages)
        blocks = np.flatnonzero(pool.chains.special >= 0)
        unit = self.layout.unit
        return {
            pool.specials[int(pool.chains.special[b])].name: int(page_va[pool.chains.page[b]])
            + (int(pool.chains.offset[b]) + 1) * unit
            for b in blocks
        }

    def named_big(self, name: str) -> int:
        """Address of a table that the writer placed as a large nonpaged allocation."""
        number = next(i for i, big in enumerate(self.population.plans["nonpaged"].bigs) if big.name == name)
        return self.pools["nonpaged"].placed.big_va(number)


def root_frame(profile: Profile, ram_mb: int) -> int:
    """Where the loader put the system's root table: low memory, as in real images."""
    if ram_mb < 48:
        return 0x110000 // profile.arch.page
    return {"x86": 0x39, "pae": 0x319 if profile.nt == "5.1" else 0x122, "x64": 0x124, "ia64": 0x124}[
        profile.arch.name
    ]


def kernel_place(profile: Profile, ram_mb: int) -> tuple[int, int, int]:
    """Physical addresses of kernel, HAL and boot block; tiny machines have no room above 16 MB."""
    pa = (
        profile.kernel_pa
        if ram_mb >= 48 or profile.kernel_pa < 16 * MB
        else profile.kernel_pa % 0x400000 + 0x800000
    )
    hal = round_up(pa + profile.image_size, profile.arch.page) + profile.arch.page
    end = hal + 0x21000
    block = 0x200000 if ram_mb < 48 else round_up(max(16 * MB, end), 0x400000)
    return pa, hal, block
