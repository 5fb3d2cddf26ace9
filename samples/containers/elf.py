"""ELF cores as QEMU, VirtualBox and Xen write them.

QEMU's dump-guest-memory: notes CORE and QEMU per processor, then PT_LOADs. Witness: facts/dump-formats.md
section 7. QEMU's state note (QEMUCPUState): version, size, 18 general
registers as u64, ten segments of 24 bytes, then CR0 to CR4 as u64. Class 32 is for guests outside long
mode with RAM below 4 GB. VirtualBox: facts/dump-headers.json (VBOX_ELF_CORE) and its dbgfcorefmt.h.
Xen: docs/misc/dump-core-format.txt.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..ram import PAGE
from .sparse import SparseFile

if TYPE_CHECKING:
    from ..machine import Machine

_PT_LOAD, _PT_NOTE = 1, 4


def _note(name: bytes, kind: int, data: bytes) -> bytes:
    def pad(raw: bytes) -> bytes:
        return raw + bytes(-len(raw) % 4)

    return struct.pack("<III", len(name) + 1, len(data), kind) + pad(name + b"\0") + pad(data)


def cpu_state(machine: Machine) -> bytes:
    """QEMUCPUState of a processor that stopped in the kernel."""
    base = int(machine.truth["kernel"]["base"], 16)
    registers = [0] * 18
    registers[16] = base + 0x2134  # rip
    registers[17] = 0x246  # rflags
    segments = struct.pack("<IIIIQ", 8, 0xFFFFFFFF, 0xC09B00, 0, 0) * 10
    pae = machine.truth["kernel"]["pae"] or machine.pointer == 8
    controls = struct.pack("<5Q", 0x8001003B, 0, 0, machine.dtb, 0x6F8 if pae else 0x6D8)
    body = struct.pack("<18Q", *registers) + segments + controls + bytes(8)
    return struct.pack("<II", 1, len(body) + 8) + body


def _notes(machine: Machine, wide: bool) -> bytes:
    status = bytes(336 if wide else 144)  # prstatus
    notes = _note(b"CORE", 1, status) * machine.options.processors
    return notes + _note(b"QEMU", 0, cpu_state(machine)) * machine.options.processors


def _loads(machine: Machine) -> list[tuple[int, int]]:
    """(first page, pages): QEMU knows the guest's RAM blocks, not Windows' runs."""
    frames = machine.ram.frames
    high = [(0x100000, frames - 0x100000)] if frames > 0x100000 else []
    return [(0, 0xA0), (0x100, min(frames, 0xC0000) - 0x100), *high]


def write_elf64(machine: Machine, path: Path) -> list[Path]:
    """Class 64, machine 62."""
    return _elf64(machine, path, many=False)


def write_elf64_many(machine: Machine, path: Path) -> list[Path]:
    """As for a machine with so many segments that their number stands in sh_info of section 0."""
    return _elf64(machine, path, many=True)


def _elf64(machine: Machine, path: Path, *, many: bool) -> list[Path]:
    loads, notes = _loads(machine), _notes(machine, True)
    count = len(loads) + 1
    section = struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, count, 0, 0) if many else b""
    section_at = 64 + 56 * count
    note_at = section_at + len(section)
    data_at = (note_at + len(notes) + PAGE - 1) // PAGE * PAGE
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    number, sections = (0xFFFF, (64, 1, 0)) if many else (count, (0, 0, 0))
    offset = section_at if many else 0
    head = ident + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, offset, 0, 64, 56, number, *sections)
    head += struct.pack("<IIQQQQQQ", _PT_NOTE, 0, note_at, 0, 0, len(notes), len(notes), 0)
    at = data_at
    for first, pages in loads:
        head += struct.pack("<IIQQQQQQ", _PT_LOAD, 0, at, 0, first * PAGE, pages * PAGE, pages * PAGE, 0)
        at += pages * PAGE
    return _write(machine, path, (head + section + notes).ljust(data_at, b"\0"), loads)


def write_elf32(machine: Machine, path: Path) -> list[Path]:
    """Class 32, machine 3: the usual form of a 32-bit guest with RAM below 4 GB."""
    if machine.ram.frames > 0x100000:
        raise ValueError("a 32-bit ELF core cannot describe memory above 4 GB")
    loads, notes = _loads(machine), _notes(machine, False)
    count = len(loads) + 1
    note_at = 52 + 32 * count
    data_at = (note_at + len(notes) + PAGE - 1) // PAGE * PAGE
    ident = b"\x7fELF\x01\x01\x01".ljust(16, b"\0")
    head = ident + struct.pack("<HHIIIIIHHHHHH", 4, 3, 1, 0, 52, 0, 0, 52, 32, count, 0, 0, 0)
    head += struct.pack("<8I", _PT_NOTE, note_at, 0, 0, len(notes), len(notes), 0, 0)
    at = data_at
    for first, pages in loads:
        head += struct.pack("<8I", _PT_LOAD, at, 0, first * PAGE, pages * PAGE, pages * PAGE, 0, 0)
        at += pages * PAGE
    return _write(machine, path, (head + notes).ljust(data_at, b"\0"), loads)


def _write(machine: Machine, path: Path, head: bytes, loads: list[tuple[int, int]]) -> list[Path]:
    with SparseFile(path) as out:
        out.write(head)
        for first, count in loads:
            out.contiguous(machine.ram, first, count)
    return [path]


def write_virtualbox(machine: Machine, path: Path) -> list[Path]:
    """`VBoxManage debugvm dumpvmcore`: class 64 with ELF version 0."""
    frames = machine.ram.frames
    # VirtualBox leaves out the VGA window and the ROMs, and cuts RAM at its own places.
    high = [(0x100000, frames - 0x100000)] if frames > 0x100000 else []
    loads = [(0, 0xA0), (0x100, 0xF00), (0x1000, min(frames, 0xC0000) - 0x1000), *high]
    processors = machine.options.processors
    about = struct.pack("<6I", 0xC01AC0DE, 0x00010004, 24, 4 << 24, 0, processors)
    notes = _note(b"VBCORE", 0xB00, about) + _note(b"VBCPU", 0xB01, _virtualbox_cpu(machine)) * processors
    count = len(loads) + 1
    note_at = 64 + 56 * count
    data_at = (note_at + len(notes) + PAGE - 1) // PAGE * PAGE
    ident = b"\x7fELF\x02\x01\x00".ljust(16, b"\0")
    head = ident + struct.pack("<HHIQQQIHHHHHH", 4, 62, 0, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
    head += struct.pack("<IIQQQQQQ", _PT_NOTE, 0, note_at, 0, 0, len(notes), len(notes), 0)
    at = data_at
    for first, pages in loads:
        head += struct.pack("<IIQQQQQQ", _PT_LOAD, 7, at, 0, first * PAGE, pages * PAGE, pages * PAGE, 0)
        at += pages * PAGE
    return _write(machine, path, (head + notes).ljust(data_at, b"\0"), loads)


def _virtualbox_cpu(machine: Machine) -> bytes:
    """DBGFCORECPU: 18 registers, 6 selectors of 24 bytes, CR0, CR2, CR3, CR4; the rest stays empty."""
    registers = [0] * 18
    registers[14] = int(machine.truth["kernel"]["base"], 16) + 0x2134  # rip
    pae = machine.truth["kernel"]["pae"] or machine.pointer == 8
    controls = struct.pack("<4Q", 0x8001003B, 0, machine.dtb, 0x6F8 if pae else 0x6D8)
    return struct.pack("<18Q", *registers) + bytes(6 * 24) + controls + bytes(0x300)


def write_xen(machine: Machine, path: Path) -> list[Path]:
    """`xl dump-core` of a fully virtualised domain: pages in no order, and the list of their numbers."""
    frames = np.flatnonzero(machine.ram.present)
    frames = np.concatenate([frames[1::2], frames[::2]])
    # A page that could not be mapped is listed with all ones; its place in the file is kept.
    listed = np.append(frames.astype("<u8"), np.uint64(0xFFFFFFFFFFFFFFFF)).astype("<u8").tobytes()
    names = b"\0.shstrtab\0.xen_pfn\0.xen_pages\0"
    list_at = 64 + 4 * 64
    pages_at = (list_at + len(listed) + len(names) + PAGE - 1) // PAGE * PAGE
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 0, 64, 0, 64, 56, 0, 64, 4, 1)
    sections = [
        (0, 0, 0, 0),
        (1, 3, list_at + len(listed), len(names)),
        (11, 1, list_at, len(listed)),
        (20, 1, pages_at, (len(frames) + 1) * PAGE),
    ]
    for name, kind, at, size in sections:
        head += struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, at, size, 0, 0, 0, 0)
    with SparseFile(path) as out:
        out.write((head + listed + names).ljust(pages_at, b"\0"))
        out.frames(machine.ram, frames)
        out.skip(PAGE)
    return [path]
