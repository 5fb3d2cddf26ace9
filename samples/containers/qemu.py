"""QEMU's savevm stream, and the save file that libvirt wraps around it.

Witness: facts/dump-headers.json (QEMU_SAVEVM) and facts/dump-formats.md section 8 for the stream and the
RAM split; qemu/qemu migration/ram.c for the order of a section (list of blocks, records, end mark, footer);
libvirt/libvirt src/qemu/qemu_saveimage.h for the header: 16 bytes of magic, then u32 version, length of
the XML, running, format, cookie offset and 14 unused words.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

from ..ram import PAGE, Ram

if TYPE_CHECKING:
    from ..machine import Machine

_ZERO, _SIZES, _PAGE, _END, _SAME = 0x02, 0x04, 0x08, 0x10, 0x20
_RAM_ID: Final = 2
_STEP: Final = 4096  # pages of one section part
_COMPRESSORS: Final[dict[int, Callable[[bytes], bytes]]] = {
    1: lambda raw: gzip.compress(raw, 1),
    2: bz2.compress,
    3: lambda raw: lzma.compress(raw, preset=0),
}

_Record = np.dtype([("word", ">u8"), ("data", "u1", (PAGE,))])
_Filled = np.dtype([("word", ">u8"), ("byte", "u1")])


def ram_bytes(machine: Machine) -> int:
    """Size of the block pc.ram: what lies above 4 GB follows what lies below 3 GB."""
    frames = machine.ram.frames
    return (frames - 0x40000 if frames > 0x100000 else frames) * PAGE


def write_qemu(machine: Machine, path: Path) -> list[Path]:
    """`savevm` of a pc-i440fx-2.4 machine."""
    with path.open("wb") as out:
        for piece in stream(machine):
            out.write(piece)
    return [path]


def write_libvirt(machine: Machine, path: Path, form: int = 0) -> list[Path]:
    """`virsh save` with save_image_format raw (0), gzip (1), bzip2 (2) or xz (3)."""
    xml = b"<domain type='kvm'><name>xp</name><os><type machine='pc-i440fx-2.4'>hvm</type></os></domain>\0"
    xml = xml.ljust(0x1000 - 92, b"\0")
    with path.open("wb") as out:
        out.write(b"LibvirtQemudSave" + struct.pack("<5I", 2, len(xml), 1, form, 0) + bytes(56) + xml)
        _body(machine, out, form)
    return [path]


def write_libvirt_gzip(machine: Machine, path: Path) -> list[Path]:
    """`virsh save` with save_image_format gzip."""
    return write_libvirt(machine, path, 1)


def _body(machine: Machine, out: BinaryIO, form: int) -> None:
    if form:
        out.write(_COMPRESSORS[form](b"".join(stream(machine))))
        return
    for piece in stream(machine):
        out.write(piece)


def stream(machine: Machine) -> Iterator[bytes]:
    """The stream, piece by piece. Page 0 comes twice: the machine still ran when it was first sent."""
    name = b"pc-i440fx-2.4"
    yield b"QEVM" + struct.pack(">I", 3) + b"\x07" + struct.pack(">I", len(name)) + name
    yield _start([(b"pc.ram", ram_bytes(machine)), (b"vga.vram", 16 * PAGE), (b"pc.bios", PAGE)])
    guest = _guest_frames(machine)
    for at in range(0, len(guest), _STEP):
        yield b"\x02" + struct.pack(">I", _RAM_ID)
        if at == 0:
            yield _named(0, _ZERO, b"pc.ram") + b"\xa5"
            yield _named(0, _PAGE, b"vga.vram") + b"\xee" * PAGE
        yield _named(at * PAGE, _page_kind(machine.ram, int(guest[at])), b"pc.ram")
        yield from _records(machine.ram, guest, at, min(at + _STEP, len(guest)))
        yield _END.to_bytes(8, "big") + _footer(_RAM_ID)
    yield b"\x03" + struct.pack(">I", _RAM_ID) + _END.to_bytes(8, "big") + _footer(_RAM_ID)
    yield b"\x04" + struct.pack(">IB5sII", 3, 5, b"timer", 0, 2) + bytes(24) + _footer(3)
    text = b'{"configuration": "", "page_size": 4096, "devices": []}'
    yield b"\x00\x06" + struct.pack(">I", len(text)) + text


def _footer(section: int) -> bytes:
    return b"\x7e" + struct.pack(">I", section)


def _start(blocks: list[tuple[bytes, int]]) -> bytes:
    head = b"\x01" + struct.pack(">IB3sII", _RAM_ID, 3, b"ram", 0, 4)
    head += struct.pack(">Q", sum(size for _, size in blocks) | _SIZES)
    for name, size in blocks:
        head += bytes([len(name)]) + name + struct.pack(">Q", size)
    return head + _END.to_bytes(8, "big") + _footer(_RAM_ID)


def _guest_frames(machine: Machine) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Page frame of every page of pc.ram."""
    frames = np.arange(ram_bytes(machine) // PAGE, dtype=np.int64)
    if machine.ram.frames > 0x100000:
        frames[0xC0000:] += 0x40000
    return frames


def _is_zero(ram: Ram, frame: int) -> bool:
    return not ram.touched[frame] or not ram.pages[frame].any()


def _page_kind(ram: Ram, frame: int) -> int:
    return _ZERO if _is_zero(ram, frame) else _PAGE


def _named(address: int, kind: int, name: bytes) -> bytes:
    return struct.pack(">Q", address | kind) + bytes([len(name)]) + name


def _records(
    ram: Ram, guest: np.ndarray[tuple[int], np.dtype[np.int64]], at: int, end: int
) -> Iterator[bytes]:
    """The first page's content (its record has begun), then the rest: runs of one kind at a time."""
    zero = np.array([_is_zero(ram, int(frame)) for frame in guest[at:end]])
    yield b"\0" if zero[0] else ram.pages[guest[at]].tobytes()
    edges = [1, *(np.flatnonzero(np.diff(zero[1:])) + 2).tolist(), end - at]
    for first, last in pairwise(edges):
        kind = _ZERO if zero[first] else _PAGE
        rows = np.zeros(last - first, _Filled if kind == _ZERO else _Record)
        rows["word"] = (np.arange(at + first, at + last) * PAGE) | kind | _SAME
        if kind == _PAGE:
            rows["data"] = ram.pages[guest[at + first : at + last]]
        yield rows.tobytes()
