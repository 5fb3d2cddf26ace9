"""Page table formats: levels, large pages and the bits of entries, per paging mode.

Witness: facts/pte-formats.json and facts/kernel-location.md section 7 ([PDB] XP SP3 PAE, [2S] x86,
[1S] x64); the decision order for non-present entries is checked there against WinDbg [WD].
"""

from __future__ import annotations

from enum import IntEnum

from dumpscan.records import record

VALID = 1 << 0
LARGE = 1 << 7
PROTOTYPE = 1 << 10
TRANSITION = 1 << 11
"""Valid entries: bit 0 present, bit 7 large page. Not present: bit 11 transition, bit 10 prototype."""

PAGE_FILE_FRAMES = 1 << 44
PAGE_FILE_BITS = 32
"""Page frames of page files: beyond RAM (52 bits of address are 2**40 pages), 2**32 for each file."""


class PageState(IntEnum):
    """State of one page of virtual address space, as its page table entry tells it."""

    NONE = 0
    VALID = 1
    TRANSITION = 2
    PAGEFILE = 3
    DEMAND_ZERO = 4
    PROTOTYPE = 5
    ABSENT = 6
    """The page table that would tell is not in the image: the state is unknown."""


@record
class Level:
    """One level of tables. An entry covers ``1 << shift`` bytes; a table has ``entries`` entries."""

    shift: int
    entries: int
    large: bool


@record
class Paging:
    """One paging mode. ``frame_mask`` masks the page frame out of a valid entry,
    ``transition_mask`` out of a transition entry, ``pagefile_shift`` finds the page file offset.

    ``self_map`` is the virtual address of the page tables, ``root_align`` the alignment of the
    table that CR3 names (the PAE page directory pointer table is 32 bytes, not a page). The bits of
    entries that x86 and x64 share are the defaults; ``file_bits`` masks the number of the page file.
    """

    name: str
    arch: str
    pointer_size: int
    entry_size: int
    levels: tuple[Level, ...]
    frame_mask: int
    transition_mask: int
    pagefile_shift: int
    root_align: int
    self_map: int
    self_map_size: int
    shared_user_data: int
    kernel_start: int
    va_mask: int
    page_shift: int = 12
    large_bit: int = LARGE
    prototype_bit: int = PROTOTYPE
    transition_bit: int = TRANSITION
    file_bits: int = 0x1E

    @property
    def page_size(self) -> int:
        """Bytes of a page."""
        return 1 << self.page_shift


X86 = Paging(
    name="x86",
    arch="x86",
    pointer_size=4,
    entry_size=4,
    levels=(Level(22, 1024, True), Level(12, 1024, False)),
    frame_mask=0xFFFFF000,
    transition_mask=0xFFFFF000,
    pagefile_shift=12,
    root_align=4096,
    self_map=0xC0000000,
    self_map_size=4 << 20,
    shared_user_data=0xFFDF0000,
    kernel_start=0x80000000,
    va_mask=0xFFFFFFFF,
)

PAE = Paging(
    name="pae",
    arch="x86",
    pointer_size=4,
    entry_size=8,
    levels=(Level(30, 4, False), Level(21, 512, True), Level(12, 512, False)),
    # 26 bits of page frame: 64 GB; bit 63 is no-execute, the bits between are software's.
    frame_mask=0x3F_FFFFF000,
    transition_mask=0x3F_FFFFF000,
    pagefile_shift=32,
    root_align=32,
    self_map=0xC0000000,
    self_map_size=8 << 20,
    shared_user_data=0xFFDF0000,
    kernel_start=0x80000000,
    va_mask=0xFFFFFFFF,
)

X64 = Paging(
    name="x64",
    arch="x64",
    pointer_size=8,
    entry_size=8,
    levels=(Level(39, 512, False), Level(30, 512, True), Level(21, 512, True), Level(12, 512, False)),
    # 36 bits from 6.0 SP1 on, 28 before, where the eight bits above are reserved and zero.
    frame_mask=0xFFFF_FFFFF000,
    transition_mask=0xFFFF_FFFFF000,
    pagefile_shift=32,
    root_align=4096,
    self_map=0xFFFFF680_00000000,
    self_map_size=1 << 39,
    shared_user_data=0xFFFFF780_00000000,
    kernel_start=0xFFFF8000_00000000,
    va_mask=0xFFFFFFFF_FFFFFFFF,
)

# Witness: facts/ia64.md 2 and 3 ([WD]; the base of the page tables [INF]).
IA64 = Paging(
    name="ia64",
    arch="ia64",
    pointer_size=8,
    entry_size=8,
    levels=(Level(33, 1024, False), Level(23, 1024, True), Level(13, 1024, False)),
    frame_mask=0x7FFFF_FFFFE000,
    transition_mask=0x7FFFF_FFFFE000,
    pagefile_shift=32,
    root_align=8192,
    self_map=0xE00006FC_00000000,
    self_map_size=8 << 30,
    shared_user_data=0xE0000000_FFFE0000,
    # Regions 4 and up are the system's; region 1 is session space.
    kernel_start=0x80000000_00000000,
    va_mask=0xFFFFFFFF_FFFFFFFF,
    page_shift=13,
    large_bit=1 << 2,
    prototype_bit=1 << 1,
    transition_bit=1 << 7,
    file_bits=0xF0000000,
)
