"""ELF cores as QEMU's dump-guest-memory writes them: notes CORE and QEMU per processor, then PT_LOADs.

Witness: facts/dump-formats.md section 7. QEMU's state note (QEMUCPUState): version, size, 18 general
registers as u64, ten segments of 24 bytes, then CR0 to CR4 as u64. Class 32 is for guests outside long
mode with RAM below 4 GB.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

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
    loads, notes = _loads(machine), _notes(machine, True)
    count = len(loads) + 1
    note_at = 64 + 56 * count
    data_at = (note_at + len(notes) + PAGE - 1) // PAGE * PAGE
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head = ident + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
    head += struct.pack("<IIQQQQQQ", _PT_NOTE, 0, note_at, 0, 0, len(notes), len(notes), 0)
    at = data_at
    for first, pages in loads:
        head += struct.pack("<IIQQQQQQ", _PT_LOAD, 0, at, 0, first * PAGE, pages * PAGE, pages * PAGE, 0)
        at += pages * PAGE
    return _write(machine, path, (head + notes).ljust(data_at, b"\0"), loads)


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
