"""Finding the kernel in memory that holds none, half of one, or look-alikes."""

from __future__ import annotations

import numpy as np
import pytest

from dumpscan.errors import KernelNotFound
from dumpscan.image.opened import Hints
from dumpscan.image.physical import FileMemory
from dumpscan.kernel import find, search
from dumpscan.memory.virtual import VirtualMemory

PAGE = 4096


def physical(data: bytes) -> FileMemory:
    """``data`` as page frames 0, 1, 2 ..."""
    pages = len(data) // PAGE
    one = np.array([pages], np.int64)
    return FileMemory(np.frombuffer(data, np.uint8), np.zeros(1, np.int64), one, np.zeros(1, np.int64))


def test_random_memory_holds_no_kernel() -> None:
    noise = np.random.default_rng(1).integers(0, 256, 512 * PAGE, np.uint8).tobytes()
    with pytest.raises(KernelNotFound, match="no Windows page tables"):
        find.locate(physical(noise), Hints())


def test_claims_of_a_header_are_not_believed() -> None:
    hints = Hints(arch="x86", dtbs=(0x1000, 0xFFFFFFF0), kdbg=0x80545AE0, pae=True)
    with pytest.raises(KernelNotFound):
        find.locate(physical(bytes(16 * PAGE)), hints)


def directory_page(frame: int) -> bytes:
    """An x86 page directory that maps itself at entry 0x300 and nothing else."""
    page = bytearray(PAGE)
    page[0xC00:0xC04] = (frame << 12 | 3).to_bytes(4, "little")
    return bytes(page)


def test_page_tables_without_a_block() -> None:
    data = bytes(PAGE) + directory_page(1) + bytes(8 * PAGE)
    with pytest.raises(KernelNotFound, match="no KDBG block"):
        find.locate(physical(data), Hints())


def test_block_of_no_mapped_kernel() -> None:
    block = bytearray(PAGE)
    block[0x10:0x14] = b"KDBG"
    block[0x14:0x18] = (0x290).to_bytes(4, "little")
    block[0x18:0x20] = (0x804D7000).to_bytes(8, "little")
    data = bytes(PAGE) + directory_page(1) + bytes(block)
    with pytest.raises(KernelNotFound, match="none belongs to a mapped kernel"):
        find.locate(physical(data), Hints())


def test_memory_full_of_look_alikes_ends() -> None:
    """Every page is a page directory of itself and carries dozens of block tags."""
    block = bytearray(0x40)
    block[0x10:0x14] = b"KDBG"
    block[0x14:0x18] = (0x290).to_bytes(4, "little")
    block[0x18:0x20] = (0x80400000).to_bytes(8, "little")
    data = bytearray()
    for frame in range(600):
        page = bytearray(bytes(block) * (PAGE // len(block)))
        page[0xC00:0xC04] = (frame << 12 | 3).to_bytes(4, "little")
        data += page
    with pytest.raises(KernelNotFound):
        find.locate(physical(bytes(data)), Hints())


def x64_space_of(image: bytes) -> bytes:
    """An address space whose boot range shows one page, ``image``, 512 times over."""
    frames = [bytearray(PAGE) for _ in range(6)]

    def entry(table: int, index: int, frame: int) -> None:
        frames[table][8 * index : 8 * index + 8] = (frame << 12 | 3).to_bytes(8, "little")

    for table, index, frame in ((1, 0x1ED, 1), (1, 0x1F0, 2), (2, 0, 3)):
        entry(table, index, frame)
    entry(3, 0, 4)
    for page in range(512):
        entry(4, page, 5)
    frames[5][: len(image)] = image
    return b"".join(bytes(frame) for frame in frames)


def pe_image(pdb: bytes) -> bytes:
    """Headers of an x64 image of one page whose debug record names ``pdb``."""
    page = bytearray(PAGE)
    page[:2], page[0x3C:0x40] = b"MZ", (0x80).to_bytes(4, "little")
    page[0x80:0x88] = b"PE\0\0" + (0x8664).to_bytes(2, "little") + bytes(2)
    page[0x98:0x9A] = (0x20B).to_bytes(2, "little")
    page[0xD0:0xD4] = PAGE.to_bytes(4, "little")
    # The seventh data directory: one entry at 0x200, of type 2 (CodeView), its data at 0x240.
    page[0x138:0x140] = (0x200).to_bytes(4, "little") + (28).to_bytes(4, "little")
    page[0x20C:0x218] = b"".join(value.to_bytes(4, "little") for value in (2, 24 + len(pdb) + 1, 0x240))
    page[0x240 : 0x240 + 24 + len(pdb)] = b"RSDS" + bytes(range(16)) + (3).to_bytes(4, "little") + pdb
    return bytes(page)


def test_kernel_by_its_image() -> None:
    located = find.locate(physical(x64_space_of(pe_image(b"ntkrnlmp.pdb"))), Hints())
    assert (located.how, located.kdbg.kern_base, located.kdbg.va) == ("image scan", 0xFFFFF800_00000000, 0)


def test_images_that_are_no_kernel_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    honest = search.is_kernel

    def counted(memory: VirtualMemory, base: int) -> bool:
        asked.append(base)
        return honest(memory, base)

    monkeypatch.setattr(search, "is_kernel", counted)
    monkeypatch.setattr(search, "_MOST_IMAGES", 100)
    with pytest.raises(KernelNotFound, match="no image of an x64 Windows kernel"):
        find.locate(physical(x64_space_of(pe_image(b"driver.pdb"))), Hints())
    assert len(asked) == 100


def test_a_moved_self_map_beside_a_look_alike() -> None:
    """A page that passes for an x86 page directory does not end the search for an x64 root table."""
    data = bytearray(x64_space_of(pe_image(b"ntkrnlmp.pdb")))
    root = PAGE
    data[root + 8 * 0x1A3 : root + 8 * 0x1A4] = data[root + 8 * 0x1ED : root + 8 * 0x1EE]
    data[root + 8 * 0x1ED : root + 8 * 0x1EE] = bytes(8)
    located = find.locate(physical(bytes(data) + directory_page(6)), Hints())
    assert located.how == "image scan"
    assert located.memory.paging.self_map == 0xFFFFD180_00000000
