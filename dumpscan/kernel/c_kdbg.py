"""KDDEBUGGER_DATA64 ("KDBG") and DBGKD_GET_VERSION64: offsets of their fields.

Witness: facts/kdbg.json ([2S] WRK wdbgexts.h and volatility v2, checked by script; sizes [2S]/[1S]),
facts/kernel-location.md section 1. The fields hold *addresses of* kernel variables, not values,
except KernBase. On x86 only the low 32 bits of a field count.
"""

from __future__ import annotations

TAG = b"KDBG"
TAG_OFFSET = 0x10
SIZE_OFFSET = 0x14
FIRST_ENCODED = 9200
"""From Windows 8 on the block is encoded in memory; decoded in crash dumps that Windows itself writes."""
MIN_SIZE = 0x208
MAX_SIZE = 0x400

KERN_BASE = 0x18
PAE_ENABLED = 0x36
"""u16; bit 0 set: the kernel runs with PAE."""

ADDRESSES: dict[str, int] = {
    "PsLoadedModuleList": 0x48,
    "PsActiveProcessHead": 0x50,
    "ExpPagedPoolDescriptor": 0x68,
    "ExpNumberOfPagedPools": 0x70,
    "KeTimeIncrement": 0x78,
    "KiBugcheckData": 0x88,
    "MmPfnDatabase": 0xC0,
    "MmSystemPtesStart": 0xC8,
    "MmSystemPtesEnd": 0xD0,
    "MmHighestPhysicalPage": 0xF0,
    "MmNumberOfPhysicalPages": 0xF8,
    "MmMaximumNonPagedPoolInBytes": 0x100,
    "MmNonPagedSystemStart": 0x108,
    "MmNonPagedPoolStart": 0x110,
    "MmNonPagedPoolEnd": 0x118,
    "MmPagedPoolStart": 0x120,
    "MmPagedPoolEnd": 0x128,
    "MmPagedPoolInformation": 0x130,
    "MmSizeOfPagedPoolInBytes": 0x140,
    "MmPagedPoolCommit": 0x170,
    "PoolTrackTable": 0x1B8,
    "NonPagedPoolDescriptor": 0x1C0,
    "MmSystemRangeStart": 0x1D0,
    "NtBuildLab": 0x208,
    "KiProcessorBlock": 0x218,
    "MmUnloadedDrivers": 0x220,
    "MmLastUnloadedDriver": 0x228,
    "MmAllocatedNonPagedPool": 0x250,
    "CmNtCSDVersion": 0x268,
    "MmPhysicalMemoryBlock": 0x270,
}
"""Name of the kernel variable -> offset of the field that holds its address."""

VERSION_SIZE = 0x28
VERSION_MAJOR = 0x0
VERSION_MINOR = 0x2
VERSION_KERN_BASE = 0x10
VERSION_DATA_LIST = 0x20
KPCR_VERSION_BLOCK = {"x86": 0x34, "x64": 0x108}
KPCR_XP = 0xFFDFF000
"""KPCR of the first processor on XP and 2003 x86 [INF, widely known]; elsewhere Vista and x64."""
