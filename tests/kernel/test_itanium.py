"""Itanium dumps whose headers lie or whose memory is damaged, and kernels that lie elsewhere.

Header fields restated from facts/dump-headers.json (DUMP_HEADER64): DirectoryTableBase 0x10,
KdDebuggerDataBlock 0x80. Addresses and table indices: facts/ia64.md 2 and 3.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import dumpscan
import samples
from dumpscan.case import Case
from dumpscan.errors import KernelNotFound
from dumpscan.image.opened import Hints
from dumpscan.image.physical import FileMemory
from dumpscan.kernel import itanium
from dumpscan.kernel.layouts import layout_for

PAGE = 8192
HEADER = 0x2000
SELF_MAP = 894 * 8
KSEG0 = 0xE0000000_80000000
Write = Callable[[bytes], Case]


@pytest.fixture(scope="module")
def machine() -> samples.Machine:
    return samples.build("2008-ia64", "leak", ram_mb=24, cycles=300, seed=2)


@pytest.fixture(scope="module")
def image(machine: samples.Machine, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return samples.write(machine, "full", tmp_path_factory.mktemp("ia64") / "a.dmp").read_bytes()


@pytest.fixture
def opened(tmp_path: Path) -> Write:
    def make(data: bytes) -> Case:
        path = tmp_path / "changed.dmp"
        path.write_bytes(data)
        return dumpscan.open(path)

    return make


def at(machine: samples.Machine, pa: int) -> int:
    """File offset of a physical address in a complete dump."""
    offset = HEADER
    for first, count in machine.ram.runs:
        if first * PAGE <= pa < (first + count) * PAGE:
            return offset + pa - first * PAGE
        offset += count * PAGE
    raise AssertionError(hex(pa))


def changed(data: bytes, *changes: tuple[int, bytes]) -> bytes:
    out = bytearray(data)
    for offset, new in changes:
        out[offset : offset + len(new)] = new
    return bytes(out)


def one_line(case: Case) -> str:
    with pytest.raises(KernelNotFound) as caught:
        case.kernel  # noqa: B018
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_header_leads_to_the_kernel(machine: samples.Machine, image: bytes, opened: Write) -> None:
    info = opened(image).kernel.info
    assert (info.found_by, info.arch, info.build) == ("dump header", "ia64", 6001)
    assert info.base == machine.truth["kernel"]["base"]
    assert info.product == "Windows Server 2008"
    assert itanium.EXPERIMENTAL in info.notes


def test_the_block_may_be_named_in_region_4(machine: samples.Machine, image: bytes, opened: Write) -> None:
    """Cached physical memory: 0x80000000_00000000 plus the physical address (facts/ia64.md 1 and 2)."""
    there = int(machine.truth["addresses"]["KdDebuggerDataBlock"], 16) - KSEG0 + 0x80000000_00000000
    info = opened(changed(image, (0x80, there.to_bytes(8, "little")))).kernel.info
    assert (info.found_by, info.kdbg) == ("dump header", hex(there))


def test_without_a_root_in_the_header_the_self_map_tells(
    machine: samples.Machine, image: bytes, opened: Write
) -> None:
    """Process roots map themselves too; only the kernel's leads to the shared page."""
    info = opened(changed(image, (0x10, bytes(8)))).kernel.info
    assert (info.dtb, info.found_by) == (hex(machine.dtb), "KDBG scan")


def test_a_root_of_something_else_is_not_trusted(
    machine: samples.Machine, image: bytes, opened: Write
) -> None:
    """The header names the root of a process: the kernel is seen through the direct window all the same."""
    process = int(machine.truth["processes"][3]["cr3"], 16)
    case = opened(changed(image, (0x10, process.to_bytes(8, "little"))))
    assert case.kernel.info.dtb == hex(machine.dtb)
    assert case.verdict().verdict.code == machine.truth["expected"]["verdict"]


def test_a_root_that_nothing_confirms_is_said(machine: samples.Machine, image: bytes, opened: Write) -> None:
    """The shared page is not mapped: the header's root is all there is."""
    path, frame = (0xE0000000_FFFE0000 >> 33 & 1023, 0xE0000000_FFFE0000 >> 23 & 1023), machine.dtb // PAGE
    for index in path:
        frame = int(machine.ram.pages[frame].view("<u8")[index]) >> 13 & (1 << 38) - 1
    leaf = at(machine, frame * PAGE) + (0xE0000000_FFFE0000 >> 13 & 1023) * 8
    info = opened(changed(image, (leaf, bytes(8)))).kernel.info
    assert (info.dtb, info.found_by) == (hex(machine.dtb), "dump header")
    assert any("page tables doubtful" in note for note in info.notes)


@pytest.mark.parametrize(
    ("dtb", "said"),
    [(0, "is 0 or not given"), (0x7FFFFFFE000, "is 0x7ffffffe000, which is not in the image")],
)
def test_no_root_at_all_is_refused(
    machine: samples.Machine, image: bytes, opened: Write, dtb: int, said: str
) -> None:
    """No page maps itself any more: every entry 894 of a page is cleared that named its own page."""
    data = bytearray(changed(image, (0x10, dtb.to_bytes(8, "little"))))
    for first, count in machine.ram.runs:
        for frame in range(first, first + count):
            where = at(machine, frame * PAGE) + SELF_MAP
            entry = int.from_bytes(data[where : where + 8], "little")
            if entry & 1 and entry >> 13 & (1 << 38) - 1 == frame:
                data[where : where + 8] = bytes(8)
    message = one_line(opened(bytes(data)))
    assert f"Itanium: DirectoryTableBase {said}" in message and "no page table maps itself" in message


