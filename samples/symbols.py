"""Addresses of kernel variables, relative to the image base.

xpsp3-x86-pae has the real ones of ntkrnlpa 5.1.2600.5512 (facts/kdbg.json, from its public PDB), so
that real symbols fit. The other kernels' addresses are invented here, deterministically, with the
distances that facts/kernel-location.md sections 2 and 3 give for the pool and unload variables.
"""

from __future__ import annotations

import random
from typing import Final

from .profiles import Profile

# fmt: off
_XP_SP3_PAE: Final[dict[str, int]] = {
    "NtBuildLab": 0xc5c, "NtBuildNumber": 0x6e8e8, "KdVersionBlock": 0x6eab8,
    "KdDebuggerDataBlock": 0x6eae0, "MmLowestPhysicalPage": 0x730bc, "MmSizeOfPagedPoolInBytes": 0x73188,
    "MmSystemCacheStart": 0x73190, "PsNtosImageBase": 0x734a4, "MmNonPagedPoolEnd": 0x73578,
    "MmPagedPoolStart": 0x7357c, "ExpNumberOfPagedPools": 0x73aac, "ExpNumberOfNonPagedPools": 0x73ab0,
    "KeTickCount": 0x73da0, "KeLoaderBlock": 0x754dc, "KeNumberProcessors": 0x754e0,
    "CmNtCSDVersion": 0x7a264, "NtGlobalFlag": 0x7a26c, "CmCSDVersionString": 0x7a278,
    "IopTriageDumpDataBlocks": 0x7a400, "IopNumTriageDumpDataBlocks": 0x7a600, "KiProcessorBlock": 0x7be40,
    "KeTimeIncrement": 0x7bf1c, "KeBugCheckCallbackListHead": 0x7bff8, "KeBootTime": 0x7c010,
    "KiBugCheckData": 0x7c940, "MmSystemPtesEnd": 0x7cbe0, "MmSystemPtesStart": 0x7cbe8,
    "MmPagedPoolEnd": 0x7cc34, "MmNonPagedPoolStart": 0x7cc38, "MmSpecialPoolTag": 0x7ccac,
    "MmPeakCommitment": 0x7ccc8, "MmNonPagedPoolExpansionStart": 0x7cd80, "MmNonPagedPoolEnd0": 0x7cd84,
    "MmAllocatedNonPagedPool": 0x7cd90, "MmPagedPoolCommit": 0x7cd94, "MmTriageActionTaken": 0x7cd98,
    "MmLoadedUserImageList": 0x7ce90, "MmPhysicalMemoryBlock": 0x7cf68, "MmSubsectionBase": 0x7cf78,
    "PsLoadedModuleList": 0x7cfc0, "MiUnloadsSkipped": 0x7d030, "MiTotalUnloads": 0x7d034,
    "MmLastUnloadedDriver": 0x7d038, "MmUnloadedDrivers": 0x7d03c, "MmDriverCommit": 0x7d040,
    "MmVerifierData": 0x81320, "MmSessionSize": 0x81400, "MmSessionBase": 0x8140c,
    "MmPagedPoolInfo": 0x81420, "MmTotalCommitLimitMaximum": 0x814c0, "MmTotalCommitLimit": 0x814c4,
    "MmTotalCommittedPages": 0x814c8, "MmNumberOfPagingFiles": 0x81500, "MmSystemCacheEnd": 0x81768,
    "MmSystemCacheWs": 0x81780, "MmMaximumNonPagedPoolInBytes": 0x817ec,
    "MmSizeOfNonPagedPoolInBytes": 0x817f0, "MmPfnDatabase": 0x81968, "MmResidentAvailablePages": 0x8197c,
    "MmAvailablePages": 0x819bc, "MmHighestPossiblePhysicalPage": 0x819c0, "MmHighestPhysicalPage": 0x819c4,
    "MmNumberOfPhysicalPages": 0x819c8, "MmVirtualBias": 0x819d0, "MmUserProbeAddress": 0x819d4,
    "MmSystemRangeStart": 0x819d8, "MmHighestUserAddress": 0x819dc, "ObpTypeObjectType": 0x82770,
    "ObpRootDirectoryObject": 0x82778, "PsIdleProcess": 0x83154, "PsActiveProcessHead": 0x83158,
    "PsInitialSystemProcess": 0x83254, "ExpPagedPoolDescriptor": 0x84520, "PoolVector": 0x84560,
    "ExpNonPagedPoolDescriptor": 0x84580, "NonPagedPoolDescriptor": 0x845c0,
    "PoolBigPageTableHash": 0x855ec, "PoolBigPageTableSize": 0x855f0, "PoolBigPageTable": 0x855f4,
    "PoolTrackTableMask": 0x855f8, "PoolTrackTableSize": 0x855fc, "PoolTrackTable": 0x85600,
    "KdpDebuggerDataListHead": 0x1a0ef4,
}

