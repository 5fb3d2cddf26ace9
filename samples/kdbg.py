"""KDDEBUGGER_DATA64, DBGKD_GET_VERSION64, KUSER_SHARED_DATA, KPCR with KPRCB.

Witness: facts/kdbg.json (fields and sizes by version), facts/kernel-location.md sections 1 and 5,
facts/os-structures.json. On x86 the debugger block is linked by a 32-bit list entry.
"""

from __future__ import annotations

import struct
from typing import Final

from .layouts import Layout
from .profiles import KernelBuild

# fmt: off
_ADDRESSES: Final = (
    (0x20, "BreakpointWithStatus"), (0x28, "SavedContext"), (0x38, "KiCallUserMode"),
    (0x40, "KeUserCallbackDispatcher"), (0x48, "PsLoadedModuleList"), (0x50, "PsActiveProcessHead"),
    (0x58, "PspCidTable"), (0x60, "ExpSystemResourcesList"), (0x68, "ExpPagedPoolDescriptor"),
    (0x70, "ExpNumberOfPagedPools"), (0x78, "KeTimeIncrement"), (0x80, "KeBugCheckCallbackListHead"),
    (0x88, "KiBugCheckData"), (0x90, "IopErrorLogListHead"), (0x98, "ObpRootDirectoryObject"),
    (0xa0, "ObpTypeObjectType"), (0xa8, "MmSystemCacheStart"), (0xb0, "MmSystemCacheEnd"),
    (0xb8, "MmSystemCacheWs"), (0xc0, "MmPfnDatabase"), (0xc8, "MmSystemPtesStart"),
    (0xd0, "MmSystemPtesEnd"), (0xd8, "MmSubsectionBase"), (0xe0, "MmNumberOfPagingFiles"),
    (0xe8, "MmLowestPhysicalPage"), (0xf0, "MmHighestPhysicalPage"), (0xf8, "MmNumberOfPhysicalPages"),
    (0x100, "MmMaximumNonPagedPoolInBytes"), (0x108, "MmNonPagedSystemStart"),
    (0x110, "MmNonPagedPoolStart"), (0x118, "MmNonPagedPoolEnd"), (0x120, "MmPagedPoolStart"),
    (0x128, "MmPagedPoolEnd"), (0x130, "MmPagedPoolInfo"), (0x140, "MmSizeOfPagedPoolInBytes"),
    (0x148, "MmTotalCommitLimit"), (0x150, "MmTotalCommittedPages"), (0x158, "MmSharedCommit"),
    (0x160, "MmDriverCommit"), (0x168, "MmProcessCommit"), (0x170, "MmPagedPoolCommit"),
    (0x178, "MmExtendedCommit"), (0x180, "MmZeroedPageListHead"), (0x188, "MmFreePageListHead"),
    (0x190, "MmStandbyPageListHead"), (0x198, "MmModifiedPageListHead"),
    (0x1a0, "MmModifiedNoWritePageListHead"), (0x1a8, "MmAvailablePages"),
    (0x1b0, "MmResidentAvailablePages"), (0x1b8, "PoolTrackTable"), (0x1c0, "NonPagedPoolDescriptor"),
    (0x1c8, "MmHighestUserAddress"), (0x1d0, "MmSystemRangeStart"), (0x1d8, "MmUserProbeAddress"),
    (0x1e0, "KdPrintCircularBuffer"), (0x1e8, "KdPrintCircularBufferEnd"), (0x1f0, "KdPrintWritePointer"),
    (0x1f8, "KdPrintRolloverCount"), (0x200, "MmLoadedUserImageList"), (0x208, "NtBuildLab"),
    (0x210, "KiNormalSystemCall"), (0x218, "KiProcessorBlock"), (0x220, "MmUnloadedDrivers"),
    (0x228, "MmLastUnloadedDriver"), (0x230, "MmTriageActionTaken"), (0x238, "MmSpecialPoolTag"),
    (0x240, "KernelVerifier"), (0x248, "MmVerifierData"), (0x250, "MmAllocatedNonPagedPool"),
    (0x258, "MmPeakCommitment"), (0x260, "MmTotalCommitLimitMaximum"), (0x268, "CmNtCSDVersion"),
    (0x270, "MmPhysicalMemoryBlock"), (0x278, "MmSessionBase"), (0x280, "MmSessionSize"),
    (0x288, "MmSystemParentTablePage"), (0x2c8, "KdPrintCircularBufferPtr"), (0x2d0, "KdPrintBufferSize"),
    (0x2d8, "KeLoaderBlock"), (0x308, "IopNumTriageDumpDataBlocks"), (0x310, "IopTriageDumpDataBlocks"),
    (0x318, "VfCrashDataBlock"), (0x320, "MmBadPagesDetected"),
    (0x328, "MmZeroedPageSingleBitErrorsDetected"),
)
# fmt: on

