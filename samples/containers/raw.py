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


def _tag(name: bytes, indices: tuple[int, ...], value: int, width: int = 4) -> bytes:
    """flags (index count, data bytes), name length, name, indices, value."""
    flags = (len(indices) << 6) | width
    return (
        bytes((flags, len(name)))
        + name
        + struct.pack(f"<{len(indices)}I", *indices)
        + value.to_bytes(width, "little")
    )


def _map(parts: list[tuple[int, int, int]]) -> bytes:
    tags = _tag(b"regionsCount", (), len(parts))
    for number, (guest, page, count) in enumerate(parts):
        tags += _tag(b"regionPPN", (number,), guest)
        tags += _tag(b"regionPageNum", (number,), page)
        tags += _tag(b"regionSize", (number,), count)
    return tags


def state_file(magic: int, groups: dict[bytes, bytes]) -> bytes:
    """Header, group table and the tags of each group (the groups that readers of memory need)."""
    out = struct.pack("<III", magic, 8, len(groups))
    at = 0x100
    body = b""
    for name, tags in groups.items():
        out += struct.pack("<64sQQ", name, at + len(body), len(tags) + 2)
        body += tags + b"\0\0"
    return out.ljust(at, b"\0") + body


def _cpu(machine: Machine) -> bytes:
    pae = machine.truth["kernel"]["pae"] or machine.pointer == 8
    tags = b""
    for processor in range(machine.options.processors):
        tags += _tag(b"CR64", (processor, 0), 0x8001003B, 8)
        tags += _tag(b"CR64", (processor, 3), machine.dtb, 8)
        tags += _tag(b"CR64", (processor, 4), 0x6F8 if pae else 0x6D8, 8)
    return tags


def write_vmware(machine: Machine, path: Path) -> list[Path]:
    """`.vmem` with the hole squeezed out, and `.vmss` beside it."""
    return _with_state(machine, path, ".vmss", state_file(0xBED2BED2, {b"memory": _map(regions(machine))}))


def write_vmware_snapshot(machine: Machine, path: Path) -> list[Path]:
    """`.vmem` and a `.vmsn` of a later version, with the processors' registers."""
    groups = {b"cpu": _cpu(machine), b"memory": _map(regions(machine))}
    return _with_state(machine, path, ".vmsn", state_file(0xBED3BED3, groups))


def _with_state(machine: Machine, path: Path, suffix: str, content: bytes) -> list[Path]:
    with SparseFile(path) as out:
        for guest, _, count in regions(machine):
            out.contiguous(machine.ram, guest, count)
    state = path.with_suffix(suffix)
    state.write_bytes(content)
    return [path, state]


def write_vmware_inline(machine: Machine, path: Path) -> list[Path]:
    """One state file of the oldest version: 32-bit sizes, the memory in it, padded to a page."""
    parts = regions(machine)
    size = sum(count for _, _, count in parts) * PAGE
    name = b"Memory"
    start = bytes((62 | 2 << 6, len(name))) + name + struct.pack("<II", 0, 0) + struct.pack("<II", size, size)
    head = state_file(0xBED2BED0, {b"memory": _map(parts) + start})[:-2]
    padding = -(len(head) + 2) % PAGE
    with SparseFile(path) as out:
        out.write(head + struct.pack("<H", padding) + bytes(padding))
        for guest, _, count in parts:
            out.contiguous(machine.ram, guest, count)
        out.write(b"\0\0")
    return [path]
