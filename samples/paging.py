"""Page tables for x86, PAE, x64 and Itanium, with the self map that readers test.

Witness: facts/pte-formats.json (bit positions), facts/kernel-location.md section 4 (self maps)
and section 7 (states of entries that are not present); facts/ia64.md 2 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .ram import MB, Pfns, Ram

VALID: Final = 0x63  # Valid, Write, Accessed, Dirty
USER: Final = 0x67
LARGE: Final = 0xE3
GLOBAL: Final = 0x100
TRANSITION: Final = (1 << 11) | (4 << 5)  # bit 11, protection read-write
DEMAND_ZERO: Final = 4 << 5
ROOT_FRAMES: Final = 5  # the boot loader builds the system's tables side by side in low memory


@dataclass(frozen=True)
class Bits:
    """Entries without their frames, by what they say; `number` is the first bit of a page file's number."""

    valid: int = VALID
    user: int = USER
    large: int = LARGE
    shared: int = GLOBAL  # between address spaces
    transition: int = TRANSITION
    demand_zero: int = DEMAND_ZERO
    number: int = 1


# Valid, accessed, dirty, read-write-execute for ring 0 or 3; bit 2 large, bit 7 transition.
_IA64_BITS: Final = Bits(0x661, 0x7E1, 0x665, 0, 0x80 | 0x400, 0x400, 28)


@dataclass(frozen=True)
class Arch:
    """Geometry of one paging mode: index width of each level from the root down."""

    name: str
    entry: int
    shifts: tuple[int, ...]
    widths: tuple[int, ...]
    large: int
    pte_base: int
    bits: Bits = field(default_factory=Bits)
    direct: tuple[int, int] = (0, 0)  # addresses that no table translates

    @property
    def pointer(self) -> int:
        return 8 if self.name in ("x64", "ia64") else 4

    @property
    def shift(self) -> int:
        """Page size is 2 to the power of this."""
        return self.shifts[-1]

    @property
    def page(self) -> int:
        return 1 << self.shift

    @property
    def self_slot(self) -> int:
        """Index of a root's entry for itself."""
        return 0x300 if self.name == "x86" else self.pte_base >> self.shifts[0] & (1 << self.widths[0]) - 1

    def pte_address(self, va: int | NDArray[np.uint64]) -> int | NDArray[np.uint64]:
        """Virtual address of the PTE that maps `va`."""
        walked = (1 << self.shifts[0] + self.widths[0]) - 1
        if isinstance(va, int):
            return self.pte_base + ((va & walked) >> self.shift) * self.entry
        page = (va & np.uint64(walked)) >> np.uint64(self.shift)
        return np.uint64(self.pte_base) + page * np.uint64(self.entry)


X86: Final = Arch("x86", 4, (22, 12), (10, 10), 4 * MB, 0xC0000000)
PAE: Final = Arch("pae", 8, (30, 21, 12), (2, 9, 9), 2 * MB, 0xC0000000)
X64: Final = Arch("x64", 8, (39, 30, 21, 12), (9, 9, 9, 9), 2 * MB, 0xFFFFF680_00000000)
# From Windows 10 1607 on the self map lies elsewhere after each boot: here in slot 0x1A3.
X64_MOVED: Final = Arch("x64", 8, (39, 30, 21, 12), (9, 9, 9, 9), 2 * MB, 0xFFFFD180_00000000)
IA64: Final = Arch(
    "ia64", 8, (33, 23, 13), (10, 10, 10), 8 * MB, 0xE00006FC_00000000, _IA64_BITS,
    (0xE0000000_80000000, 0xE0000000_C0000000),
)  # fmt: skip


