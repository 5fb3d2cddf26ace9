"""Finding the kernel in memory that holds none, half of one, or look-alikes."""

from __future__ import annotations

import numpy as np
import pytest

from dumpscan.errors import KernelNotFound
from dumpscan.image.opened import Hints
from dumpscan.image.physical import FileMemory
from dumpscan.kernel import find

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
