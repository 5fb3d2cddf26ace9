"""Small (triage) dumps, DumpType 4: block behind the dump header; all offsets are file offsets.

Source: facts/dump-headers.json TRIAGE_DUMP32/64, DUMP_MM_STORAGE32/64, DUMP_UNLOADED_DRIVERS32/64,
DUMP_DRIVER_ENTRY32/64, DUMP_STRING, TRIAGE_DATA_BLOCK32/64; the 64-bit forms were checked on a real
file ([FILE]), the 32-bit strides with WinDbg 6.12 ([WD]). Time stamps: facts/dump-formats.md 1 for
32 bits; in the real 64-bit file, +0x88 holds for the kernel what the PE header in a data block says.
"""

from __future__ import annotations

from dumpscan.image.layout import Layout, layout

_HEAD = {
    "ServicePackBuild": (0x0, "u4"),
    "SizeOfDump": (0x4, "u4"),
    "ValidOffset": (0x8, "u4"),
    "MmOffset": (0x14, "u4"),
    "UnloadedDriversOffset": (0x18, "u4"),
    "DriverListOffset": (0x30, "u4"),
    "DriverCount": (0x34, "u4"),
}
TRIAGE_DUMP32 = layout(
    104,
    {
        **_HEAD,
        "DebuggerDataOffset": (0x58, "u4"),
        "DebuggerDataSize": (0x5C, "u4"),
        "DataBlocksOffset": (0x60, "u4"),
        "DataBlocksCount": (0x64, "u4"),
    },
)
TRIAGE_DUMP64 = layout(
    128,
    {
        **_HEAD,
        "DebuggerDataOffset": (0x70, "u4"),
        "DebuggerDataSize": (0x74, "u4"),
        "DataBlocksOffset": (0x78, "u4"),
        "DataBlocksCount": (0x7C, "u4"),
    },
)
END_MARK = b"TRGD"

# The stride belongs to the format, not to the Windows version.
DRIVER_ENTRY32 = layout(
    0x4C,
    {
        "DriverNameOffset": (0, "u4"),
        "DllBase": (0x1C, "u4"),
        "SizeOfImage": (0x24, "u4"),
        "TimeDateStamp": (0x48, "u4"),
    },
)
DRIVER_ENTRY64 = layout(
    0x90,
    {
        "DriverNameOffset": (0, "u4"),
        "DllBase": (0x38, "u8"),
        "SizeOfImage": (0x48, "u4"),
        "TimeDateStamp": (0x88, "u4"),
    },
)

# u32 count, then entries at +4 (32-bit, [WD]) or +8 (64-bit, [FILE]). Their order is not known.
UNLOADED32 = layout(
    0x28,
    {"Length": (0, "u2"), "DriverName": (8, "V24"), "StartAddress": (0x20, "u4"), "EndAddress": (0x24, "u4")},
)
UNLOADED64 = layout(
    0x38,
    {
        "Length": (0, "u2"),
        "DriverName": (0x10, "V24"),
        "StartAddress": (0x28, "u8"),
        "EndAddress": (0x30, "u8"),
    },
)

DATA_BLOCK32 = layout(12, {"VirtualAddress": (0, "u4"), "Offset": (4, "u4"), "Size": (8, "u4")})
DATA_BLOCK64 = layout(16, {"VirtualAddress": (0, "u8"), "Offset": (8, "u4"), "Size": (12, "u4")})

MM_PAGES = (
    "MmMaximumNonPagedPool",
    "MmAllocatedNonPagedPool",
    "PagedPoolMaximum",
    "PagedPoolAllocated",
    "CommittedPages",
    "CommittedPagesPeak",
    "CommitLimitMaximum",
)
"""In pages: the allocated ones by facts/dump-formats.md 1; the maxima beside them are taken for the same
[INF]: as bytes they would be smaller than what is allocated, or no page of any pool."""


def _mm_storage(size: int, width: int) -> Layout:
    fields = {name: (0x18 + width * i, f"u{width}") for i, name in enumerate(MM_PAGES)}
    return layout(size, {"Version": (0, "u4"), "Size": (4, "u4"), **fields})


MM_STORAGE32 = _mm_storage(52, 4)
MM_STORAGE64 = _mm_storage(80, 8)