class Paging:
    """One system address space and the process spaces that share its kernel half."""

    def __init__(
        self, ram: Ram, arch: Arch, root: int, dtb_offset: int = 0, system_start: int = 0x80000000
    ) -> None:
        """`root` is the reserved frame of the system's root, with four more behind it under PAE."""
        self.ram = ram
        self.arch = arch
        self.system_start = system_start  # on x86: what lies below is the process's own
        self.dtype = np.uint32 if arch.entry == 4 else np.uint64
        self._tables: dict[tuple[int, ...], int] = {}  # path of indices -> frame
        self.roots: list[int] = []
        self._fixed = list(range(root, root + ROOT_FRAMES))
        self.dtb = self._new_root((), dtb_offset)
        self._fixed.clear()

    # -- tables --------------------------------------------------------------------------------

    def _table(self, frame: int) -> NDArray[np.unsignedinteger]:
        page: NDArray[np.unsignedinteger] = self.ram.pages[frame].view(self.dtype)
        return page

    def _new_table(self, *, low: bool = False) -> int:
        frame = self._fixed.pop(0) if self._fixed else int(self.ram.take(1, low=low)[0])
        self.ram.touched[frame] = True
        self.ram.kernel[frame] = True
        return frame

    def _new_root(self, space: tuple[int, ...], offset: int) -> int:
        frame = self._new_table(low=True)
        self._tables[space] = frame
        if self.arch.name == "pae":
            return self._fill_pdpt(space, frame, offset)
        root = self._table(frame)
        root[self.arch.self_slot] = (frame << self.arch.shift) | self.arch.bits.valid
        return frame << self.arch.shift

    def _fill_pdpt(self, space: tuple[int, ...], frame: int, offset: int) -> int:
        """Four directories; the last one maps all four at 0xC0600000 (the self map)."""
        directories = [self._new_table() for _ in range(4)]
        pdpt = self._table(frame)
        for i, directory in enumerate(directories):
            self._tables[(*space, i)] = directory
            pdpt[offset // 8 + i] = (directory << 12) | 1  # only Valid: the other bits are reserved
            self._table(directories[3])[i] = (directory << 12) | VALID
        return (frame << 12) + offset

    def _indices(self, va: int) -> tuple[int, ...]:
        return tuple(
            (va >> s) & ((1 << w) - 1) for s, w in zip(self.arch.shifts, self.arch.widths, strict=True)
        )

    def _descend(self, va: int, levels: int, space: tuple[int, ...], user: bool) -> int:
        """Frame of the table that holds the entry `levels` below the root, made when missing."""
        path = space
        frame = self._tables[space]
        for index in self._indices(va)[:levels]:
            below = (*path, index)
            if below not in self._tables:
                made = self._new_table()
                self._tables[below] = made
                bits = self.arch.bits.user if user else self.arch.bits.valid
                self._table(frame)[index] = (made << self.arch.shift) | bits
            path, frame = below, self._tables[below]
        return frame

    # -- mapping -------------------------------------------------------------------------------

    def set_ptes(
        self, va: int, entries: NDArray[np.uint64], *, space: tuple[int, ...] = (), user: bool = False
    ) -> None:
        """Write consecutive raw page table entries from the page at `va` on."""
        per_table = 1 << self.arch.widths[-1]
        done = 0
        while done < len(entries):
            at = va + done * self.arch.page
            table = self._table(self._descend(at, len(self.arch.widths) - 1, space, user))
            index = self._indices(at)[-1]
            count = min(per_table - index, len(entries) - done)
            table[index : index + count] = entries[done : done + count].astype(self.dtype)
            done += count

    def map_frames(self, va: int, frames: Pfns) -> None:
        """Kernel mapping of scattered frames by small pages."""
        self.ram.kernel[frames] = True
        bits = self.arch.bits
        self.set_ptes(va, self._entries(frames, bits.valid | bits.shared))

    def map_user(self, va: int, frames: Pfns, space: tuple[int, ...]) -> None:
        self.set_ptes(va, self._entries(frames, self.arch.bits.user), space=space, user=True)

    def _entries(self, frames: Pfns, bits: int) -> NDArray[np.uint64]:
        return (frames.astype(np.uint64) << np.uint64(self.arch.shift)) | np.uint64(bits)

    def map_range(self, va: int, pa: int, size: int) -> None:
        """Kernel mapping of contiguous memory: large pages where both sides are aligned and all RAM."""
        large, page = self.arch.large, self.arch.page
        if self.arch.direct[0] <= va < self.arch.direct[1]:
            self.ram.kernel[pa // page : (pa + size) // page] = True
            return
        done = 0
        while done < size:
            v, p = va + done, pa + done
            whole = v % large == 0 and p % large == 0 and size - done >= large
            if whole and self.ram.available(p // page, large // page):
                self._map_large(v, p)
                done += large
            else:
                self.map_frames(v, np.array([p // page], dtype=np.int64))
                done += page

    def _map_large(self, va: int, pa: int) -> None:
        levels = len(self.arch.widths) - 2
        table = self._table(self._descend(va, levels, (), False))
        table[self._indices(va)[levels]] = pa | self.arch.bits.large | self.arch.bits.shared
        self.ram.kernel[pa // self.arch.page : (pa + self.arch.large) // self.arch.page] = True

    def table_frames(self, va: NDArray[np.uint64], out: NDArray[np.uint32]) -> None:
        """For every mapped address, the frame of the system table that holds its entry."""
        frames = np.flatnonzero(va >= np.uint64(self.system_start))
        regions, where = np.unique(va[frames] >> np.uint64(self.arch.shifts[-2]), return_inverse=True)
        found = np.zeros(len(regions), dtype=np.uint32)
        for number, region in enumerate(regions):
            path = self._indices(int(region) << self.arch.shifts[-2])[:-1]
            while path not in self._tables:  # under a large page the entry is one level up
                path = path[:-1]
            found[number] = self._tables[path]
        out[frames] = found[where]

    # -- process spaces ------------------------------------------------------------------------

    def new_space(self, number: int, offset: int = 0) -> tuple[tuple[int, ...], int]:
        """A process root; `share_kernel` copies the kernel half when all of it is mapped."""
        space = (-number,)
        dtb = self._new_root(space, offset)
        self.roots.append(number)
        return space, dtb

    def share_kernel(self) -> None:
        """Copy the kernel half of the system root into every process root; Itanium's regions are apart."""
        if self.arch.name == "ia64":
            return
        for number in self.roots:
            if self.arch.name == "pae":
                self._share_pae((-number,))
                continue
            mine, system = self._table(self._tables[(-number,)]), self._table(self._tables[()])
            half = self.system_start >> 22 if self.arch.name == "x86" else 256
            keep = self.arch.self_slot
            for i in range(half, len(mine)):
                if i != keep:
                    mine[i] = system[i]

    def _share_pae(self, space: tuple[int, ...]) -> None:
        for i in range(self.system_start >> 30, 4):
            mine, system = self._table(self._tables[(*space, i)]), self._table(self._tables[(i,)])
            start = 4 if i == 3 else 0  # entries 0 to 3 are the process's own self map
            mine[start:] = system[start:]


def page_file_pte(
    arch: Arch, offsets: NDArray[np.uint64], numbers: NDArray[np.uint64] | None = None
) -> NDArray[np.uint64]:
    """Entries of pages that lie in page files (0 unless told) at these offsets, which are never 0."""
    shift = np.uint64(12 if arch.entry == 4 else 32)
    first = np.uint64(arch.bits.number)
    low = np.zeros(len(offsets), dtype=np.uint64) if numbers is None else numbers << first
    return (offsets << shift) | low | np.uint64(arch.bits.demand_zero)