MACHINES: Final = {"x86": 0x14C, "x64": 0x8664, "ia64": 0x200}


def debugger_block(build: KernelBuild, base: int, rvas: dict[str, int], head: int) -> bytes:
    """KDBG: addresses of variables; `head` is KdpDebuggerDataListHead, its only neighbour."""
    layout = build.profile.layout
    block = bytearray(layout.kdbg_size)
    struct.pack_into("<II" if layout.pointer == 4 else "<QQ", block, 0, head, head)
    struct.pack_into("<4sIQ", block, 0x10, b"KDBG", layout.kdbg_size, base)
    struct.pack_into("<HHHH", block, 0x30, 0x12C, 0, 0x18, int(build.profile.pae))
    struct.pack_into("<Q", block, 0x138, layout.page)  # MmPageSize is a value
    for offset, name in _ADDRESSES:
        if offset + 8 <= layout.kdbg_size:
            struct.pack_into("<Q", block, offset, base + rvas[name])
    if layout.kdbg_size > 0x290:
        _offsets(block, layout, build)
    return bytes(block)


def _offsets(block: bytearray, layout: Layout, build: KernelBuild) -> None:
    """The Offset and Size values of 5.2 and later that this layout knows."""
    process, pcr = layout.process, layout.pcr
    struct.pack_into("<Q", block, 0x290, build.profile.arch.pte_base)
    struct.pack_into("<H", block, 0x2A8, process.size)
    struct.pack_into("<H", block, 0x2AE, process.directory_table_base)
    struct.pack_into("<H", block, 0x2BE, pcr.number)
    struct.pack_into("<HHHH", block, 0x2E0, pcr.size, pcr.self_pcr, pcr.prcb_pointer, pcr.prcb)


def encoded(block: bytes, never: int, always: int, flag: int) -> bytes:
    """The block as Windows 8 and later keep it, in the inverse order of volatility v2's win8_kdbg.py:
    exchanged with KiWaitAlways, bytes swapped, with the flag's address, rotated, with KiWaitNever."""
    words = struct.unpack(f"<{len(block) // 8}Q", block)
    turn = never & 0x3F
    found = []
    for word in words:
        value = int.from_bytes(((word ^ always) & (2**64 - 1)).to_bytes(8, "little"), "big") ^ flag
        value = (value >> turn | value << (64 - turn)) & (2**64 - 1)
        found.append(value ^ never)
    return struct.pack(f"<{len(words)}Q", *found)


def version_block(build: KernelBuild, base: int, rvas: dict[str, int]) -> bytes:
    """KdVersionBlock; on x86 its 64-bit pointers are sign extended."""
    extend = 0xFFFFFFFF_00000000 if build.profile.arch.pointer == 4 else 0
    xp = build.profile.nt == "5.1"
    major = struct.pack("<HHBBH", 0xF, build.profile.build, 6, 0 if xp else 2, 3 if build.profile.mp else 2)
    middle = struct.pack("<HBBBBH", MACHINES[build.profile.machine], 12, 3, 0x2D, 0, 0)
    names = ("PsLoadedModuleList", "KdpDebuggerDataListHead")
    return major + middle + struct.pack("<QQQ", base | extend, *(base + rvas[n] | extend for n in names))


