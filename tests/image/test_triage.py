"""Small dumps: a real 64-bit one, a hand-made 32-bit one, lying counts and offsets."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from dumpscan.errors import AbsentMemory, DamagedImage
from dumpscan.image.opened import OpenedImage, Triage
from dumpscan.image.recognise import open_image
from dumpscan.memory.blocks import BlockMemory
from dumpscan.model import Module
from tests.acceptance import image
from tests.image.writers import header32, padded


def dump_string(text: str) -> bytes:
    return struct.pack("<I", len(text)) + (text + "\0").encode("utf-16-le")


def triage32(count: int = 2, unloaded: int = 2, blocks: int = 2, **fields: int) -> bytes:
    """XP small dump: block 0x1000, drivers 0x1100 (stride 0x4C), unloaded 0x1200, mm 0x1300, names 0x1400,
    data blocks listed at 0x1500 and held at 0x1700, debugger data 0x1800."""
    block = bytearray(104)
    at = {"ServicePackBuild": 0x0, "SizeOfDump": 0x4, "ValidOffset": 0x8, "MmOffset": 0x14}
    at |= {"UnloadedDriversOffset": 0x18, "DriverListOffset": 0x30, "DriverCount": 0x34}
    at |= {"DebuggerDataOffset": 0x58, "DebuggerDataSize": 0x5C}
    at |= {"DataBlocksOffset": 0x60, "DataBlocksCount": 0x64}
    values = {"ServicePackBuild": 0x300, "SizeOfDump": 0x2000, "ValidOffset": 0x1FFC, "MmOffset": 0x1300}
    values |= {"UnloadedDriversOffset": 0x1200, "DriverListOffset": 0x1100, "DriverCount": count}
    values |= {"DebuggerDataOffset": 0x1800, "DebuggerDataSize": 0x290}
    values |= {"DataBlocksOffset": 0x1500, "DataBlocksCount": blocks, **fields}
    for name, value in values.items():
        struct.pack_into("<I", block, at[name], value)
    drivers = b""
    for name_at, base, size in ((0x1400, 0x804D7000, 0x1F8580), (0x1440, 0x806D0000, 0x20300)):
        entry = bytearray(0x4C)
        struct.pack_into("<I", entry, 0, name_at)
        struct.pack_into("<I", entry, 0x1C, base)
        struct.pack_into("<I", entry, 0x24, size)
        struct.pack_into("<I", entry, 0x48, 0x4802516A if size == 0x1F8580 else 0)
        drivers += bytes(entry)
    gone = struct.pack("<I", unloaded)
    for name in ("hwmon32.sys", "averylongnam"):
        length = 2 * len(name)
        gone += struct.pack("<HHI", length, length, 0) + padded(name.encode("utf-16-le"), 24)
        gone += struct.pack("<II", 0xF8A10000, 0xF8A15000)
    mm = struct.pack("<IIIIII", 1, 52, 0, 0, 0, 0) + struct.pack("<IIIIIII", 8192, 804, 90000, 45000, 1, 2, 3)
    out = padded(header32(4) + bytes(block), 0x1100)
    out = padded(padded(padded(out + drivers, 0x1200) + gone, 0x1300) + mm, 0x1400)
    out = padded(out + dump_string("ntoskrnl.exe"), 0x1440) + dump_string("\\WINDOWS\\system32\\hal.dll")
    held = struct.pack("<IIIIII", 0x804D7C5C, 0x1700, 32, 0x80551264, 0x1740, 4)
    out = padded(padded(out, 0x1500) + held, 0x1700)
    out = padded(out + b"2600.xpsp_sp3_gdr.090804-1435", 0x1740) + struct.pack("<I", 0x300)
    kdbg = bytearray(0x290)
    struct.pack_into("<4sIQ", kdbg, 0x10, b"KDBG", 0x290, 0x804D7000)
    struct.pack_into("<Q", kdbg, 0x208, 0x804D7C5C)
    struct.pack_into("<Q", kdbg, 0x268, 0x80551264)
    return padded(padded(out, 0x1800) + bytes(kdbg), 0x1FFC) + b"TRGD"


def opened(tmp_path: Path, data: bytes) -> tuple[OpenedImage, Triage]:
    path = tmp_path / "mini.dmp"
    path.write_bytes(data)
    image = open_image(path)
    assert image.triage is not None
    return image, image.triage


def test_a_32_bit_small_dump(tmp_path: Path) -> None:
    image, triage = opened(tmp_path, triage32())
    assert image.memory is None
    assert image.info.format == "triage32"
    assert (image.info.pages_present, image.info.truncated, image.info.bytes_expected) == (
        None,
        False,
        0x2000,
    )
    assert triage.drivers == (
        Module("ntoskrnl.exe", "0x804d7000", 0x1F8580, None, 0x4802516A),
        Module("hal.dll", "0x806d0000", 0x20300, "\\WINDOWS\\system32\\hal.dll"),
    )
    assert triage.drivers_complete
    assert triage.unloaded == ("hwmon32.sys", "averylongnam")
    assert triage.mm_storage["MmAllocatedNonPagedPool"] == 804
    assert triage.mm_storage["PagedPoolAllocated"] == 45000
    assert image.hints.service_pack_build == 0x300
    assert image.info.notes == ("a small dump cuts names of unloaded drivers to 12 characters: averylongnam",)


def test_memory_of_a_small_dump_is_read_by_virtual_address(tmp_path: Path) -> None:
    _, triage = opened(tmp_path, triage32())
    memory = BlockMemory(triage.blocks)
    assert memory.read(0x80551264, 4) == struct.pack("<I", 0x300)
    # The header names 0x80545ae0 for the debugger data, which lie at file offset 0x1800.
    assert memory.read(0x80545AF0, 8) == b"KDBG" + struct.pack("<I", 0x290)
    data, known = memory.read_masked(0x804D7C5C - 2, 40)
    assert data[2:31].tobytes() == b"2600.xpsp_sp3_gdr.090804-1435"
    assert known.tolist() == [False] * 2 + [True] * 32 + [False] * 6
    with pytest.raises(AbsentMemory, match="0x80551268"):
        memory.read(0x80551264, 8)


def test_a_real_64_bit_small_dump() -> None:
    opened = open_image(image("triage_x64.dmp"))
    assert opened.memory is None
    assert opened.triage is not None
    # The header words 0x4a61 and 0x1000007e, the counts 0x97 and 4, read from a hex dump of the file.
    assert (opened.info.format, opened.hints.build, len(opened.triage.drivers)) == ("triage64", 0x4A61, 0x97)
    assert opened.hints.bugcheck is not None
    assert opened.hints.bugcheck.code == 0x1000007E
    # Entries 0 and 0x96 at file offset 0x10828, stride 0x90.
    kernel, last = opened.triage.drivers[0], opened.triage.drivers[-1]
    assert kernel == Module(
        "ntoskrnl.exe", "0xfffff8047ba00000", 0x1046000, r"\SystemRoot\system32\ntoskrnl.exe", 0x0D8333E6
    )
    assert (last.name, last.base, last.size, last.timestamp) == (
        "rdpbus.sys",
        "0xfffff8048b680000",
        0xE000,
        0x84DFD52A,
    )
    assert opened.triage.drivers_complete
    assert opened.triage.unloaded == ("dam.sys", "WdBoot.sys", "hwpolicy.sys", "mcupdate.dll")
    assert opened.triage.mm_storage == {}  # all zero there: no figures
    # 0x727 data blocks and the debugger data; NtBuildLab is the one at file offset 0xdfffc.
    assert len(opened.triage.blocks.va) == 0x727 + 1
    memory = BlockMemory(opened.triage.blocks)
    assert memory.read(0xFFFFF8047C64C0A0, 39) == b"19041.1.amd64fre.vb_release.191206-1406"
    assert memory.read(0xFFFFF8047C600B30, 8) == b"KDBG" + struct.pack("<I", 0x380)
    assert not opened.info.truncated
    assert opened.info.bytes_expected is None  # 157,736 bytes follow what SizeOfDump counts


@pytest.mark.parametrize("fields", [{"count": 0xFFFFFFFF}, {"unloaded": 0xFFFFFFFF}, {"blocks": 0xFFFFFFFF}])
def test_lying_counts_cost_bounded_work(tmp_path: Path, fields: dict[str, int]) -> None:
    image, triage = opened(tmp_path, triage32(**fields))
    assert any("4294967295" in note for note in image.info.notes)
    # What lies behind the two entries of either list cannot be a driver.
    assert [module.name for module in triage.drivers] == ["ntoskrnl.exe", "hal.dll"]
    assert triage.drivers_complete == ("count" not in fields)
    assert triage.unloaded == ("hwmon32.sys", "averylongnam")
    assert BlockMemory(triage.blocks).read(0x80551264, 2) == b"\0\3"


@pytest.mark.parametrize("field", ["DriverListOffset", "UnloadedDriversOffset", "MmOffset"])
@pytest.mark.parametrize("value", [0xFFFFFFF0, 0x45474150, 0])
def test_offsets_beyond_the_file_leave_that_part_out(tmp_path: Path, field: str, value: int) -> None:
    _, triage = opened(tmp_path, triage32(**{field: value}))
    parts = {
        "DriverListOffset": triage.drivers,
        "UnloadedDriversOffset": triage.unloaded,
        "MmOffset": triage.mm_storage,
    }
    assert not parts.pop(field)
    assert all(parts.values())


def test_a_cut_off_small_dump_says_so(tmp_path: Path) -> None:
    image, triage = opened(tmp_path, triage32()[:0x1500])
    assert image.info.truncated
    assert "0x1ffc" in image.info.notes[0]
    assert triage.drivers[0].name == "ntoskrnl.exe"


def test_a_small_dump_without_its_end_mark_was_not_written_whole(tmp_path: Path) -> None:
    image, triage = opened(tmp_path, triage32()[:-4] + b"PAGE")
    assert image.info.truncated
    assert "end mark at file offset 0x1ffc is missing" in image.info.notes[0]
    assert len(triage.drivers) == 2


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
