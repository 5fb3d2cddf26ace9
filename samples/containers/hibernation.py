"""Hibernation files in the layout of each Windows version: header, processor state, tables, Xpress blocks.

Witness: facts/os-structures.json (PO_MEMORY_IMAGE), facts/dump-headers.json (HIBERFIL),
facts/dump-formats.md section 5. Windows leaves out the pages on its lists of free and zeroed pages.
Compressing costs more than all else, so that most blocks can be stored as they are.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from ..ram import PAGE
from ..xpress import compress

if TYPE_CHECKING:
    from ..machine import Machine

_BLOCK: Final = 16  # pages
_MARK: Final = b"\x81\x81xpress"


@dataclass(frozen=True)
class Shape:
    """Where one version keeps things. `link` and `entry` are formats of `struct`."""

    size: int  # LengthSelf
    times: int  # SystemTime, then InterruptTime
    first_table: int
    state_page: int
    link: str  # NextTable, EntryCount
    entry: str  # StartPage, EndPage
    per_table: int
    wide: bool


_X86_LINK, _X86_ENTRY = "<4xI4xI", "<4xII4x"
_X64_LINK, _X64_ENTRY = "<8xQ4xI8x", "<8xQQ8x"

SHAPES: Final = {
    "xp-x86": Shape(0xA8, 0x20, 0x58, 2, _X86_LINK, _X86_ENTRY, 255, False),
    "xp-x64": Shape(0xC0, 0x20, 0x68, 2, _X64_LINK, _X64_ENTRY, 127, True),
    "vista-x86": Shape(0xE0, 0x18, 0x50, 4, _X86_LINK, _X86_ENTRY, 255, False),
    "vista-x64": Shape(0x128, 0x20, 0x68, 4, _X64_LINK, _X64_ENTRY, 127, True),
    "vista-sp1-x86": Shape(0xF0, 0x18, 0x50, 1, _X86_LINK, _X86_ENTRY, 255, False),
    "vista-sp1-x64": Shape(0x140, 0x20, 0x68, 1, _X64_LINK, _X64_ENTRY, 127, True),
    "vista-sp2-x86": Shape(0xF0, 0x18, 0x50, 1, "<4xII", "<II", 510, False),
    "vista-sp2-x64": Shape(0x138, 0x20, 0x68, 1, "<8xQI4x", "<QQ", 254, True),
    "7-x86": Shape(0xE0, 0x18, 0x4C, 1, "<II", "<II", 511, False),
    "7-x64": Shape(0x128, 0x20, 0x60, 1, "<QI4x", "<QQ", 255, True),
}


_VERSIONS: Final = {
    2600: "xp", 3790: "xp", 6000: "vista", 6001: "vista-sp1", 6002: "vista-sp2", 7600: "7", 7601: "7",
}  # fmt: skip


def hibernates(machine: Machine) -> bool:
    """Whether its Windows writes one of these layouts: not from Windows 8 on."""
    return machine.options.kernel.profile.build in _VERSIONS


def shape_of(machine: Machine) -> str:
    """The layout that this machine's Windows writes."""
    version = _VERSIONS[machine.options.kernel.profile.build]
    return f"{version}-{'x64' if machine.pointer == 8 else 'x86'}"


def write_hibernation(
    machine: Machine, path: Path, *, shape: str = "", signature: bytes = b"", compressed: int = 4
) -> list[Path]:
    """One block in `compressed` is. `signature` of four zeros: as after a resume, without a header page."""
    form = SHAPES[shape or shape_of(machine)]
    runs = _runs(np.flatnonzero(saved_frames(machine)))
    first_table = max(3, form.state_page + 1)
    head = _header(machine, form, first_table, signature or (b"hibr" if form.size < 0xD0 else b"HIBR"))
    with path.open("wb") as out:
        out.write(head.ljust(form.state_page * PAGE, b"\0"))
        out.write(_processor_state(machine, form.wide).ljust((first_table - form.state_page) * PAGE, b"\0"))
        for at in range(0, len(runs), form.per_table):
            some, last = runs[at : at + form.per_table], at + form.per_table >= len(runs)
            table_at = out.tell()
            out.write(bytes(PAGE))
            _write_blocks(out, machine, some, compressed)
            out.write(bytes(-out.tell() % PAGE))
            end = out.tell()
            out.seek(table_at)
            out.write(_table(form, 0 if last else end // PAGE, some))
            out.seek(end)
    return [path]


def saved_frames(machine: Machine) -> NDArray[np.bool_]:
    """Which frames are in the file: all that are in use."""
    saved = machine.ram.present.copy()
    saved[machine.ram.untaken()] = False
    return saved


@cache
def _zeros(size: int) -> bytes:
    return compress(bytes(size))


def _header(machine: Machine, form: Shape, first_table: int, signature: bytes) -> bytes:
    if not any(signature):
        return b""
    head = bytearray(form.size)
    head[:4] = signature
    options = machine.options
    struct.pack_into("<I", head, 0xC, form.size)
    struct.pack_into("<I", head, 0x18 if form.wide else 0x14, PAGE)
    struct.pack_into("<QQ", head, form.times, options.system_time, options.uptime_100ns)
    struct.pack_into("<Q" if form.wide else "<I", head, form.first_table, first_table)
    return bytes(head)


def _processor_state(machine: Machine, wide: bool) -> bytes:
    """KPROCESSOR_STATE: control registers, and an instruction pointer inside the kernel."""
    code = int(machine.truth["kernel"]["base"], 16) + 0x2134
    cr4 = 0x6F8 if wide else 0x6F9 if machine.truth["kernel"]["pae"] else 0x6D9
    state = bytearray(0x5B0 if wide else 0x320)
    if wide:
        struct.pack_into("<QQQQ", state, 0, 0x80050031, 0, machine.dtb, cr4)
        struct.pack_into("<Q", state, 0xE0 + 0xF8, code)
    else:
        struct.pack_into("<IIII", state, 0x2CC, 0x8001003B, 0, machine.dtb, cr4)
        struct.pack_into("<I", state, 0xB8, code)
    return bytes(state)


def _runs(frames: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(first, behind the last) of each stretch of frames."""
    cuts = np.flatnonzero(np.diff(frames) != 1) + 1
    return [(int(run[0]), int(run[-1]) + 1) for run in np.split(frames, cuts)]


def _table(form: Shape, following: int, runs: list[tuple[int, int]]) -> bytes:
    page = struct.pack(form.link, following, len(runs))
    return (page + b"".join(struct.pack(form.entry, *run) for run in runs)).ljust(PAGE, b"\0")


def _write_blocks(out: BinaryIO, machine: Machine, runs: list[tuple[int, int]], compressed: int) -> None:
    """The pages of these runs, 16 to a block; a block that does not shrink is stored."""
    frames = np.concatenate([np.arange(*run) for run in runs])
    for number, at in enumerate(range(0, len(frames), _BLOCK)):
        some = frames[at : at + _BLOCK]
        plain = machine.ram.pages[some].tobytes()
        short = len(some) < _BLOCK
        if not machine.ram.touched[some].any():
            data = _zeros(len(plain))
        else:
            data = compress(plain) if short or number % compressed == 0 else plain
        if len(data) >= len(plain) and not short:
            data = plain
        out.write(_MARK + struct.pack("<I", len(data) - 1 << 10 | len(some) - 1).ljust(24, b"\0"))
        out.write(data + bytes(-len(data) % 8))
