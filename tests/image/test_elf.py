"""ELF cores of both classes: segments by p_paddr, partial pages, notes, damage."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from dumpscan.errors import AbsentMemory, DamagedImage, NotAnImage, UnsupportedImage
from dumpscan.image.recognise import open_image
from tests.image.writers import elf, note, page

LOADS = [(0x0, page(0) + page(1), 0x1000), (0x100000, page(0x100), 0x3000)]


def qemu_cpu(cr0: int, cr3: int, cr4: int) -> bytes:
    """QEMUCPUState: u32 version, u32 size, 18 u64 registers, 10 segments of 24 bytes, cr[5] at 0x188."""
    state = bytearray(0x1B8)
    struct.pack_into("<II", state, 0, 1, 0x1B8)
    struct.pack_into("<QQQQQ", state, 0x188, cr0, 0, 0, cr3, cr4)
    return bytes(state)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("xnum", [False, True], ids=["e_phnum", "sh_info"])
def test_segments_map_by_physical_address(tmp_path: Path, wide: bool, xnum: bool) -> None:
    path = tmp_path / "vm.core"
    path.write_bytes(elf(LOADS, wide=wide, xnum=xnum))
    opened = open_image(path)
    assert opened.memory is not None
    for pfn in (0, 1, 0x100):
        assert opened.memory.read(pfn * 4096, 4096) == page(pfn)
    assert opened.memory.present(np.array([2, 0xFF, 0x101])).tolist() == [False] * 3
    assert opened.info.format == "elf"
    assert opened.info.description.startswith("64-bit ELF" if wide else "32-bit ELF")
    assert (opened.info.pages_present, opened.info.pages_expected) == (3, 3)
    assert opened.info.bytes_expected == 0x4000


def test_qemu_notes_give_directory_and_pae(tmp_path: Path) -> None:
    notes = note(b"CORE", 1, bytes(144)) + note(b"QEMU", 0, qemu_cpu(0x80010033, 0x319020, 0x6F9))
    notes += note(b"QEMU", 0, qemu_cpu(0x80010033, 0x2B5B020, 0x6F9))
    path = tmp_path / "vm.core"
    path.write_bytes(elf([(0, page(0), 0x2000)], notes, wide=False))
    hints = open_image(path).hints
    assert hints.dtbs == (0x319020, 0x2B5B020)
    assert (hints.pae, hints.processors, hints.arch) == (True, 2, "x86")


def test_virtualbox_notes_are_read_and_a_short_one_is_tolerated(tmp_path: Path) -> None:
    # DBGFCORECPU: 18 registers of 8, six selectors of 24 bytes, then cr0, cr2, cr3, cr4.
    cpu = bytes(18 * 8 + 6 * 24) + struct.pack("<QQQQ", 0x80010031, 0, 0x39000, 0x6D8)
    notes = note(b"VBCORE", 0xB00, struct.pack("<II", 0xC01AC0DE, 0x10000)) + note(b"VBCPU", 0xB01, b"short")
    path = tmp_path / "vm.core"
    path.write_bytes(elf([(0, page(0), 0x2000)], notes + note(b"VBCPU", 0xB01, cpu)))
    opened = open_image(path)
    assert opened.hints.dtbs == (0x39000,)
    assert opened.hints.pae is False


def test_partial_pages_are_left_out_and_counted(tmp_path: Path) -> None:
    # 0x9fc00 bytes: the page at 0x9f000 is there only in part; the second segment begins inside a page.
    low = b"".join(page(n) for n in range(0xA0))[:0x9FC00]
    path = tmp_path / "vm.core"
    path.write_bytes(elf([(0, low, 0x1000), (0x100800, page(0x100)[0x800:] + page(0x101), 0xA1000)]))
    opened = open_image(path)
    assert opened.memory is not None
    assert opened.memory.read(0x9E000, 4096) == page(0x9E)
    with pytest.raises(AbsentMemory):
        opened.memory.read(0x9F000, 4)
    with pytest.raises(AbsentMemory):
        opened.memory.read(0x100800, 4)
    assert opened.memory.read(0x101000, 4096) == page(0x101)
    assert "2 ELF segments" in opened.info.notes[0]
    assert not opened.info.truncated


def test_segments_that_touch_in_mid_page_are_joined(tmp_path: Path) -> None:
    body = page(7) + page(8)
    path = tmp_path / "vm.core"
    path.write_bytes(elf([(0x7000, body[:0x1800], 0x1000), (0x8800, body[0x1800:], 0x2800)]))
    memory = open_image(path).memory
    assert memory is not None
    assert memory.read(0x7000, 0x2000) == body


def test_a_core_cut_short_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "vm.core"
    path.write_bytes(elf(LOADS)[:0x3800])
    opened = open_image(path)
    assert opened.info.truncated
    assert (opened.info.pages_present, opened.info.pages_expected) == (2, 3)


@pytest.mark.parametrize(
    ("at", "form", "value", "word"),
    [
        (0x20, "<Q", 0xFFFFFFFFFFFF, "program header table"),  # e_phoff
        (0x36, "<H", 32, "e_phentsize"),
        (0x38, "<H", 0xFFFF, "e_phnum"),  # e_phnum without section 0
        (0x78 + 0x18, "<Q", 1 << 60, "beyond any"),  # p_paddr of the first load (header 1 of 0x38 bytes)
        (0x78 + 0x08, "<Q", 1 << 63, "beyond any"),  # p_offset
        (0xB0 + 0x18, "<Q", 0x1000, "both claim"),  # p_paddr of the second load, inside the first
        (0x04, "<B", 9, "class"),
    ],
)
def test_absurd_headers_are_damage(tmp_path: Path, at: int, form: str, value: int, word: str) -> None:
    data = bytearray(elf(LOADS))
    struct.pack_into(form, data, at, value)
    path = tmp_path / "vm.core"
    path.write_bytes(data)
    with pytest.raises(DamagedImage, match=word) as caught:
        open_image(path)
    assert caught.value.exit_code == 6


def test_programs_and_foreign_machines_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vm.core"
    data = bytearray(elf(LOADS))
    data[0x10] = 2  # e_type: an executable
    path.write_bytes(data)
    with pytest.raises(NotAnImage, match="no core"):
        open_image(path)
    data[0x05] = 2  # big-endian
    path.write_bytes(data)
    with pytest.raises(UnsupportedImage, match="big-endian"):
        open_image(path)


def test_notes_that_point_nowhere_do_not_hurt(tmp_path: Path) -> None:
    data = bytearray(elf(LOADS, note(b"QEMU", 0, qemu_cpu(1, 2, 3))))
    struct.pack_into("<QQ", data, 0x40 + 0x08, 0xFFFFFFFF, 0)
    struct.pack_into("<Q", data, 0x40 + 0x20, 0xFFFFFFFFFFFF)
    path = tmp_path / "vm.core"
    path.write_bytes(data)
    opened = open_image(path)
    assert opened.hints.dtbs == ()
    assert opened.info.pages_present == 3


def test_an_elf_version_of_0_as_virtualbox_writes_it(tmp_path: Path) -> None:
    data = bytearray(elf(LOADS))
    data[6] = 0
    struct.pack_into("<I", data, 0x14, 0)
    path = tmp_path / "vm.core"
    path.write_bytes(data)
    assert open_image(path).info.pages_present == 3


@pytest.mark.parametrize("count", [0xFFFFFFFF, 1 << 20])
def test_a_lying_count_in_section_0_costs_nothing(tmp_path: Path, count: int) -> None:
    data = bytearray(elf(LOADS, xnum=True))
    struct.pack_into("<I", data, int.from_bytes(data[0x28:0x30], "little") + 0x2C, count)
    path = tmp_path / "vm.core"
    path.write_bytes(data)
    with pytest.raises(DamagedImage, match="program header"):
        open_image(path)


def test_segments_that_claim_more_than_the_file_are_truncated(tmp_path: Path) -> None:
    data = bytearray(elf(LOADS))
    struct.pack_into("<Q", data, 0xB0 + 0x20, 1 << 40)  # p_filesz of the last load: 1 TB
    path = tmp_path / "vm.core"
    path.write_bytes(data)
    opened = open_image(path)
    assert opened.info.truncated
    assert (opened.info.pages_present, opened.info.pages_expected) == (3, 2 + (1 << 28))


def xen_core(
    numbers: list[int], listed: bytes = b".xen_pfn", gmfn: bool = False, sizes: tuple[int, int] | None = None
) -> bytes:
    """ELF core of a domain: .shstrtab, the list of page numbers (u64, or pairs), and .xen_pages.

    Page contents are the numbers' low halves; ``sizes`` replaces those of the list and the pages.
    """
    names = b"\0.shstrtab\0" + listed.ljust(8, b"x") + b"\0.xen_pages\0"
    p2m = b"".join(struct.pack("<QQ", n, 7) if gmfn else struct.pack("<Q", n) for n in numbers)
    pages = b"".join(page(n & 0xFFFFFFFF) for n in numbers)
    p2m_at, names_at, pages_at = 0x40, 0x40 + len(p2m), 0x1000
    shoff = pages_at + len(pages)
    head = struct.pack(
        "<4sBBBB8xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 4, 62, 1, 0, 0, shoff, 0, 64, 56, 0, 64, 4, 1
    )
    out = (head + p2m + names).ljust(pages_at, b"\0") + pages + bytes(64)
    list_size, pages_size = sizes or (len(p2m), len(pages))
    found = [(1, 3, names_at, len(names)), (11, 1, p2m_at, list_size), (20, 1, pages_at, pages_size)]
    for name, kind, offset, size in found:
        out += struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, offset, size, 0, 0, 0, 0)
    return out


@pytest.mark.parametrize("gmfn", [False, True], ids=["pfn", "p2m"])
def test_a_xen_core_whose_pages_are_out_of_order(tmp_path: Path, gmfn: bool) -> None:
    path = tmp_path / "xen.core"
    numbers = [4, 2, (1 << 64) - 1, 1, 0x100000, 9]
    path.write_bytes(xen_core(numbers, b".xen_p2m" if gmfn else b".xen_pfn", gmfn))
    opened = open_image(path)
    assert opened.memory is not None
    assert (opened.info.format, opened.info.pages_present, opened.info.truncated) == ("xen", 5, False)
    rows, mask = opened.memory.pages(np.array([2, 1, 3, 4, 9, 0x100000]))
    assert mask.tolist() == [True, True, False, True, True, True]
    assert [rows[i].tobytes() for i in (0, 1, 3, 4, 5)] == [page(n) for n in (2, 1, 4, 9, 0x100000)]


def test_a_xen_core_cut_short_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "xen.core"
    path.write_bytes(xen_core([4, 2], sizes=(16, 1 << 50)))
    assert open_image(path).info.pages_present == 2
    # More numbers than pages: the rest of the list is beyond the section of pages.
    path.write_bytes(xen_core([4, 2], sizes=(16, 4096)))
    memory = open_image(path).memory
    assert memory is not None
    assert memory.present(np.array([4, 2])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (xen_core([4, 2], sizes=(1 << 60, 8192)), "xen_pfn"),
        (xen_core([4, 4]), "both claim"),
        (xen_core([1 << 60]), "beyond any"),
        (xen_core([(1 << 64) - 1]), "without pages"),
        (xen_core([4], b".xen_abc"), "without a list"),
    ],
)
def test_lying_xen_cores_are_damage(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "xen.core"
    path.write_bytes(content)
    with pytest.raises(DamagedImage, match=word):
        open_image(path)
