"""Small dumps: a real 64-bit one, a hand-made 32-bit one, lying counts and offsets."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from dumpscan.errors import DamagedImage
from dumpscan.image.recognise import open_image
from dumpscan.model import Module
from tests.acceptance import image
from tests.image.writers import header32, padded


def dump_string(text: str) -> bytes:
    return struct.pack("<I", len(text)) + (text + "\0").encode("utf-16-le")


def triage32(count: int = 2, unloaded: int = 2, **fields: int) -> bytes:
    """XP small dump: block 0x1000, drivers 0x1100 (stride 0x4C), unloaded 0x1200, mm 0x1300, names 0x1400."""
    block = bytearray(104)
    at = {"ServicePackBuild": 0x0, "SizeOfDump": 0x4, "ValidOffset": 0x8, "MmOffset": 0x14}
    at |= {"UnloadedDriversOffset": 0x18, "DriverListOffset": 0x30, "DriverCount": 0x34}
    at |= {"DebuggerDataOffset": 0x58, "DebuggerDataSize": 0x5C}
    values = {"ServicePackBuild": 0x300, "SizeOfDump": 0x2000, "ValidOffset": 0x1FFC, "MmOffset": 0x1300}
    values |= {"UnloadedDriversOffset": 0x1200, "DriverListOffset": 0x1100, "DriverCount": count}
    values |= {"DebuggerDataOffset": 0x1800, "DebuggerDataSize": 0x290, **fields}
    for name, value in values.items():
        struct.pack_into("<I", block, at[name], value)
    drivers = b""
    for name_at, base, size in ((0x1400, 0x804D7000, 0x1F8580), (0x1440, 0x806D0000, 0x20300)):
        entry = bytearray(0x4C)
        struct.pack_into("<I", entry, 0, name_at)
        struct.pack_into("<I", entry, 0x1C, base)
        struct.pack_into("<I", entry, 0x24, size)
        drivers += bytes(entry)
    gone = struct.pack("<I", unloaded)
    for name in ("hwmon32.sys", "averylongnam"):
        length = 2 * len("averylongname.sys" if name[0] == "a" else name)
        gone += struct.pack("<HHI", length, length, 0) + padded(name.encode("utf-16-le"), 24) + bytes(8)
    mm = struct.pack("<IIIIII", 1, 52, 0, 0, 0, 0) + struct.pack("<IIIIIII", 8192, 804, 90000, 45000, 1, 2, 3)
    out = padded(header32(4) + bytes(block), 0x1100)
    out = padded(padded(padded(out + drivers, 0x1200) + gone, 0x1300) + mm, 0x1400)
    out = padded(out + dump_string("ntkrnlpa.exe"), 0x1440) + dump_string("\\WINDOWS\\system32\\hal.dll")
    return padded(out, 0x1FFC) + b"TRGD"


def test_a_32_bit_small_dump(tmp_path: Path) -> None:
    path = tmp_path / "mini.dmp"
    path.write_bytes(triage32())
    opened = open_image(path)
    assert opened.memory is None
    assert opened.triage is not None
    assert opened.info.format == "triage32"
    assert (opened.info.pages_present, opened.info.truncated, opened.info.bytes_expected) == (
        None,
        False,
        0x2000,
    )
    assert opened.triage.drivers == (
        Module("ntkrnlpa.exe", "0x804d7000", 0x1F8580),
        Module("hal.dll", "0x806d0000", 0x20300, "\\WINDOWS\\system32\\hal.dll"),
    )
    assert opened.triage.unloaded == ("hwmon32.sys", "averylongnam")
    assert opened.triage.mm_storage["MmAllocatedNonPagedPool"] == 804
    assert opened.triage.mm_storage["PagedPoolAllocated"] == 45000
    assert opened.triage.kdbg_size == 0x290
    assert opened.hints.service_pack_build == 0x300
    assert opened.info.notes == opened.triage.notes == ()


def test_a_real_64_bit_small_dump() -> None:
    opened = open_image(image("triage_x64.dmp"))
    assert opened.memory is None
    assert opened.triage is not None
    # The header words 0x4a61 and 0x1000007e, the counts 0x97 and 4, read from a hex dump of the file.
    assert (opened.info.format, opened.hints.build, len(opened.triage.drivers)) == ("triage64", 0x4A61, 0x97)
    assert opened.hints.bugcheck is not None
    assert opened.hints.bugcheck.code == 0x1000007E
    assert opened.triage.drivers[0].name == "ntoskrnl.exe"
    assert opened.triage.unloaded == ("dam.sys", "WdBoot.sys", "hwpolicy.sys", "mcupdate.dll")
    assert opened.triage.kdbg_size == 0x380
    assert opened.triage.mm_storage == {}  # all zero there: no figures


@pytest.mark.parametrize("fields", [{"count": 0xFFFFFFFF}, {"unloaded": 0xFFFFFFFF}])
def test_lying_counts_cost_bounded_work(tmp_path: Path, fields: dict[str, int]) -> None:
    path = tmp_path / "mini.dmp"
    path.write_bytes(triage32(**fields))
    began = time.perf_counter()
    opened = open_image(path)
    assert time.perf_counter() - began < 1
    assert opened.triage is not None
    assert "4294967295" in opened.triage.notes[0]
    # 0x2000 bytes hold at most 51 entries of 0x4C behind 0x1100, and 89 of 0x28 behind 0x1204.
    assert len(opened.triage.drivers) <= 51
    assert len(opened.triage.unloaded) <= 89
    assert opened.triage.unloaded[0] == "hwmon32.sys"


@pytest.mark.parametrize("field", ["DriverListOffset", "UnloadedDriversOffset", "MmOffset"])
@pytest.mark.parametrize("value", [0xFFFFFFF0, 0x45474150, 0])
def test_offsets_beyond_the_file_leave_that_part_out(tmp_path: Path, field: str, value: int) -> None:
    path = tmp_path / "mini.dmp"
    path.write_bytes(triage32(**{field: value}))
    triage = open_image(path).triage
    assert triage is not None
    parts = {
        "DriverListOffset": triage.drivers,
        "UnloadedDriversOffset": triage.unloaded,
        "MmOffset": triage.mm_storage,
    }
    assert not parts.pop(field)
    assert all(parts.values())


def test_a_cut_off_small_dump_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mini.dmp"
    path.write_bytes(triage32()[:0x1500])
    opened = open_image(path)
    assert opened.info.truncated
    assert "0x1ffc" in opened.info.notes[0]
    assert opened.triage is not None
    assert opened.triage.drivers[0].name == "ntkrnlpa.exe"


def test_a_small_dump_without_its_block_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "mini.dmp"
    path.write_bytes(triage32()[:0x1010])
    with pytest.raises(DamagedImage, match="0x1000"):
        open_image(path)


def test_filler_in_the_dump_type_is_decided_by_the_end_mark(tmp_path: Path) -> None:
    data = bytearray(triage32())
    data[0xF88:0xF8C] = b"PAGE"
    path = tmp_path / "mini.dmp"
    path.write_bytes(data)
    assert open_image(path).info.format == "triage32"
