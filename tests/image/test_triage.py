"""Small dumps: a real 64-bit one, a hand-made 32-bit one, lying counts and offsets."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

import dumpscan
from dumpscan.errors import AbsentMemory, DamagedImage, DumpscanError
from dumpscan.image.opened import OpenedImage, Triage
from dumpscan.image.recognise import open_image
from dumpscan.memory.blocks import BlockMemory
from dumpscan.model import Module
from tests.acceptance import image
from tests.image.small_dumps import triage32


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


def test_strings_that_do_not_end_are_cut_or_unknown(tmp_path: Path) -> None:
    data = bytearray(triage32())
    struct.pack_into("<I", data, 0x1400, 513)  # longer than a path can be
    struct.pack_into("<I", data, 0x1144 + 8, 0x1FF0)  # the second entry's name, 16 bytes before the end
    data[0x1FF0:0x2000] = struct.pack("<I", 400) + "hal.dl".encode("utf-16-le")
    _, triage = opened(tmp_path, bytes(data))
    assert [module.name for module in triage.drivers] == ["?", "hal.dl"]


def test_filler_is_absent_and_not_a_number(tmp_path: Path) -> None:
    names = "ServicePackBuild SizeOfDump ValidOffset MmOffset UnloadedDriversOffset DriverListOffset"
    names += " DebuggerDataOffset DebuggerDataSize DataBlocksOffset"
    filler = dict.fromkeys(names.split(), 0x45474150)
    image, triage = opened(tmp_path, triage32(count=0x45474150, blocks=0x45474150, **filler))
    assert (triage.drivers, triage.unloaded, triage.mm_storage) == ((), None, {})
    assert len(triage.blocks.va) == 0
    assert (image.info.bytes_expected, image.info.truncated) == (None, False)
    assert image.hints.service_pack_build is None
    assert image.info.notes == ("the small-dump block does not say where its end mark is",)


@pytest.mark.parametrize(("at", "value", "left", "note"), [
    (0x1318, 0, "MmMaximumNonPagedPool", None),
    (0x1324, 0x45474150, "PagedPoolAllocated", None),
    (0x1324, 0xE1000000, "PagedPoolAllocated", "no count of pages, left out: PagedPoolAllocated 0xe1000000"),
])  # fmt: skip
def test_a_figure_that_is_none_is_left_out(
    at: int, value: int, left: str, note: str | None, tmp_path: Path
) -> None:
    data = bytearray(triage32())
    struct.pack_into("<I", data, at, value)
    image, triage = opened(tmp_path, bytes(data))
    assert left not in triage.mm_storage and len(triage.mm_storage) == 6
    assert [text for text in image.info.notes if "12 characters" not in text] == ([note] if note else [])


@pytest.mark.parametrize("size", [51, 0xFFFFFFFF])
def test_figures_of_another_size_are_not_read(size: int, tmp_path: Path) -> None:
    data = bytearray(triage32())
    struct.pack_into("<I", data, 0x1304, size)
    image, triage = opened(tmp_path, bytes(data))
    assert triage.mm_storage == {}
    assert f"0x1300 claim {size} bytes, not 52: not read" in image.info.notes[-1]


def test_data_blocks_beyond_the_file_are_left_out(tmp_path: Path) -> None:
    data = bytearray(triage32())
    struct.pack_into("<I", data, 0x1508, 0xFFFFFFFF)  # size of the first
    image, triage = opened(tmp_path, bytes(data))
    assert image.info.notes[-1] == "1 of 2 data blocks lie beyond the end of the file"
    memory = BlockMemory(triage.blocks)
    assert memory.read(0x80551264, 2) == b"\0\3"
    with pytest.raises(AbsentMemory, match="0x804d7c5c"):
        memory.read(0x804D7C5C, 1)


def test_overlapping_data_blocks_end_the_earlier_one(tmp_path: Path) -> None:
    data = bytearray(triage32())
    struct.pack_into("<I", data, 0x1500 + 12, 0x804D7C60)  # four bytes into the first block
    _, triage = opened(tmp_path, bytes(data))
    read, known = BlockMemory(triage.blocks).read_masked(0x804D7C5C, 8)
    assert read.tobytes() == b"2600" + struct.pack("<I", 0x300) and bool(known.all())


def test_mutations_end_in_a_verdict_or_in_one_line(tmp_path: Path) -> None:
    """Random words in the header, the block and the lists, and cuts; whatever happens, it is said."""
    rng = random.Random(950162)
    words = (0, 1, 0x45474150, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF, 0x1100, 0x1FFC, 0x2000)
    path, judged, refused = tmp_path / "mini.dmp", 0, []
    for _ in range(300):
        data = bytearray(triage32())
        for _ in range(rng.randint(1, 4)):
            at = rng.choice(
                (rng.randrange(0, 0x1000, 4), rng.randrange(0x1000, 0x1068, 4), rng.randrange(0x1100, 0x1FFC))
            )
            struct.pack_into("<I", data, at, rng.choice((*words, rng.getrandbits(32))))
        path.write_bytes(data[: rng.choice((len(data), len(data), rng.randrange(len(data))))])
        try:
            verdict = dumpscan.open(path).verdict()
        except DumpscanError as error:
            refused.append(str(error))
        else:
            judged += verdict.verdict.code == "inconclusive"
    assert judged > 100 and len(refused) > 10
    assert not [text for text in refused if "\n" in text or "mini.dmp" not in text]