# What else its debugger block names; apart, because the order of the names above and below decides the
# invented addresses of the other kernels.
_XP_SP3_PAE_KDBG: Final[dict[str, int]] = {
    "KiCallUserMode": 0x2868c, "MmSharedCommit": 0x756c8, "KernelVerifier": 0x75688,
    "IopErrorLogListHead": 0x7a8c0, "MmZeroedPageListHead": 0x730e0, "MmFreePageListHead": 0x730f0,
    "MmStandbyPageListHead": 0x73100, "MmModifiedPageListHead": 0x73110,
    "MmModifiedNoWritePageListHead": 0x73120, "KeUserCallbackDispatcher": 0x7bf14,
    "MmProcessCommit": 0x7cfb4, "MmNonPagedSystemStart": 0x81920, "PspCidTable": 0x83260,
    "ExpSystemResourcesList": 0x85688, "KdPrintCircularBuffer": 0x19cf00,
    "KdPrintWritePointer": 0x19df00, "KdPrintRolloverCount": 0x19df04,
}

# More fields of the debugger block, invented where no PDB gives their addresses: code, then data.
_CODE: Final = (
    "BreakpointWithStatus", "KiCallUserMode", "KeUserCallbackDispatcher", "KiNormalSystemCall",
)
_UNNAMED: Final = (
    "SavedContext", "PspCidTable", "ExpSystemResourcesList", "IopErrorLogListHead", "MmNonPagedSystemStart",
    "MmSharedCommit", "MmProcessCommit", "MmExtendedCommit", "MmZeroedPageListHead", "MmFreePageListHead",
    "MmStandbyPageListHead", "MmModifiedPageListHead", "MmModifiedNoWritePageListHead",
    "KdPrintCircularBuffer", "KdPrintCircularBufferEnd", "KdPrintWritePointer", "KdPrintRolloverCount",
    "KernelVerifier", "MmSystemParentTablePage", "VfCrashDataBlock", "MmBadPagesDetected",
    "MmZeroedPageSingleBitErrorsDetected", "KdPrintCircularBufferPtr", "KdPrintBufferSize",
)
# fmt: on

# Windows 8 and later: what the debugger block is encoded with.
_ENCODING: Final = ("KiWaitNever", "KiWaitAlways", "KdpDataBlockEncoded")

_SCRATCH_SP3: Final = 0x6ED80  # between the debugger block and the next named variable of the real kernel

# Bytes of the variables that are not one pointer; negative: in pointers.
_SIZES: Final = {
    "NonPagedPoolDescriptor": 0x1050,
    "PoolVector": -2,
    "ExpPagedPoolDescriptor": -16,
    "ExpNonPagedPoolDescriptor": -16,
    "KiProcessorBlock": -32,
    "MmPagedPoolInfo": 0x80,
    "CmCSDVersionString": 0x40,
    "PsLoadedModuleList": -2,
    "PsActiveProcessHead": -2,
    "KdpDebuggerDataListHead": -2,
    "KeBootTime": 8,
    "KeTickCount": 16,
    "KiBugCheckData": -5,
    "MmLoadedUserImageList": -2,
    "KeBugCheckCallbackListHead": -2,
}


