"""AVML, version 2: witness microsoft/avml src/image.rs (header with an inclusive last address, snappy
frames, their length in eight bytes) and snappy's framing_format.txt and format_description.txt.

Frames hold 64 KB. Zero pages are written as copies, the rest as literals. No reader checks the frames'
checksums; they are 0 here.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..ram import PAGE, Ram

if TYPE_CHECKING:
    from ..machine import Machine

_FRAME: Final = 16  # pages
_STREAM: Final = b"\xff\x06\x00\x00sNaPpY"
# A zero byte, then copies of 64 bytes each from one byte back; the last one is a byte short.
_ZEROS: Final = b"\x00\x00" + b"\xfe\x01\x00" * 63 + b"\xfa\x01\x00"


def _literal(raw: bytes) -> bytes:
    """A literal with its length in two bytes."""
    return b"\xf4" + struct.pack("<H", len(raw) - 1) + raw


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _frame(ram: Ram, first: int, count: int, stored: bool) -> bytes:
    if stored:
        data, kind = ram.data[first * PAGE : (first + count) * PAGE].tobytes(), 1
    else:
        pages = (ram.pages[frame].tobytes() for frame in range(first, first + count))
        data, kind = _varint(count * PAGE), 0
        data += b"".join(_literal(raw) if any(raw) else _ZEROS for raw in pages)
    return struct.pack("<I", kind | (len(data) + 4) << 8) + bytes(4) + data


def write_avml(machine: Machine, path: Path) -> list[Path]:
    """A block for each run; every fourth frame is stored, as one that does not shrink."""
    with path.open("wb") as out:
        for first, count in machine.ram.runs:
            out.write(struct.pack("<4sIQQQ", b"AVML", 2, first * PAGE, (first + count) * PAGE - 1, 0))
            start = out.tell()
            out.write(_STREAM)
            for number, at in enumerate(range(first, first + count, _FRAME)):
                pages = min(_FRAME, first + count - at)
                out.write(_frame(machine.ram, at, pages, number % 4 == 3))
            out.write(struct.pack("<Q", out.tell() - start))
    return [path]