@pytest.mark.parametrize("new", [b"ZM", b"\0\0"])
def test_kernbase_without_mz_is_refused(
    machine: samples.Machine, image: bytes, opened: Write, new: bytes
) -> None:
    kernel = at(machine, int(machine.truth["kernel"]["phys"], 16))
    message = one_line(opened(changed(image, (kernel, new))))
    assert "no kernel image (MZ, machine 0x200)" in message


def test_an_image_for_another_machine_is_refused(
    machine: samples.Machine, image: bytes, opened: Write
) -> None:
    kernel = at(machine, int(machine.truth["kernel"]["phys"], 16))
    assert image[kernel + 0xE8 : kernel + 0xEE] == b"PE\0\0\x00\x02"
    message = one_line(opened(changed(image, (kernel + 0xEC, b"\x64\x86"))))
    assert "no kernel image (MZ, machine 0x200)" in message


def test_blocks_of_no_image_are_refused(machine: samples.Machine, image: bytes, opened: Write) -> None:
    """KernBase names an address without an image; the image is still there."""
    where = int(machine.truth["addresses"]["KdDebuggerDataBlock"], 16) - KSEG0
    message = one_line(opened(changed(image, (at(machine, where + 0x18), bytes(8)))))
    assert "none of the blocks names one of the images" in message


def test_a_stale_block_address_costs_a_search(machine: samples.Machine, image: bytes, opened: Write) -> None:
    info = opened(changed(image, (0x80, (KSEG0 + 0x12340).to_bytes(8, "little")))).kernel.info
    assert (info.found_by, info.kdbg) == ("KDBG scan", machine.truth["addresses"]["KdDebuggerDataBlock"])


def test_kseg0_elsewhere_is_found_by_the_image(machine: samples.Machine) -> None:
    """All of RAM 64 MB higher: what the tables map moves along, KSEG0 begins at 64 MB."""
    shift = 0x4000000
    pages = machine.ram.pages.copy()
    for frame in table_frames(pages, machine.dtb // PAGE):
        entries = pages[frame].view("<u8")
        entries[(entries & 1) == 1] += np.uint64(shift)
    frames = np.flatnonzero(machine.ram.present)
    pfn = frames + shift // PAGE
    memory = FileMemory(pages.reshape(-1), pfn, np.ones(len(pfn), np.int64), frames * PAGE, PAGE)
    hints = Hints(arch="ia64", dtbs=(machine.dtb + shift,))
    located = itanium.locate(memory, hints)
    assert located.kdbg.kern_base == int(machine.truth["kernel"]["base"], 16)
    assert located.memory.read(located.kdbg.kern_base, 2) == b"MZ"
    assert located.notes[1] == "KSEG0 begins at physical address 0x4000000, by the kernel's image"


def table_frames(pages: np.ndarray[tuple[int, int], np.dtype[np.uint8]], root: int) -> list[int]:
    """Frames of the root and of all tables below it, the writer's large pages left out."""
    found = [root]
    for depth in range(2):
        tables = found[:1] if depth == 0 else found[1:]
        for frame in tables:
            entries = pages[frame].view("<u8").tolist()
            below = [e for i, e in enumerate(entries) if e & 1 and not e & 4 and (depth or i != 894)]
            found += [(entry & 0x7FFFFFFFFE000) >> 13 for entry in below]
    return found


def test_memory_full_of_look_alikes_ends() -> None:
    """Every page maps itself, is a kernel image by its headers and names no kernel with its blocks."""
    block = bytearray(0x40)
    block[0x10:0x18] = b"KDBG" + (0x330).to_bytes(4, "little")
    block[0x18:0x20] = (KSEG0 + 0x10000).to_bytes(8, "little")
    pages = np.zeros((600, PAGE), np.uint8)
    pages[:, 0x200:] = np.frombuffer(bytes(block) * ((PAGE - 0x200) // 0x40), np.uint8)
    pages[:, :2] = np.frombuffer(b"MZ", np.uint8)
    pages[:, 0x3C] = 0x80
    pages[:, 0x80:0x86] = np.frombuffer(b"PE\0\0\x00\x02", np.uint8)
    pages[:, 0xD0:0xD4] = np.frombuffer((8 << 20).to_bytes(4, "little"), np.uint8)
    for frame in range(600):
        pages[frame, SELF_MAP : SELF_MAP + 8] = np.frombuffer(
            (frame << 13 | 1).to_bytes(8, "little"), np.uint8
        )
    one = np.array([600], np.int64)
    memory = FileMemory(pages.reshape(-1), np.zeros(1, np.int64), one, np.zeros(1, np.int64), PAGE)
    with pytest.raises(KernelNotFound, match="none of the blocks names one of the images"):
        itanium.locate(memory, Hints(arch="ia64"))


def test_layouts_of_the_three_builds() -> None:
    """6.0.6001 and 6.0.6002 alike, 5.2.3790; Vista RTM was not made for Itanium (facts/ia64.md)."""
    names = {build: layout_for(build, "ia64", False) for build in (3790, 6000, 6001, 6002)}
    assert {build: layout and layout.name for build, layout in names.items()} == {
        3790: "5.2 ia64",
        6000: None,
        6001: "6.0 ia64",
        6002: "6.0 ia64",
    }
    assert all(layout.page_size == PAGE for layout in names.values() if layout)
