"""What a walk cannot know is said: pages without page tables, large allocations that nothing marks."""

from __future__ import annotations

import struct
from pathlib import Path

import dumpscan
import samples
from dumpscan.case import Case

PAGED_POOL_START = 0xE1000000  # of the sample's machine
BIG_TABLE = 0x855F4  # RVAs of PoolBigPageTable and its size and hash below it: facts/kdbg.json
KDBG = 0x6EAE0


def raw(folder: Path) -> tuple[Path, bytearray, samples.Machine]:
    made = samples.build("xpsp3-x86-pae", "leak", seed=3, ram_mb=32, cycles=1500)
    path = samples.write(made, "raw", folder / "sample.img")
    return path, bytearray(path.read_bytes()), made


def opened(path: Path, data: bytearray) -> Case:
    path.write_bytes(data)
    return dumpscan.open(path)


def test_pages_without_page_tables_are_unknown(tmp_path: Path) -> None:
    """The page directory entry of paged pool's first 2 MB points beyond the image: 512 pages unknown."""
    path, data, made = raw(tmp_path)
    third = struct.unpack_from("<Q", data, made.dtb + 8 * 3)[0] & 0xFFFFF000
    entry = third + 8 * ((PAGED_POOL_START >> 21) & 0x1FF)
    struct.pack_into("<Q", data, entry, 0x7FFFF000 | 0x63)
    pool = opened(path, data).census("pages")
    assert pool.page_states["paged"].absent == 512
    [note] = [note for note in pool.notes if "pages of paged pool" in note]
    assert ", 512 unknown: their page tables are not in the image)" in note
    numbers = [int(word) for word in note.replace("(", " ").split() if word.isdigit()]
    assert numbers[0] == sum(numbers[1:])


def test_nothing_that_marks_large_allocations_is_said(tmp_path: Path) -> None:
    """No big page table and no PFN database: nonpaged pool has neither table nor marks."""
    path, data, _ = raw(tmp_path)
    base = data.index(b"KDBG") - 0x10 - KDBG
    struct.pack_into("<III", data, base + BIG_TABLE - 8, 0, 0, 0)
    (pfn_field,) = struct.unpack_from("<I", data, base + KDBG + 0xC0)
    struct.pack_into("<I", data, base + pfn_field - 0x804D7000, 0)
    pool = opened(path, data).census("pages")
    assert any("nothing tells large allocations of nonpaged pool" in note for note in pool.notes)


def test_a_whole_image_needs_no_such_note(tmp_path: Path) -> None:
    path, data, _ = raw(tmp_path)
    notes = " ".join(opened(path, data).census("pages").notes)
    assert "nothing tells" not in notes
    assert "unknown: their page tables" not in notes
