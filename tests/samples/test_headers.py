"""Container headers against bytes worked out by hand from facts/dump-headers.json."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from samples import CONTAINERS, write

from .conftest import machine


def test_complete_dump_of_32_bits(tmp_path: Path) -> None:
    data = write(machine(), "crash32-full", tmp_path / "a.dmp").read_bytes()
    assert data[:0x10] == b"PAGEDUMP" + bytes.fromhex("0f000000 280a0000")
    assert data[0x10:0x14] == bytes.fromhex("00001100")  # page directory pointer table of a small machine
    assert data[0x18:0x20] == bytes.fromhex("c03f5580 58a15580")
    assert data[0x20:0x2C] == bytes.fromhex("4c010000 01000000 e2000000")
    assert data[0x3D:0x5C] == b"AGE" + b"PAGE" * 7  # VersionUser is empty, its rest filler
    assert data[0x5C] == 1 and data[0x60:0x64] == bytes.fromhex("e05a5480")
    runs = struct.unpack_from("<8I", data, 0x64)
    assert runs == (3, 158 + 0xEFF + 0xFF0, 1, 158, 0x100, 0xEFF, 0x1000, 0xFF0)
    assert struct.unpack_from("<I", data, 0xF88) == (1,)
    assert struct.unpack_from("<q", data, 0xFC0) == (128564496000000000,)
    assert len(data) == 0x1000 + runs[1] * 4096
    assert data[0x1000 : 0x1000 + 4096] == bytes(machine().ram.pages[1])


def test_complete_dump_of_64_bits(tmp_path: Path) -> None:
    data = write(machine("vista-sp1-x64"), "crash64-full", tmp_path / "a.dmp").read_bytes()
    assert data[:0x10] == b"PAGEDU64" + bytes.fromhex("0f000000 71170000")
    assert data[0x30:0x3C] == bytes.fromhex("64860000 01000000 e2000000")
    assert struct.unpack_from("<IxxxxQ", data, 0x88) == (3, 158 + 0xEFF + 0xFF0)
    assert struct.unpack_from("<I", data, 0xF98) == (1,)
    assert data[0x1050:0x1058] == b"PAGEPAGE" and len(data) == 0x2000 + (158 + 0xEFF + 0xFF0) * 4096


@pytest.mark.parametrize(
    ("profile", "start", "bits_at"), [("xpsp3-x86-pae", 0x1000, 0x20), ("xp-x64", 0x2000, 0x28)]
)
def test_kernel_dump(profile: str, start: int, bits_at: int, tmp_path: Path) -> None:
    made = machine(profile)
    data = write(made, "kernel", tmp_path / "k.dmp").read_bytes()
    assert data[start : start + 8] == b"SDMPDUMP"
    options, first, bits, pages, again = struct.unpack_from("<5I", data, start + 8)
    assert (options, again) == (1, bits) and first % 4096 == 0 and bits == made.ram.frames
    raw_bits = np.frombuffer(data, np.uint8, (bits + 7) // 8, start + bits_at)
    frames = np.flatnonzero(np.unpackbits(raw_bits, bitorder="little"))
    assert len(frames) == pages and len(data) == first + pages * 4096
    for number in (0, pages // 2, pages - 1):
        at = first + number * 4096
        assert data[at : at + 4096] == bytes(made.ram.pages[int(frames[number])])


def test_kernel_dump_holds_no_user_and_no_transition_pages(tmp_path: Path) -> None:
    made = machine()
    data = write(made, "kernel", tmp_path / "k.dmp").read_bytes()
    assert b"user page, not for a kernel dump" not in data
    full = write(made, "full", tmp_path / "f.dmp").read_bytes()
    assert b"user page, not for a kernel dump" in full
    states = made.truth["pools"]["paged"]["page_states"]
    assert states["transition"] > 0 and len(data) < len(full)


@pytest.mark.parametrize(("container", "mark"), [("crash32-bitmap", b"FDMP"), ("crash32-active", b"SDMP")])
def test_bitmap_dump(container: str, mark: bytes, tmp_path: Path) -> None:
    data = write(machine(), container, tmp_path / "b.dmp").read_bytes()
    assert data[0x1000:0x1008] == mark + b"DUMP"
    first, present, bits = struct.unpack_from("<QQQ", data, 0x1020)
    raw_bits = np.frombuffer(data, np.uint8, (bits + 7) // 8, 0x1038)
    assert int(np.unpackbits(raw_bits).sum()) == present and len(data) == first + present * 4096


def test_lime(tmp_path: Path) -> None:
    data = write(machine(), "lime", tmp_path / "a.lime").read_bytes()
    assert data[:32] == b"EMiL" + struct.pack("<IQQQ", 1, 0x1000, 0x9EFFF, 0)
    second = 32 + 158 * 4096
    assert data[second : second + 24] == b"EMiL" + struct.pack("<IQQ", 1, 0x100000, 0xFFEFFF)


def test_vmware_squeezes_the_hole(tmp_path: Path) -> None:
    made = machine()
    path = write(made, "vmware", tmp_path / "a.vmem")
    state = (tmp_path / "a.vmss").read_bytes()
    assert state[:12] == struct.pack("<III", 0xBED2BED2, 8, 1) and state[12:18] == b"memory"
    tags = state[0x100:]
    assert tags.startswith(b"\x04\x0cregionsCount" + struct.pack("<I", 2))
    assert b"\x44\x09regionPPN" + struct.pack("<II", 1, 0x100) in tags
    assert b"\x44\x0dregionPageNum" + struct.pack("<II", 1, 0xA0) in tags
    assert path.read_bytes()[0xA0000:0xA1000] == bytes(made.ram.pages[0x100])


@pytest.mark.parametrize(("container", "form", "kind"), [("elf32", "<8I", 1), ("elf64", "<IIQQQQQQ", 2)])
def test_elf(container: str, form: str, kind: int, tmp_path: Path) -> None:
    made = machine()
    data = write(made, container, tmp_path / "a.elf").read_bytes()
    assert data[:5] == b"\x7fELF" + bytes([kind]) and data[16:18] == b"\x04\0"
    assert struct.pack("<Q", made.dtb) in data[:0x1000]  # CR3 in QEMU's state note
    start = 52 if kind == 1 else 64
    second = struct.unpack_from(form, data, start + 2 * struct.calcsize(form))
    offset, physical = (second[1], second[3]) if kind == 1 else (second[2], second[4])
    assert physical == 0x100000 and data[offset : offset + 4096] == bytes(made.ram.pages[0x100])


def test_wrong_width_and_unknown_container(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="32-bit machine"):
        write(machine(), "crash64-full", tmp_path / "x")
    with pytest.raises(ValueError, match="unknown container"):
        write(machine(), "floppy", tmp_path / "x")
    assert {"crash32-full", "crash64-kernel", "raw", "lime", "vmware"} <= set(CONTAINERS)
