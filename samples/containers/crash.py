"""Windows crash dumps: complete (type 1), kernel (type 2), and the later bitmap dumps (types 5 and 6).

Witness: facts/dump-headers.json (DUMP_HEADER32/64, SUMMARY_DUMP32/64, BITMAP_DUMP), facts/dump-formats.md
section 1. Header space that is never written holds the text PAGE.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from ..kdbg import MACHINES
from .sparse import SparseFile

if TYPE_CHECKING:
    from ..machine import Machine

_FIELDS: Final = {
    4: {
        "DirectoryTableBase": 0x10, "PfnDataBase": 0x14, "PsLoadedModuleList": 0x18,
        "PsActiveProcessHead": 0x1C,
        "MachineImageType": 0x20, "NumberProcessors": 0x24, "BugCheckCode": 0x28, "BugCheckParameter1": 0x2C,
        "VersionUser": 0x3C, "PaeEnabled": 0x5C, "KdDebuggerDataBlock": 0x60, "PhysicalMemoryBlock": 0x64,
        "ContextRecord": 0x320, "Exception": 0x7D0, "DumpType": 0xF88, "MiniDumpFields": 0xF8C,
        "SecondaryDataState": 0xF90, "ProductType": 0xF94, "SuiteMask": 0xF98, "RequiredDumpSpace": 0xFA0,
        "SystemUpTime": 0xFB8, "SystemTime": 0xFC0,
    },
    8: {
        "DirectoryTableBase": 0x10, "PfnDataBase": 0x18, "PsLoadedModuleList": 0x20,
        "PsActiveProcessHead": 0x28,
        "MachineImageType": 0x30, "NumberProcessors": 0x34, "BugCheckCode": 0x38, "BugCheckParameter1": 0x40,
        "VersionUser": 0x60, "KdDebuggerDataBlock": 0x80, "PhysicalMemoryBlock": 0x88, "ContextRecord": 0x348,
        "Exception": 0xF00, "DumpType": 0xF98, "RequiredDumpSpace": 0xFA0, "SystemTime": 0xFA8,
        "SystemUpTime": 0x1030, "MiniDumpFields": 0x1038, "SecondaryDataState": 0x103C, "ProductType": 0x1040,
        "SuiteMask": 0x1044,
    },
}  # fmt: skip


def _put(head: bytearray, field: str, data: bytes, pointer: int) -> None:
    at = _FIELDS[pointer][field]
    head[at : at + len(data)] = data


def _runs(machine: Machine) -> bytes:
    wide = machine.pointer == 8
    runs = machine.ram.runs
    pages = sum(count for _, count in runs)
    block = struct.pack("<IxxxxQ" if wide else "<II", len(runs), pages)
    return block + b"".join(struct.pack("<QQ" if wide else "<II", *run) for run in runs)


def dump_header(machine: Machine, dump_type: int, required: int) -> bytes:
    """DUMP_HEADER32 or DUMP_HEADER64."""
    pointer = machine.pointer
    wide = pointer == 8
    head = bytearray(b"PAGE" * (0x800 if wide else 0x400))
    options, kernel = machine.options, machine.truth["kernel"]
    word = struct.Struct("<Q" if wide else "<I").pack
    head[4:16] = (b"DU64" if wide else b"DUMP") + struct.pack("<II", 15, kernel["build"])
    _put(head, "DirectoryTableBase", word(machine.dtb), pointer)
    _put(head, "PfnDataBase", word(machine.pfn_database), pointer)
    for name in ("PsLoadedModuleList", "PsActiveProcessHead", "KdDebuggerDataBlock"):
        _put(head, name, word(machine.header[name]), pointer)
    _put(
        head, "MachineImageType", struct.pack("<II", MACHINES[kernel["machine"]], options.processors), pointer
    )
    _put(head, "BugCheckCode", struct.pack("<I", options.bugcheck), pointer)
    _put(head, "BugCheckParameter1", bytes(4 * pointer), pointer)
    _put(head, "VersionUser", b"\0", pointer)
    if not wide:
        _put(head, "PaeEnabled", bytes([int(kernel["pae"])]), pointer)
    _put(head, "PhysicalMemoryBlock", _runs(machine), pointer)
    _put(head, "ContextRecord", _context(machine, wide), pointer)
    _put(head, "Exception", struct.pack("<I", 0x80000003).ljust(0x98 if wide else 0x50, b"\0"), pointer)
    server = kernel["product"] == "server"
    _put(head, "DumpType", struct.pack("<I", dump_type), pointer)
    _put(head, "MiniDumpFields", struct.pack("<I", 0), pointer)
    _put(head, "SecondaryDataState", struct.pack("<I", 0), pointer)
    _put(head, "ProductType", struct.pack("<I", 3 if server else 1), pointer)
    _put(head, "SuiteMask", struct.pack("<I", 0x110), pointer)
    _put(head, "RequiredDumpSpace", struct.pack("<q", required), pointer)
    _put(head, "SystemUpTime", struct.pack("<q", options.uptime_100ns), pointer)
    _put(head, "SystemTime", struct.pack("<q", options.system_time), pointer)
    return bytes(head)


def _context(machine: Machine, wide: bool) -> bytes:
    """CONTEXT with its flags and an instruction pointer inside the kernel."""
    base = int(machine.truth["kernel"]["base"], 16)
    if machine.truth["kernel"]["machine"] == "ia64":
        return bytes(0xA70)  # no witness for its fields
    if wide:
        record = bytearray(0x4D0)
        struct.pack_into("<I", record, 0x30, 0x0010001F)
        struct.pack_into("<Q", record, 0xF8, base + 0x2134)
        return bytes(record)
    record = bytearray(0x2CC)
    struct.pack_into("<I", record, 0, 0x0001003F)
    struct.pack_into("<I", record, 0xB8, base + 0x2134)
    return bytes(record)


def write_full(machine: Machine, path: Path) -> list[Path]:
    """Type 1: the runs, one after the other."""
    header = 0x2000 if machine.pointer == 8 else 0x1000
    pages = sum(count for _, count in machine.ram.runs)
    with SparseFile(path) as out:
        out.write(dump_header(machine, 1, header + pages * machine.ram.page))
        for first, count in machine.ram.runs:
            out.contiguous(machine.ram, first, count)
    return [path]


def kernel_frames(machine: Machine) -> NDArray[np.int64]:
    """Kernel-mapped RAM pages, ascending."""
    return np.flatnonzero(machine.ram.kernel & machine.ram.present)


def _bits(frames: NDArray[np.int64], total: int) -> bytes:
    flags = np.zeros((total + 31) // 32 * 32, dtype=np.uint8)
    flags[frames] = 1
    return np.packbits(flags, bitorder="little").tobytes()


def write_kernel(machine: Machine, path: Path) -> list[Path]:
    """Type 2: SUMMARY_DUMP and the kernel pages in ascending order."""
    wide = machine.pointer == 8
    frames, total = kernel_frames(machine), machine.ram.frames
    bits = _bits(frames, total)
    start = 0x2000 if wide else 0x1000
    size = start + (0x28 if wide else 0x20) + len(bits)
    page = machine.ram.page
    first_page = -(-size // page) * page
    # The buffer pointer is whatever it was in the dumping kernel; readers must not follow it.
    dead = machine.pfn_database + 0x1F000 & ((1 << 8 * machine.pointer) - 1)
    summary = b"SDMPDUMP" + struct.pack("<IIIII", 1, first_page, total, len(frames), total)
    summary += struct.pack("<IQ" if wide else "<I", *((0, dead) if wide else (dead,)))
    with SparseFile(path) as out:
        out.write(dump_header(machine, 2, first_page + len(frames) * page))
        out.write((summary + bits).ljust(first_page - start, b"\0"))
        out.frames(machine.ram, frames)
    return [path]


def write_bitmap(machine: Machine, path: Path, dump_type: int) -> list[Path]:
    """Types 5 (all RAM, FDMP) and 6 (kernel pages, SDMP) with 64-bit fields."""
    start = 0x2000 if machine.pointer == 8 else 0x1000
    full = dump_type == 5
    frames = np.flatnonzero(machine.ram.present) if full else kernel_frames(machine)
    bits = _bits(frames, machine.ram.frames)
    page = machine.ram.page
    first_page = -(-(start + 0x38 + len(bits)) // page) * page
    head = (b"FDMP" if full else b"SDMP") + b"DUMP" + bytes(0x18)
    head += struct.pack("<QQQ", first_page, len(frames), machine.ram.frames)
    with SparseFile(path) as out:
        out.write(dump_header(machine, dump_type, first_page + len(frames) * page))
        out.write((head + bits).ljust(first_page - start, b"\0"))
        out.frames(machine.ram, frames)
    return [path]
