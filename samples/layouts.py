"""Structure offsets by Windows version, restated for the writer.

Witness of every number: facts/pool-structures.json and facts/os-structures.json (keys xp_sp3_x86,
w2003_sp2_x86, w2003_xp64_sp2_x64, vista_sp0/sp1_x86 and _x64, win7_sp1_x64, win81_u1_x64,
win10_10240_x64, win10_19041_x64); PoolType values and table entries:
facts/pool-structures.md. The PAE form of the 2003 PFN entry is inferred from the XP one, all of Itanium's
from x64 (facts/ia64.md 4).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np


@dataclass(frozen=True)
class PfnLayout:
    """_MMPFN. `flags` is the u16 that holds PageLocation and the allocation marks."""

    size: int
    pte_address: int
    reference_count: int
    flags: int
    location_shift: int
    start_bit: int
    end_bit: int
    original_pte: int
    pte_frame: int
    va_type: int | None = None


@dataclass(frozen=True)
class DescriptorLayout:
    """_POOL_DESCRIPTOR: PoolType lies at 0; of the other fields the defaults hold up to 6.0."""

    size: int
    total_bytes: int | None
    list_heads: int
    running: int = 8  # RunningAllocs, RunningDeAllocs
    index: int = 4
    pages: int = 0x10
    big_pages: int = 0x14


@dataclass(frozen=True)
class ProcessLayout:
    """_EPROCESS with the object header in front."""

    size: int
    directory_table_base: int
    create_time: int
    unique_process_id: int
    active_process_links: int
    image_file_name: int
    active_threads: int
    object_header: int  # bytes before the body, name info not counted


@dataclass(frozen=True)
class PcrLayout:
    """_KPCR with the contained _KPRCB."""

    size: int
    self_pcr: int
    prcb_pointer: int
    kd_version_block: int
    prcb: int
    number: int  # in the PRCB
    build_type: int
    cr3: int  # in the PRCB: ProcessorState's special registers
    vendor_string: int


@dataclass(frozen=True)
class Layout:
    """Everything that depends on NT version and pointer size."""

    nt: str
    pointer: int
    unit: int
    used_nonpaged: int
    used_paged: int
    cached_nonpaged: int
    cached_paged: int
    pfn: PfnLayout
    descriptor: DescriptorLayout
    process: ProcessLayout
    pcr: PcrLayout
    kdbg_size: int
    tracker: np.dtype[np.void]
    big: np.dtype[np.void]
    paged_info_size: int
    ldr_size: int
    page: int = 4096
    wide_index: bool = False  # pool headers of 8/8/8/8 bits, not of 9/7/9/7
    segment_heap: bool = False  # no pool descriptors, no chains of blocks

    @property
    def units_per_page(self) -> int:
        return self.page // self.unit

    @property
    def modern(self) -> bool:
        """Vista and later."""
        return self.nt not in ("5.1", "5.2")

    @property
    def per_cpu_tables(self) -> bool:
        """MP kernels of 5.2 and later keep a tracker table for each processor."""
        return self.nt != "5.1"


def _record(size: int, **fields: tuple[int, str]) -> np.dtype[np.void]:
    return np.dtype(
        {
            "names": list(fields),
            "formats": [form for _, form in fields.values()],
            "offsets": [offset for offset, _ in fields.values()],
            "itemsize": size,
        }
    )


TRACKER32: Final = _record(
    0x1C, Key=(0, "<u4"), NonPagedAllocs=(4, "<u4"), NonPagedFrees=(8, "<u4"), NonPagedBytes=(0xC, "<u4"),
    PagedAllocs=(0x10, "<u4"), PagedFrees=(0x14, "<u4"), PagedBytes=(0x18, "<u4"),
)  # fmt: skip
TRACKER64: Final = _record(
    0x28, Key=(0, "<u4"), NonPagedAllocs=(4, "<u4"), NonPagedFrees=(8, "<u4"), NonPagedBytes=(0x10, "<u8"),
    PagedAllocs=(0x18, "<u4"), PagedFrees=(0x1C, "<u4"), PagedBytes=(0x20, "<u8"),
)  # fmt: skip

# 17763 and later: bytes first, every counter 64 bits wide.
TRACKER64_WIDE: Final = _record(
    0x38, Key=(0, "<u4"), NonPagedBytes=(8, "<u8"), NonPagedAllocs=(0x10, "<u8"), NonPagedFrees=(0x18, "<u8"),
    PagedBytes=(0x20, "<u8"), PagedAllocs=(0x28, "<u8"), PagedFrees=(0x30, "<u8"),
)  # fmt: skip

# Windows 11: 0x50 bytes an entry are public, where the fields lie is invented: only symbols tell a reader.
TRACKER64_11: Final = _record(
    0x50, Key=(0, "<u4"), NonPagedBytes=(0x10, "<u8"), NonPagedAllocs=(0x18, "<u8"),
    NonPagedFrees=(0x20, "<u8"), PagedBytes=(0x30, "<u8"), PagedAllocs=(0x38, "<u8"),
    PagedFrees=(0x40, "<u8"),
)  # fmt: skip

_BIG: Final = {
    ("5.1", 4): _record(0xC, Va=(0, "<u4"), Key=(4, "<u4"), NumberOfPages=(8, "<u4")),
    ("5.2", 4): _record(
        0x10, Va=(0, "<u4"), Key=(4, "<u4"), NumberOfPages=(8, "<u4"), QuotaObject=(0xC, "<u4")
    ),
    ("5.2", 8): _record(
        0x18, Va=(0, "<u8"), Key=(8, "<u4"), NumberOfPages=(0xC, "<u4"), QuotaObject=(0x10, "<u8")
    ),
    ("6.0", 4): _record(0x10, Va=(0, "<u4"), Key=(4, "<u4"), PoolType=(8, "<u4"), NumberOfBytes=(0xC, "<u4")),
    ("6.0", 8): _record(
        0x18, Va=(0, "<u8"), Key=(8, "<u4"), PoolType=(0xC, "<u4"), NumberOfBytes=(0x10, "<u8")
    ),
    ("11", 8): _record(
        0x20, Va=(0, "<u8"), Key=(8, "<u4"), PoolType=(0xC, "<u4"), NumberOfBytes=(0x10, "<u8"),
        ProcessBilled=(0x18, "<u8"),
    ),
}

_DESCRIPTOR: Final = {
    ("5.1", 4): DescriptorLayout(0x1028, None, 0x28),
    ("5.2", 4): DescriptorLayout(0x1030, 0x28, 0x30),
    ("5.2", 8): DescriptorLayout(0x1048, 0x38, 0x48),
    ("6.0", 4): DescriptorLayout(0x1034, 0x2C, 0x34),
    ("6.0", 8): DescriptorLayout(0x1048, 0x38, 0x48),
    ("6.1", 8): DescriptorLayout(0x1140, 0x50, 0x140, 0x40, 0x80, 0xC0, 0x48),
}

_PROCESS: Final = {
    ("5.1", 4): ProcessLayout(0x260, 0x18, 0x70, 0x84, 0x88, 0x174, 0x1A0, 0x18),
    ("5.2", 4): ProcessLayout(0x278, 0x18, 0x80, 0x94, 0x98, 0x164, 0x190, 0x18),
    ("5.2", 8): ProcessLayout(0x3E0, 0x28, 0xC0, 0xD8, 0xE0, 0x268, 0x2B0, 0x30),
    ("6.0", 4): ProcessLayout(0x270, 0x18, 0x88, 0x9C, 0xA0, 0x14C, 0x178, 0x18),
    ("6.0", 8): ProcessLayout(0x3E8, 0x28, 0xC8, 0xE0, 0xE8, 0x238, 0x280, 0x30),
    ("6.1", 8): ProcessLayout(0x4D0, 0x28, 0x168, 0x180, 0x188, 0x2E0, 0x328, 0x30),
    ("6.3", 8): ProcessLayout(0x6D8, 0x28, 0x2D0, 0x2E0, 0x2E8, 0x438, 0x480, 0x30),
    ("10.0", 8): ProcessLayout(0x798, 0x28, 0x308, 0x2E8, 0x2F0, 0x448, 0x490, 0x30),
    ("10.0.19041", 8): ProcessLayout(0xA40, 0x28, 0x468, 0x440, 0x448, 0x5A8, 0x5F0, 0x30),
}

# x86: ProcessorState at 0x1c is a CONTEXT of 0x2cc bytes, then Cr0, Cr2, Cr3; on x64 those come first.
_PCR: Final = {
    "5.1 4": PcrLayout(0xD70, 0x1C, 0x20, 0x34, 0x120, 0x10, 0x12, 0x1C + 0x2D4, 0x900),
    "5.2 4": PcrLayout(0xFE0, 0x1C, 0x20, 0x34, 0x120, 0x10, 0x12, 0x1C + 0x2D4, 0xB60),
    "5.2 8": PcrLayout(0x2600, 0x18, 0x20, 0x108, 0x180, 0x04, 0x63C, 0x40 + 0x10, 0x22B4),
    "6000 4": PcrLayout(0x20B8, 0x1C, 0x20, 0x34, 0x120, 0x10, 0x12, 0x1C + 0x2D4, 0x1BAC),
    "6001 4": PcrLayout(0x2128, 0x1C, 0x20, 0x34, 0x120, 0x10, 0x12, 0x1C + 0x2D4, 0x1C2C),
    "6000 8": PcrLayout(0x3BA0, 0x18, 0x20, 0x108, 0x180, 0x04, 0x63C, 0x40 + 0x10, 0x38BC),
    "6001 8": PcrLayout(0x3CA0, 0x18, 0x20, 0x108, 0x180, 0x04, 0x63C, 0x40 + 0x10, 0x399C),
    "7601 8": PcrLayout(0x4E80, 0x18, 0x20, 0x108, 0x180, 0x24, 0x63C, 0x40 + 0x10, 0x4BB8),
    "9600 8": PcrLayout(0x5F00, 0x18, 0x20, 0x108, 0x180, 0x24, 0x63C, 0x40 + 0x10, 0x5958),
    "10240 8": PcrLayout(0x6A80, 0x18, 0x20, 0x108, 0x180, 0x24, 0x63C, 0x40 + 0x10, 0x6258),
    "19041 8": PcrLayout(0xB080, 0x18, 0x20, 0x108, 0x180, 0x24, 0x8C, 0x100 + 0x10, 0x8590),
}

_PAGED_INFO: Final = {
    ("5.1", 4): 0x24,
    ("5.2", 4): 0x20,
    ("5.2", 8): 0x40,
    ("6.0", 4): 0x38,
    ("6.0", 8): 0x68,
    ("6.1", 8): 0x68,
    ("6.3", 8): 0x68,
    ("10.0", 8): 0x38,
    ("10.0.19041", 8): 0x18,
}
_LDR: Final = {
    ("5.1", 4): 0x50, ("5.2", 4): 0x50, ("5.2", 8): 0x98, ("6.0", 4): 0x68, ("6.0", 8): 0xC8,
    ("6.1", 8): 0xE0, ("6.3", 8): 0x118, ("10.0", 8): 0x118, ("10.0.19041", 8): 0x120,
}  # fmt: skip


def _pfn(nt: str, pointer: int, pae: bool) -> PfnLayout:
    if pointer == 8:
        if nt == "5.2":
            return PfnLayout(0x30, 8, 0x18, 0x1A, 8, 1, 2, 0x20, 0x28)
        if nt == "10.0":
            return PfnLayout(0x30, 8, 0x20, 0x22, 0, 5, 3, 0x10, 0x28)
        if nt == "6.3":  # VaType has become the upper half of its byte
            return PfnLayout(0x30, 0x10, 0x18, 0x1A, 0, 5, 3, 0x20, 0x28)
        return PfnLayout(0x30, 0x10, 0x18, 0x1A, 0, 5, 3, 0x20, 0x28, va_type=0x1E)
    size, frame = (0x1C, 0x18) if pae else (0x18, 0x14)
    if nt == "5.1":
        return PfnLayout(size, 4, 0xE, 0xC, 8, 1, 2, 0x10, frame)
    if nt == "5.2":
        return PfnLayout(size, 4, 0xC, 0xE, 8, 1, 2, 0x10, frame)
    return PfnLayout(size, 8, 0xC, 0xE, 0, 5, 3, 0x10, frame)


def _kdbg_size(nt: str, build: int) -> int:
    if nt == "6.0":
        return 0x328 if build == 6000 else 0x330
    newer = {"6.1": 0x340, "6.3": 0x360, "10.0": 0x380 if build >= 17763 else 0x360}
    return newer.get(nt, 0x290 if nt == "5.1" else 0x318)


def _tracker(pointer: int, build: int) -> np.dtype[np.void]:
    if pointer == 4:
        return TRACKER32
    if build >= 22000:
        return TRACKER64_11
    return TRACKER64_WIDE if build >= 17763 else TRACKER64


def _descriptor(nt: str, pointer: int, page: int) -> DescriptorLayout:
    """ListHeads has a pair of pointers for each block size: twice as many in a page of Itanium."""
    found = _DESCRIPTOR[nt, pointer]
    if page == 4096:
        return found
    return replace(found, size=found.list_heads + page // 16 * 2 * pointer)


def layout_for(nt: str, build: int, pointer: int, pae: bool, page: int = 4096) -> Layout:
    """The layout of one kernel; Itanium's (8 KB pages) is that of x64 but for the pool headers."""
    known = min(build, 19041)  # later ones have the structures of this one here, but for the tables
    key = (f"{nt}.{known}" if build >= 17763 else nt, pointer)
    vista = nt not in ("5.1", "5.2")
    later = nt not in ("5.1", "5.2", "6.0")
    return Layout(
        nt=nt,
        pointer=pointer,
        unit=8 if pointer == 4 else 16,
        used_nonpaged=2 if vista else 5,
        used_paged=3 if vista else 6,
        cached_nonpaged=0 if vista else 1,
        cached_paged=1 if vista else 2,
        pfn=_pfn(nt, pointer, pae),
        descriptor=_descriptor("6.1" if later else nt, pointer, page),
        process=_PROCESS[key],
        pcr=_PCR[f"{known if vista else nt} {pointer}"],
        kdbg_size=_kdbg_size(nt, build),
        tracker=_tracker(pointer, build),
        big=_BIG["11" if build >= 22000 else "6.0" if later else nt, pointer],
        paged_info_size=_PAGED_INFO[key],
        ldr_size=_LDR[key],
        page=page,
        wide_index=pointer == 8 and page == 4096,
        segment_heap=build >= 18362,
    )
