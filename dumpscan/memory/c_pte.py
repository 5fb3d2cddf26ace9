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
    table that CR3 names (the PAE page directory pointer table is 32 bytes, not a page).
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
    # 36 bits from 6.0 on, 28 on 5.2, where the eight bits above are reserved and zero.
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

MODES: dict[str, Paging] = {mode.name: mode for mode in (X86, PAE, X64)}
