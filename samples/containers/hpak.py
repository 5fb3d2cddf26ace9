"""HBGary HPAK: witness volatility (v2) plugins/addrspaces/hpak.py; places as its wiki shows them for a
real file (data from 0x4F8 on, the next header right behind the data).
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..ram import PAGE
from .sparse import SparseFile

if TYPE_CHECKING:
    from ..machine import Machine

_DATA: Final = 0x4F8


def _section(name: bytes, offset: int, size: int, packed: int, following: int) -> bytes:
    head = bytearray(0xE0)
    head[0:32] = (b"HPAKSECTHPAK_SECTION_" + name).ljust(32, b"\0")
    struct.pack_into("<I", head, 0x8C, int(packed > 0))
    struct.pack_into("<Q", head, 0x98, size)
    struct.pack_into("<QQQ", head, 0xA8, offset, following, packed)
    head[0xD4:0xE0] = b"memdump.bin\0"
    return bytes(head)


def write_hpak(machine: Machine, path: Path) -> list[Path]:
    """Memory as it is, and an empty page file behind it."""
    size = machine.ram.frames * PAGE
    with SparseFile(path) as out:
        out.write(b"HPAK".ljust(32, b"\0"))
        out.write(_section(b"PHYSDUMP", _DATA, size, 0, _DATA + size).ljust(_DATA - 32, b"\0"))
        out.contiguous(machine.ram, 0, machine.ram.frames)
        out.write(_section(b"PAGEDUMP", 0, 0, 0, 0))
    return [path]


def write_hpak_packed(machine: Machine, path: Path) -> list[Path]:
    """Memory as one gzip stream, with the next section behind it."""
    size = machine.ram.frames * PAGE
    packed = gzip.compress(machine.ram.data.tobytes(), 1)
    with path.open("wb") as out:
        head = _section(b"PHYSDUMP", _DATA, size, len(packed), _DATA + len(packed))
        out.write((b"HPAK".ljust(32, b"\0") + head).ljust(_DATA, b"\0"))
        out.write(packed + _section(b"PAGEDUMP", 0, 0, 0, 0))
    return [path]