def _system_time(value: int) -> bytes:
    """KSYSTEM_TIME: LowPart, High1Time, High2Time."""
    return struct.pack("<III", value & 0xFFFFFFFF, value >> 32, value >> 32)


def shared_data(build: KernelBuild, system_time: int, uptime: int, pages: int) -> bytes:
    """KUSER_SHARED_DATA, the page seen at 0x7FFE0000 too."""
    page = bytearray(0x1000)
    profile = build.profile
    ticks = uptime // 156250
    major, minor = (int(part) for part in profile.nt.split("."))
    struct.pack_into("<II", page, 0, ticks & 0xFFFFFFFF if profile.nt == "5.1" else 0, 0x0FA00000)
    page[8:20], page[0x14:0x20] = _system_time(uptime), _system_time(system_time)
    page[0x20:0x2C] = _system_time(2**64 - 36_000_000_000 & 0x7FFFFFFF_FFFFFFFF)
    struct.pack_into("<HH", page, 0x2C, MACHINES[profile.machine], MACHINES[profile.machine])
    root = "C:\\WINDOWS".encode("utf-16-le")
    page[0x30 : 0x30 + len(root)] = root
    if profile.nt == "10.0":
        struct.pack_into("<I", page, 0x260, profile.build)
    struct.pack_into("<IB", page, 0x264, 3 if profile.product == "server" else 1, 1)
    struct.pack_into("<II", page, 0x26C, major, minor)
    start = profile.bases.system_start
    range_start = start if profile.arch.pointer == 4 else 0
    struct.pack_into("<II", page, 0x2B4, start - 0x10001, range_start)
    struct.pack_into("<IBB", page, 0x2D0, 0x110 if profile.product == "server" else 0x100, 0, 2)
    struct.pack_into("<I", page, 0x2E8, pages)
    page[0x320:0x32C] = _system_time(ticks)
    return bytes(page)


def pcr(build: KernelBuild, address: int, number: int, cr3: int, version_block_address: int) -> bytes:
    """KPCR of one processor; only processor 0 names the version block, and x64 leaves it 0."""
    layout = build.profile.layout
    offsets = layout.pcr
    form = "<I" if layout.pointer == 4 else "<Q"
    block = bytearray(offsets.size)
    prcb = address + offsets.prcb
    struct.pack_into(form, block, offsets.self_pcr, address)
    struct.pack_into(form, block, offsets.prcb_pointer, prcb)
    if number == 0 and layout.pointer == 4:
        struct.pack_into("<I", block, offsets.kd_version_block, version_block_address)
        struct.pack_into("<HH", block, 0x44, 1, 1)
    if layout.pointer == 4:
        struct.pack_into("<B", block, 0x51, number)
        struct.pack_into("<HH", block, offsets.prcb, 1, 1)
        struct.pack_into("<I", block, offsets.prcb + 0x14, 1 << number)
    else:
        struct.pack_into("<Q", block, offsets.prcb + 0x38, 1 << number)
    struct.pack_into("<B", block, offsets.prcb + offsets.number, number)
    struct.pack_into("<H", block, offsets.prcb + offsets.build_type, 0 if build.profile.mp else 2)
    struct.pack_into(form, block, offsets.prcb + offsets.cr3, cr3)
    struct.pack_into(form, block, offsets.prcb + offsets.cr3 - 2 * layout.pointer, 0x8001003B)
    cr4 = 0x6F8 if build.profile.arch.name != "x86" else 0x6D8  # PAE is bit 5
    struct.pack_into(form, block, offsets.prcb + offsets.cr3 + layout.pointer, cr4)
    vendor = offsets.prcb + offsets.vendor_string
    block[vendor : vendor + 12] = b"GenuineIntel"
    return bytes(block)
