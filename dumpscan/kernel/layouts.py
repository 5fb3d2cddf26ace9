"""Structure layouts by kernel version: data only, offsets in bytes.

Witness: facts/pool-structures.md and .json, os-structures.json ([PDB] XP SP3; [2S] other x86;
[1S] x64), kernel-location.md section 2 for the distances of the pool variables. PAE and non-PAE
kernels differ only where a page table entry is embedded, here in ``_MMPFN``. From 6.1 on (x64 only)
the kernel is out of the article's scope: its counters are read, the pages of its pools up to 6.1.
"""

from __future__ import annotations

from dumpscan.records import record, replace

Names = tuple[tuple[str, int], ...]


@record
class TableDistances:
    """Addresses of the pool variables minus the address of PoolTrackTable; None: not in this kernel."""

    size: int
    mask: int | None
    expansion: int | None
    expansion_size: int | None
    big_table: int
    big_size: int
    big_hash: int | None
    source: str


@record
class PfnLayout:
    """``_MMPFN``: its size, the flags field (offset, bytes) and the bits that pool marks use."""

    size: int
    pte_address: int
    flags: int
    flags_bytes: int
    start_bit: int
    end_bit: int
    location_shift: int
    va_type: int | None = None


@record
class Layout:
    """Layouts of one kernel family. ``None`` marks a field that the family does not have.

    ``in_use_bit`` of ``PoolType`` marks allocated blocks; ``paged_value`` is the parity of the type
    of a paged block in use (XP and 2003: even is paged; Vista and later: odd is paged).
    ``big_unit`` is the page size where big page entries count pages, 1 where they count bytes; the pool type
    lies ``big_type_shift`` bits up in its field. ``wide_counts``: allocations and frees are counted in
    pointer-sized fields. ``unwalkable`` says why pages of small blocks are not read, where they are not.
    ``header_split`` gives the bits of a pool header's PreviousSize, PoolIndex, BlockSize and PoolType.
    """

    name: str
    pointer_size: int
    in_use_bit: int
    paged_value: int
    tracker_size: int
    tracker_fields: Names
    big_entry_size: int
    big_fields: Names
    big_unit: int
    tables: tuple[TableDistances, ...]
    pfn: PfnLayout
    descriptor_fields: Names
    paged_info_fields: Names
    ldr_fields: Names
    unloaded_size: int
    unloaded_fields: Names
    process_links: int
    process_dtb: int
    kdbg_size: int
    tagging_always: bool
    per_processor_tables: bool
    total_unloads_distance: int | None = None
    big_type_shift: int = 0
    wide_counts: bool = False
    unwalkable: str | None = None
    header_split: str = "8/8/8/8"
    page_size: int = 4096


_TRACKER32: Names = (
    ("key", 0),
    ("np_allocs", 4),
    ("np_frees", 8),
    ("np_bytes", 12),
    ("paged_allocs", 16),
    ("paged_frees", 20),
    ("paged_bytes", 24),
)
_TRACKER64: Names = (
    ("key", 0),
    ("np_allocs", 4),
    ("np_frees", 8),
    ("np_bytes", 0x10),
    ("paged_allocs", 0x18),
    ("paged_frees", 0x1C),
    ("paged_bytes", 0x20),
)
_TRACKER64_WIDE: Names = (
    ("key", 0),
    ("np_bytes", 8),
    ("np_allocs", 0x10),
    ("np_frees", 0x18),
    ("paged_bytes", 0x20),
    ("paged_allocs", 0x28),
    ("paged_frees", 0x30),
)
_LDR32: Names = (
    ("dll_base", 0x18),
    ("entry_point", 0x1C),
    ("size_of_image", 0x20),
    ("full_name", 0x24),
    ("base_name", 0x2C),
    ("flags", 0x34),
    ("check_sum", 0x40),
)
_LDR64: Names = (
    ("dll_base", 0x30),
    ("entry_point", 0x38),
    ("size_of_image", 0x40),
    ("full_name", 0x48),
    ("base_name", 0x58),
    ("flags", 0x68),
    ("check_sum", 0x78),
)
_UNLOADED32: Names = (("name", 0), ("start", 8), ("end", 0xC), ("time", 0x10))
_UNLOADED64: Names = (("name", 0), ("start", 0x10), ("end", 0x18), ("time", 0x20))

_DESC_XP: Names = (
    ("pool_type", 0),
    ("pool_index", 4),
    ("running_allocs", 8),
    ("running_deallocs", 0xC),
    ("total_pages", 0x10),
    ("total_big_pages", 0x14),
)