def _round(value: int, to: int) -> int:
    return (value + to - 1) // to * to


def _group(base: int, names: tuple[str, ...], width: int, table: dict[str, int]) -> int:
    for name in names:
        table[name] = base
        base += width
    return base


def pool_group(nt: str) -> tuple[str, ...]:
    """The pool variables from low to high: declaration order reversed by the linker.

    From 6.3 on their order is not known: only the two that are named nowhere else stay together."""
    if nt in ("6.3", "10.0"):
        return ("PoolTrackTableExpansionSize", "PoolTrackTableExpansion")
    big = ("PoolBigPageTableHash", "PoolBigPageTableSize", "PoolBigPageTable")
    expansion = {
        "5.1": (),
        "5.2": ("PoolTrackTableExpansionPages", "PoolTrackTableExpansionSize", "PoolTrackTableExpansion"),
        "6.0": ("PoolTrackTableExpansionSize", "PoolTrackTableExpansion"),
        "6.1": ("PoolTrackTableExpansionSize", "PoolTrackTableExpansion"),
    }[nt]
    return (*big, *expansion, "PoolTrackTableMask", "PoolTrackTableSize", "PoolTrackTable")


def _invented(profile: Profile, data_rva: int) -> dict[str, int]:
    pointer, layout = profile.layout.pointer, profile.layout
    table: dict[str, int] = {}
    grouped = {*pool_group(profile.nt), "MiUnloadsSkipped", "MiTotalUnloads", "MmLastUnloadedDriver"}
    grouped |= {"MmUnloadedDrivers", "KdVersionBlock", "KdDebuggerDataBlock"}
    loose = [name for name in (*_XP_SP3_PAE, *_UNNAMED) if name not in grouped and name != "NtBuildLab"]
    loose += _ENCODING if profile.encodes_debugger_block else ()
    random.Random(profile.name).shuffle(loose)
    at = data_rva + 0x100
    table["KdVersionBlock"] = at
    at += 0x28 if pointer == 4 else 0x30
    table["KdDebuggerDataBlock"] = at
    at = _round(at + layout.kdbg_size, 0x40)
    for number, name in enumerate(loose):
        if number == len(loose) // 3:
            at = _group(
                _round(at, 16), ("MiUnloadsSkipped", "MiTotalUnloads", "MmLastUnloadedDriver"), 4, table
            )
            at = _group(_round(at, pointer), ("MmUnloadedDrivers",), pointer, table) + 0x24
        size = _SIZES.get(name, pointer)
        if name == "NonPagedPoolDescriptor":
            size = max(size, _round(layout.descriptor.size, 16))
        at = _round(at, 16 if size not in (pointer,) else pointer)
        table[name] = at
        at += size if size > 0 else -size * pointer
    at = _group(_round(at, 0x20), pool_group(profile.nt), pointer, table)
    table["ExPoolTagTables"] = at
    at = _round(at + 64 * pointer, 0x1000)
    table["KiInitialPCR"] = at
    table["_end_of_data"] = _round(at + layout.pcr.size, 0x1000)
    for number, name in enumerate(_CODE):
        table[name] = 0x2000 + 0x134 * number
    table["NtBuildLab"] = 0xC40
    return table


def variables(profile: Profile, data_rva: int) -> dict[str, int]:
    """Name -> RVA for every variable that the writer fills or the debugger block names."""
    if profile.name != "xpsp3-x86-pae":
        return _invented(profile, data_rva)
    table = dict(_XP_SP3_PAE)
    for number, name in enumerate(_UNNAMED):
        table[name] = _SCRATCH_SP3 + 8 * number
    for number, name in enumerate(_CODE):
        table[name] = 0x50BDC + 0x134 * number
    return table | _XP_SP3_PAE_KDBG
