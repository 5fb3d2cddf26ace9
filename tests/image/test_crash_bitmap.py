"""Kernel and bitmap dumps (types 2, 5, 6): both forms of bitmap, told apart, checked, cut off."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import numpy as np
import pytest

from dumpscan.errors import AbsentMemory, DamagedImage
from dumpscan.image import bitmap as bitmaps
from dumpscan.image.bitmap import bitmap_runs
from dumpscan.image.opened import OpenedImage
from dumpscan.image.recognise import open_image
from tests.image.writers import header32, header64, later_bitmap, older_bitmap, padded, page

# Single pages, a run, one that crosses a 64-bit word, the last bit.
PFNS = [1, 2, 3, 9, 62, 63, 64, 65, 66, 199]
BITS = 200


def write(path: Path, head: bytes, bitmap: bytes, first: int, size: int = 4096) -> Path:
    body = b"".join(page(pfn, size) for pfn in PFNS)
    path.write_bytes(padded(bytes(head) + bitmap, first) + body)
    return path


def check_pages(opened: OpenedImage, size: int = 4096) -> None:
    assert opened.memory is not None
    for pfn in PFNS:
        assert opened.memory.read(pfn * size, size) == page(pfn, size)
    for pfn in (0, 4, 8, 10, 61, 67, 198, 200):
        with pytest.raises(AbsentMemory):
            opened.memory.read(pfn * size, 1)
    assert [run.tolist() for run in opened.memory.runs()] == [[1, 9, 62, 199], [3, 1, 5, 1]]
    assert (opened.info.pages_present, opened.info.pages_expected) == (10, 10)
    assert not opened.info.truncated


def kernel32(tmp_path: Path, **kwargs: int) -> Path:
    """A type 2 dump of XP: SDMP at 0x1000, first page at 0x2000."""
    bitmap = older_bitmap(PFNS, BITS, first=0x2000, wide=False, **kwargs)
    return write(tmp_path / "kernel.dmp", header32(2, runs=[(0, BITS)]), bitmap, 0x2000)


def test_older_form_32_bit(tmp_path: Path) -> None:
    opened = open_image(kernel32(tmp_path))
    check_pages(opened)
    assert opened.info.format == "crash32-kernel"
    assert opened.info.description == "32-bit Windows kernel (summary) dump, type 2"
    assert opened.info.bytes_expected == 0x2000 + 10 * 4096
    assert opened.info.notes == ()


def test_older_form_64_bit(tmp_path: Path) -> None:
    bitmap = older_bitmap(PFNS, BITS, first=0x3000, wide=True)
    opened = open_image(write(tmp_path / "k.dmp", header64(2), bitmap, 0x3000))
    check_pages(opened)
    assert opened.info.format == "crash64-kernel"


def test_older_form_ia64_counts_8_kb_pages(tmp_path: Path) -> None:
    bitmap = older_bitmap(PFNS, BITS, first=0x4000, wide=True)
    path = write(tmp_path / "k.dmp", header64(2, machine=0x200), bitmap, 0x4000, size=8192)
    check_pages(open_image(path), size=8192)


@pytest.mark.parametrize(("dump_type", "name"), [(5, "bitmap"), (6, "active")])
@pytest.mark.parametrize("mark", [b"SDMP", b"FDMP"])
def test_later_form(tmp_path: Path, dump_type: int, name: str, mark: bytes) -> None:
    bitmap = later_bitmap(PFNS, BITS, first=0x3000, mark=mark)
    opened = open_image(write(tmp_path / "l.dmp", header64(dump_type), bitmap, 0x3000))
    check_pages(opened)
    assert opened.info.format == f"crash64-{name}"
    bitmap = later_bitmap(PFNS, BITS, first=0x2000, mark=mark)
    opened = open_image(write(tmp_path / "l.dmp", header32(dump_type), bitmap, 0x2000))
    check_pages(opened)
    assert opened.info.format == f"crash32-{name}"


def test_a_type_with_the_other_form_of_bitmap_is_read_by_its_form(tmp_path: Path) -> None:
    later = write(tmp_path / "a.dmp", header64(2), later_bitmap(PFNS, BITS, 0x3000), 0x3000)
    opened = open_image(later)
    check_pages(opened)
    assert "later form" in opened.info.notes[0]
    bitmap = older_bitmap(PFNS, BITS, first=0x3000, wide=True)
    opened = open_image(write(tmp_path / "b.dmp", header64(5), bitmap, 0x3000))
    check_pages(opened)
    assert "older form" in opened.info.notes[0]


@pytest.mark.parametrize("claimed", [None, 0, 1])
def test_an_unusable_dump_type_is_decided_by_the_bitmap(tmp_path: Path, claimed: int | None) -> None:
    bitmap = older_bitmap(PFNS, BITS, first=0x2000, wide=False)
    opened = open_image(write(tmp_path / "o.dmp", header32(claimed, runs=[(0, BITS)]), bitmap, 0x2000))
    check_pages(opened)
    assert opened.info.format == "crash32-kernel"
    bitmap = later_bitmap(PFNS, BITS, first=0x3000)
    opened = open_image(write(tmp_path / "l.dmp", header64(claimed, runs=[(0, BITS)]), bitmap, 0x3000))
    check_pages(opened)
    assert opened.info.format == "crash64-bitmap"


def test_a_wrong_number_of_set_bits_is_noted_not_believed(tmp_path: Path) -> None:
    opened = open_image(kernel32(tmp_path, pages=99))
    check_pages(opened)
    assert "10 pages" in opened.info.notes[0]
    assert "99" in opened.info.notes[0]


def test_a_kernel_dump_cut_short_keeps_what_it_has(tmp_path: Path) -> None:
    path = kernel32(tmp_path)
    path.write_bytes(path.read_bytes()[: 0x2000 + 5 * 4096 + 4095])  # five whole pages: 1 2 3 9 62
    opened = open_image(path)
    assert opened.memory is not None
    assert opened.info.truncated
    assert (opened.info.pages_present, opened.info.pages_expected) == (5, 10)
    assert opened.info.bytes_expected == 0x2000 + 10 * 4096
    assert opened.memory.read(62 * 4096, 4096) == page(62)
    assert opened.memory.present(np.array([62, 63, 199])).tolist() == [True, False, False]


def test_a_file_that_ends_inside_the_bitmap_is_damage(tmp_path: Path) -> None:
    path = kernel32(tmp_path)
    path.write_bytes(path.read_bytes()[:0x1030])
    with pytest.raises(DamagedImage, match="0x1020") as caught:
        open_image(path)
    assert caught.value.exit_code == 6


def test_a_bitmap_for_more_memory_than_any_machine_has_is_damage(tmp_path: Path) -> None:
    """Even where the file is long enough: a sparse one costs nothing to write, but minutes to read."""
    header = bytearray(b"PAGE" * 0x800)
    header[:8] = b"PAGEDU64"
    struct.pack_into("<I", header, 0x30, 0x8664)
    struct.pack_into("<I", header, 0xF98, 5)
    bits = 1 << 34
    first = 0x3000 + bits // 8
    path = tmp_path / "sparse.dmp"
    with path.open("wb") as file:
        file.write(header + b"FDMPDUMP" + bytes(0x18) + struct.pack("<QQQ", first, 1, bits))
        file.truncate(first + 0x1000)
    with pytest.raises(DamagedImage, match="claims 0x400000000 bits"):
        open_image(path)


@pytest.mark.parametrize(
    ("at", "value", "word"),
    [
        (0x1010, 0xFFFFFFFF, "0x1010"),  # BitmapSize beyond the file
        (0x1010, 0, "claims 0x0 bits"),
        (0x100C, 0x2100, "not page aligned"),  # HeaderSize
        (0x100C, 0x1000, "not page aligned behind"),  # first page before the end of the bitmap
    ],
)
def test_contradictions_of_the_bitmap_header_are_damage(
    tmp_path: Path, at: int, value: int, word: str
) -> None:
    path = kernel32(tmp_path)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, at, value)
    path.write_bytes(data)
    with pytest.raises(DamagedImage, match=word):
        open_image(path)


def test_a_first_page_beyond_any_file_is_damage(tmp_path: Path) -> None:
    bitmap = later_bitmap(PFNS, BITS, first=0xFFFF_FFFF_FFFF_F000)
    path = tmp_path / "far.dmp"
    path.write_bytes(padded(header64(5) + bitmap, 0x3000))
    with pytest.raises(DamagedImage, match="0x2020"):
        open_image(path)


def test_a_missing_bitmap_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "none.dmp"
    path.write_bytes(header32(2, runs=[(0, 4)]) + bytes(0x4000))
    with pytest.raises(DamagedImage, match="0x1000"):
        open_image(path)


@pytest.mark.parametrize("count", [1, 7, 8, 63, 64, 65, 127, 128, 129, 4097])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_runs_equal_a_bit_by_bit_reading(count: int, density: float) -> None:
    chosen = np.random.default_rng(count).random(count) < density
    data = np.packbits(np.append(chosen, np.ones(70, np.bool_)), bitorder="little")  # junk behind the end
    expected: list[list[int]] = []
    for pfn in range(count):
        if chosen[pfn] and expected and sum(expected[-1]) == pfn:
            expected[-1][1] += 1
        elif chosen[pfn]:
            expected.append([pfn, 1])
    runs = bitmap_runs(data, count, limit=1 << 40)
    assert [list(pair) for pair in zip(runs.pfn.tolist(), runs.pages.tolist(), strict=True)] == expected
    assert runs.total == int(chosen.sum())


def test_a_run_over_the_edge_of_a_working_step_stays_one_run() -> None:
    data = np.full((1 << 20) + 8, 0xFF, np.uint8)  # a step is 1 MiB of bitmap
    runs = bitmap_runs(data, len(data) * 8, limit=1 << 40)
    assert (runs.pfn.tolist(), runs.pages.tolist()) == ([0], [((1 << 20) + 8) * 8])


def test_a_bitmap_of_more_pages_than_the_file_costs_no_memory_for_them() -> None:
    data = np.full(1 << 16, 0x55, np.uint8)  # every other page
    runs = bitmap_runs(data, len(data) * 8, limit=10)
    assert runs.total == (1 << 16) * 4
    assert len(runs.pfn) == 10


@pytest.mark.parametrize("step", [8, 16, 64])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98, 1.0])
def test_runs_over_the_ends_of_steps(step: int, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small steps over a random bitmap: the runs cover the set bits, in order, and none touches the next."""
    monkeypatch.setattr(bitmaps, "_STEP", step)
    rng = np.random.default_rng(step)
    for bits in (1, 63, 64, 200, 601):
        there = rng.random(bits) < share
        pages = np.flatnonzero(there).tolist()
        for limit in (0, len(pages) // 2, len(pages) + 1):
            runs = bitmap_runs(np.packbits(there, bitorder="little"), bits, limit)
            pairs = list(zip(runs.pfn.tolist(), runs.pages.tolist(), strict=True))
            covered = [page for first, count in pairs for page in range(first, first + count)]
            assert covered[:limit] == pages[:limit] and covered == pages[: len(covered)]
            assert all(a + n < b for (a, n), (b, _) in itertools.pairwise(pairs))
            assert runs.total == len(pages)