# XP SP3 ntkrnlpa [PDB]; then volatility v2's pair, right for a kernel without PoolTrackTableMask.
_XP_PDB = TableDistances(-4, -8, None, None, -12, -16, -20, "XP SP3 PDB")
_XP_OLD = TableDistances(-4, None, None, None, -8, -12, None, "volatility v2, XP")
_W2003_32 = TableDistances(-4, -8, -12, -16, -24, -28, -32, "5.2 x86")
_W2003_64 = TableDistances(-8, -16, -24, -32, -48, -56, -64, "5.2 x64")
_VISTA_32 = TableDistances(-4, -8, -12, -16, -20, -24, -28, "6.0 x86")
_VISTA_64 = TableDistances(-8, -16, -24, -32, -40, -48, -56, "6.0 x64")

XP_X86 = Layout(
    name="5.1 x86",
    pointer_size=4,
    in_use_bit=4,
    paged_value=0,
    tracker_size=0x1C,
    tracker_fields=_TRACKER32,
    big_entry_size=0xC,
    big_fields=(("va", 0), ("key", 4), ("size", 8)),
    big_unit=4096,
    tables=(_XP_PDB, _XP_OLD),
    pfn=PfnLayout(0x18, 4, 0xC, 4, 1, 2, 8),
    descriptor_fields=_DESC_XP,
    paged_info_fields=(("allocation_map", 0), ("end_map", 4), ("commit", 0x1C), ("allocated", 0x20)),
    ldr_fields=_LDR32,
    unloaded_size=0x18,
    unloaded_fields=_UNLOADED32,
    process_links=0x88,
    process_dtb=0x18,
    kdbg_size=0x290,
    tagging_always=False,
    per_processor_tables=False,
    total_unloads_distance=-4,
    header_split="9/7/9/7",
)

W2003_X86 = replace(
    XP_X86,
    name="5.2 x86",
    big_entry_size=0x10,
    tables=(_W2003_32,),
    pfn=PfnLayout(0x18, 4, 0xE, 2, 1, 2, 8),
    descriptor_fields=(*_DESC_XP, ("total_bytes", 0x28)),
    paged_info_fields=(("allocation_map", 0), ("end_map", 4), ("commit", 0x18), ("allocated", 0x1C)),
    process_links=0x98,
    kdbg_size=0x318,
    tagging_always=True,
    per_processor_tables=True,
)

W2003_RTM_X86 = replace(
    W2003_X86, name="5.2 RTM x86", pfn=PfnLayout(0x18, 4, 0xC, 4, 1, 2, 8), process_links=0x88
)

W2003_X64 = Layout(
    name="5.2 x64",
    pointer_size=8,
    in_use_bit=4,
    paged_value=0,
    tracker_size=0x28,
    tracker_fields=_TRACKER64,
    big_entry_size=0x18,
    big_fields=(("va", 0), ("key", 8), ("size", 0xC)),
    big_unit=4096,
    tables=(_W2003_64,),
    pfn=PfnLayout(0x30, 8, 0x1A, 2, 1, 2, 8),
    descriptor_fields=(*_DESC_XP, ("total_bytes", 0x38)),
    paged_info_fields=(("allocation_map", 0), ("end_map", 8), ("commit", 0x30), ("allocated", 0x38)),
    ldr_fields=_LDR64,
    unloaded_size=0x28,
    unloaded_fields=_UNLOADED64,
    process_links=0xE0,
    process_dtb=0x28,
    kdbg_size=0x318,
    tagging_always=True,
    per_processor_tables=True,
    total_unloads_distance=-4,
)

VISTA_X86 = replace(
    XP_X86,
    name="6.0 x86",
    in_use_bit=2,
    paged_value=1,
    big_entry_size=0x10,
    big_fields=(("va", 0), ("key", 4), ("pool_type", 8), ("size", 0xC)),
    big_unit=1,
    tables=(_VISTA_32,),
    pfn=PfnLayout(0x18, 8, 0xE, 1, 5, 3, 0),
    descriptor_fields=(*_DESC_XP, ("total_bytes", 0x2C)),
    paged_info_fields=(("allocation_bitmap", 0x20), ("commit", 0x30), ("allocated", 0x34)),
    process_links=0xA0,
    kdbg_size=0x330,
    tagging_always=True,
    per_processor_tables=True,
)

