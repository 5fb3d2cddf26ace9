"""Windows crash dump headers.

Offsets: facts/dump-headers.json (DUMP_HEADER32/64, PHYSICAL_MEMORY_DESCRIPTOR32/64,
SUMMARY_DUMP32/64, BITMAP_DUMP), two sources or more each; the older summary form was also
measured with WinDbg 6.12 (facts/dump-formats.md 1, [WD]).
"""

from __future__ import annotations

from dumpscan.image.layout import layout

# Space that was never written holds this word, again and again: such a field is absent.
FILLER = 0x45474150

MAJOR_FREE = 15
MAJOR_CHECKED = 12

MACHINES = {0x14C: "x86", 0x8664: "x64", 0x200: "ia64", 0xAA64: "arm64"}

TYPE_FULL, TYPE_SUMMARY, TYPE_HEADER, TYPE_TRIAGE, TYPE_BITMAP, TYPE_ACTIVE = 1, 2, 3, 4, 5, 6
REFUSED_TYPES = {
    3: "a header-only dump",
    7: "an automatic dump (type 7)",
    8: "a debugger-made kernel dump (RDMP, type 8)",
    9: "a debugger-made kernel and user dump (RDMP, type 9)",
    10: "a debugger-made complete dump (RDMP, type 10)",
}

DUMP_HEADER32 = layout(
    0x1000,
    {
        "Signature": (0x0, "S4"),
        "ValidDump": (0x4, "S4"),
        "MajorVersion": (0x8, "u4"),
        "MinorVersion": (0xC, "u4"),
        "DirectoryTableBase": (0x10, "u4"),
        "PfnDataBase": (0x14, "u4"),
        "PsLoadedModuleList": (0x18, "u4"),
        "PsActiveProcessHead": (0x1C, "u4"),
        "MachineImageType": (0x20, "u4"),
        "NumberProcessors": (0x24, "u4"),
        "BugCheckCode": (0x28, "u4"),
        "BugCheckParameters": (0x2C, ("u4", (4,))),
        "PaeEnabled": (0x5C, "u1"),
        "PaeEnabledWord": (0x5C, "u4"),
        "KdDebuggerDataBlock": (0x60, "u4"),
        "NumberOfRuns": (0x64, "u4"),
        "NumberOfPages": (0x68, "u4"),
        "Comment": (0x820, "S128"),
        "DumpType": (0xF88, "u4"),
        "ProductType": (0xF94, "u4"),
        "RequiredDumpSpace": (0xFA0, "u8"),
        "SystemUpTime": (0xFB8, "u8"),
        "SystemTime": (0xFC0, "u8"),
    },
)

DUMP_HEADER64 = layout(
    0x2000,
    {
        "Signature": (0x0, "S4"),
        "ValidDump": (0x4, "S4"),
        "MajorVersion": (0x8, "u4"),
        "MinorVersion": (0xC, "u4"),
        "DirectoryTableBase": (0x10, "u8"),
        "PfnDataBase": (0x18, "u8"),
        "PsLoadedModuleList": (0x20, "u8"),
        "PsActiveProcessHead": (0x28, "u8"),
        "MachineImageType": (0x30, "u4"),
        "NumberProcessors": (0x34, "u4"),
        "BugCheckCode": (0x38, "u4"),
        "BugCheckParameters": (0x40, ("u8", (4,))),
        "KdDebuggerDataBlock": (0x80, "u8"),
        "NumberOfRuns": (0x88, "u4"),
        # u64 at +8 of the block; volatility3's crash64.json has u32 at +4 (facts: disagreement).
        "NumberOfPages": (0x90, "u8"),
        "DumpType": (0xF98, "u4"),
        "RequiredDumpSpace": (0xFA0, "u8"),
        "SystemTime": (0xFA8, "u8"),
        "Comment": (0xFB0, "S128"),
        "SystemUpTime": (0x1030, "u8"),
        "ProductType": (0x1040, "u4"),
    },
)

RUN32 = layout(8, {"BasePage": (0, "u4"), "PageCount": (4, "u4")})
RUN64 = layout(16, {"BasePage": (0, "u8"), "PageCount": (8, "u8")})
RUNS_AT32, MAX_RUNS32 = 0x6C, 86
RUNS_AT64, MAX_RUNS64 = 0x98, 42

# Older bitmap form, DumpType 2. BitmapSize counts bits, HeaderSize is the file offset of page one.
SUMMARY_DUMP32 = layout(
    0x20,
    {
        "Signature": (0x0, "S4"),
        "ValidDump": (0x4, "S4"),
        "DumpOptions": (0x8, "u4"),
        "HeaderSize": (0xC, "u4"),
        "BitmapSize": (0x10, "u4"),
        "Pages": (0x14, "u4"),
    },
)
SUMMARY_DUMP64 = layout(
    0x28,
    {
        "Signature": (0x0, "S4"),
        "ValidDump": (0x4, "S4"),
        "DumpOptions": (0x8, "u4"),
        "HeaderSize": (0xC, "u4"),
        "BitmapSize": (0x10, "u4"),
        "Pages": (0x14, "u4"),
    },
)

# Later bitmap form, DumpType 5 and 6, the same in 32- and 64-bit dumps. Pages counts bits here.
BITMAP_DUMP = layout(
    0x38,
    {
        "Signature": (0x0, "S4"),
        "ValidDump": (0x4, "S4"),
        "FirstPage": (0x20, "u8"),
        "TotalPresentPages": (0x28, "u8"),
        "Pages": (0x30, "u8"),
    },
)

# Marker at +4 of the block behind the header in dumps of type 8 to 10.
RDMP_MARK = b"RDMPDUMP"
