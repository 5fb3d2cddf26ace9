"""Raw images, LiME, and VMware memory with its state file.

Witness: facts/dump-headers.json (LIME, VMWARE), facts/dump-formats.md sections 6, 9 and 10.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

from ..ram import PAGE
from .sparse import SparseFile

if TYPE_CHECKING:
    from ..machine import Machine


def write_raw(machine: Machine, path: Path) -> list[Path]:
    """Offset = physical address; holes are zero."""
    with SparseFile(path) as out:
        out.contiguous(machine.ram, 0, machine.ram.frames)
    return [path]


def write_lime(machine: Machine, path: Path) -> list[Path]:
    """A 32-byte header before each run; the last address is inclusive."""
    with SparseFile(path) as out:
        for first, count in machine.ram.runs:
            out.write(struct.pack("<4sIQQQ", b"EMiL", 1, first * PAGE, (first + count) * PAGE - 1, 0))
            out.contiguous(machine.ram, first, count)
    return [path]


def write_vmem(machine: Machine, path: Path) -> list[Path]:
    """A .vmem whose state file is lost: a plain raw image with the same name."""
    return write_raw(machine, path)


def regions(machine: Machine) -> list[tuple[int, int, int]]:
    """(guest page, page in the vmem, pages).

    VMware puts RAM below 3 GB and from 4 GB on. Smaller samples are split at the BIOS hole instead, so that
    a hole is squeezed out in them too.
    """
    frames = machine.ram.frames
    if frames > 0x100000:
        return [(0, 0, 0xC0000), (0x100000, 0xC0000, frames - 0x100000)]
    return [(0, 0, 0xA0), (0x100, 0xA0, frames - 0x100)]


def _tag(name: bytes, indices: tuple[int, ...], value: int) -> bytes:
    """flags (index count, data bytes), name length, name, indices, u32."""
    flags = (len(indices) << 6) | 4
    return (
        bytes((flags, len(name)))
        + name
        + struct.pack(f"<{len(indices)}I", *indices)
        + struct.pack("<I", value)
    )


def state_file(parts: list[tuple[int, int, int]]) -> bytes:
    """A .vmss with the one group that readers of memory need."""
    tags = _tag(b"regionsCount", (), len(parts))
    for number, (guest, page, count) in enumerate(parts):
        tags += _tag(b"regionPPN", (number,), guest)
        tags += _tag(b"regionPageNum", (number,), page)
        tags += _tag(b"regionSize", (number,), count)
    head = struct.pack("<III", 0xBED2BED2, 8, 1)
    group = struct.pack("<64sQQ", b"memory", 0x100, len(tags) + 2)
    return (head + group).ljust(0x100, b"\0") + tags + b"\0\0"


def write_vmware(machine: Machine, path: Path) -> list[Path]:
    """`.vmem` with the hole squeezed out, and `.vmss` beside it."""
    parts = regions(machine)
    with SparseFile(path) as out:
        for guest, _, count in parts:
            out.contiguous(machine.ram, guest, count)
    state = path.with_suffix(".vmss")
    state.write_bytes(state_file(parts))
    return [path, state]