VISTA_X64 = replace(
    W2003_X64,
    name="6.0 x64",
    in_use_bit=2,
    paged_value=1,
    big_fields=(("va", 0), ("key", 8), ("pool_type", 0xC), ("size", 0x10)),
    big_unit=1,
    tables=(_VISTA_64,),
    pfn=PfnLayout(0x30, 0x10, 0x1A, 1, 5, 3, 0, va_type=0x1E),
    descriptor_fields=(*_DESC_XP, ("total_bytes", 0x38)),
    paged_info_fields=(("allocation_bitmap", 0x38), ("commit", 0x58), ("allocated", 0x60)),
    process_links=0xE8,
    kdbg_size=0x330,
)

NO_RANGES = "no pool page is walked: where the pools of Windows 8 and later lie is not known"
SEGMENT_HEAP = (
    "no pool page is walked: from build 18362 on the pool is a segment heap, whose pages hold no chains "
    "of blocks"
)
FIRST_SEGMENT_HEAP = 18362

WIN7_X64 = replace(
    VISTA_X64,
    name="6.1 x64",
    descriptor_fields=(
        ("pool_type", 0),
        ("pool_index", 0x80),
        ("running_allocs", 0x40),
        ("running_deallocs", 0x44),
        ("total_pages", 0xC0),
        ("total_big_pages", 0x48),
        ("total_bytes", 0x50),
    ),
    process_links=0x188,
    kdbg_size=0x340,
    total_unloads_distance=None,
)

# From here on the distances of the pool variables are not known (facts end with 7): symbols only.
WIN81_X64 = replace(
    WIN7_X64,
    name="6.3 x64",
    tables=(),
    paged_info_fields=(("allocation_bitmap", 0x38), ("allocated", 0x60)),
    process_links=0x2E8,
    kdbg_size=0x360,
    unwalkable=NO_RANGES,
)

WIN10_X64 = replace(
    WIN81_X64,
    name="10.0 x64",
    big_type_shift=8,
    pfn=PfnLayout(0x30, 8, 0x22, 1, 5, 3, 0),
    paged_info_fields=(("allocation_bitmap", 8), ("allocated", 0x30)),
    process_links=0x2F0,
)

# Descriptors of 17763 count what was allocated and freed apart, 19041 has none.
WIN10_17763_X64 = replace(
    WIN10_X64,
    name="10.0.17763 x64",
    tracker_size=0x38,
    tracker_fields=_TRACKER64_WIDE,
    wide_counts=True,
    descriptor_fields=(),
    process_links=0x2E8,
    kdbg_size=0x380,
)

WIN10_19041_X64 = replace(
    WIN10_17763_X64,
    name="10.0.19041 x64",
    paged_info_fields=(("allocated", 0x10),),
    process_links=0x448,
    unwalkable=SEGMENT_HEAP,
)

_X64 = {
    3790: W2003_X64,
    **dict.fromkeys((6000, 6001, 6002), VISTA_X64),
    **dict.fromkeys((7600, 7601), WIN7_X64),
    9600: WIN81_X64,
    **dict.fromkeys((10240, 10586), WIN10_X64),
    17763: WIN10_17763_X64,
    # 19042 to 19045 are 19041 with features turned on: the same kernel file.
    **dict.fromkeys(range(19041, 19046), WIN10_19041_X64),
}

# Itanium: as the 64-bit build of the same version ([INF], facts/ia64.md 4); what differs is the pool
# header ([1S] for 5.2, [INF] for 6.0), which the walk tests.
W2003_IA64 = replace(W2003_X64, name="5.2 ia64", header_split="9/7/9/7", page_size=8192, big_unit=8192)
VISTA_IA64 = replace(VISTA_X64, name="6.0 ia64", header_split="9/7/9/7", page_size=8192)


def layout_for(build: int, arch: str, pae: bool, service_pack: int | None = None) -> Layout | None:
    """The layout family of a kernel, or None for a build that the facts do not carry."""
    layout = _family(build, arch, service_pack)
    if layout is None or not pae:
        return layout
    # PAE: the embedded OriginalPte grows by four bytes; the fields used here lie before it.
    return replace(layout, name=layout.name + " PAE", pfn=replace(layout.pfn, size=0x1C))


def _family(build: int, arch: str, service_pack: int | None) -> Layout | None:
    if arch == "x64":
        return _X64.get(build)
    if arch == "ia64":
        return {3790: W2003_IA64, 6001: VISTA_IA64, 6002: VISTA_IA64}.get(build)
    if arch != "x86":
        return None
    if build == 3790 and service_pack == 0:
        return W2003_RTM_X86
    families = {2600: XP_X86, 3790: W2003_X86, 6000: VISTA_X86, 6001: VISTA_X86, 6002: VISTA_X86}
    return families.get(build)
