"""Pages in page files: entries worked out by hand, files that are short, missing, or nobody's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dumpscan.errors import (
    AbsentMemory,
    DumpscanError,
    NotAnImage,
    UnreadableFile,
    UnsupportedImage,
    UsageError,
)
from dumpscan.image.physical import FileMemory
from dumpscan.image.raw import flat_memory
from dumpscan.memory.c_pte import PAE, X64, X86, PageState, Paging
from dumpscan.memory.pagefiles import PageFiles, open_page_files, place_of
from dumpscan.memory.virtual import PAGE, PagedMemory
from tests.memory.test_virtual import memory_of, table

ENTRIES = {
    "x86": {0: 0x3000 | 0x80 | 1 << 1, 1: 0x2000 | 0x80, 2: 0xFFFFF000 | 0x80, 3: 0x2000 | 0x80 | 5 << 1},
    "wide": {
        0: 3 << 32 | 0x80 | 1 << 1,
        1: 2 << 32 | 0x80,
        2: 0xFFFFFFFF << 32 | 0x80,
        3: 2 << 32 | 0x80 | 10,
    },
}
"""Page 3 of file 1, page 2 of file 0, the last page that a file can have, page 2 of file 5.
PageFileLow is bits 1 to 4, PageFileHigh bits 12 to 31 (x86) or 32 to 63: facts/pte-formats.json."""


def file_of(*pages: bytes) -> FileMemory:
    return flat_memory(np.frombuffer(b"".join(page.ljust(PAGE, b"\0") for page in pages), np.uint8))


def space(mode: Paging) -> tuple[PagedMemory, PageFiles, int]:
    """Page tables for four pages from the address that comes back, and one page in RAM behind them."""
    leaf = {**ENTRIES["x86" if mode is X86 else "wide"], 4: 0x9003}
    if mode is X86:
        pages, base, root = (
            {1: table({0x384: 0x2063, 0x385: 0x3000 | 0x80}, 4), 2: table(leaf, 4)},
            0xE1000000,
            0x1000,
        )
    elif mode is PAE:
        pdpt = b"".join((frame << 12 | 1).to_bytes(8, "little") for frame in (4, 5, 6, 7))
        pages = {
            1: pdpt,
            4: b"",
            5: b"",
            6: b"",
            7: table({0x108: 0x2063, 0x109: 3 << 32 | 0x80}, 8),
            2: table(leaf, 8),
        }
        base, root = 0xE1000000, 0x1000
    else:
        pages = {1: table({0x1F1: 0x4063}, 8), 4: table({0: 0x5063}, 8)}
        pages |= {5: table({0: 0x2063, 1: 3 << 32 | 0x80}, 8), 2: table(leaf, 8)}
        base, root = 0xFFFFF880_00000000, 0x1000
    image = memory_of({**pages, 9: b"in RAM"}, 0x1000)
    first, second = file_of(b"", b"", b"page two of file 0"), file_of(b"", b"", b"", b"page three of file 1")
    files = PageFiles(image, (first, second), ("pagefile.sys", "d-pagefile.sys"))
    return PagedMemory(files, mode, root), files, base


@pytest.mark.parametrize("mode", [X86, PAE, X64], ids=lambda mode: str(mode.name))
def test_pages_are_read_from_the_file_that_the_entry_names(mode: Paging) -> None:
    memory, files, base = space(mode)
    files.admit(0)
    files.admit(1)
    assert memory.read(base, 20) == b"page three of file 1"
    assert memory.read(base + PAGE, 18) == b"page two of file 0"
    data, known = memory.read_masked(base, 5 * PAGE)
    assert known.reshape(5, PAGE)[:, 0].tolist() == [True, True, False, False, True]
    assert data[4 * PAGE : 4 * PAGE + 6].tobytes() == b"in RAM"
    assert memory.readable(np.array([base, base + 2 * PAGE, base + 4 * PAGE], np.uint64)).tolist() == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("mode", [X86, PAE, X64], ids=lambda mode: str(mode.name))
def test_pages_keep_their_state_and_have_a_place(mode: Paging) -> None:
    memory, _, base = space(mode)
    pages = memory.pages_in(base, base + 5 * PAGE)
    assert pages.state.tolist() == [PageState.PAGEFILE] * 4 + [PageState.VALID]
    last = 0xFFFFF if mode is X86 else 0xFFFFFFFF
    number, offset = place_of(pages.pfn[:4])
    assert list(zip(number.tolist(), offset.tolist(), strict=True)) == [(1, 3), (0, 2), (0, last), (5, 2)]


@pytest.mark.parametrize("mode", [X86, PAE, X64], ids=lambda mode: str(mode.name))
def test_nothing_is_read_before_a_file_is_admitted(mode: Paging) -> None:
    memory, files, base = space(mode)
    files.admit(0)
    with pytest.raises(AbsentMemory, match="not in the image"):
        memory.read(base, 4)
    assert not files.present(memory.pages_in(base, base + PAGE).pfn).any()
    assert memory.read(base + PAGE, 8) == b"page two"


@pytest.mark.parametrize("mode", [X86, PAE, X64], ids=lambda mode: str(mode.name))
def test_a_page_table_that_is_out_leaves_its_pages_unknown(mode: Paging) -> None:
    memory, files, base = space(mode)
    files.admit(0)
    below = base + (4 << 20 if mode is X86 else 2 << 20)
    _, states = memory.translate(np.array([below], np.uint64))
    assert states.tolist() == [PageState.ABSENT]
    with pytest.raises(AbsentMemory):
        memory.read(below, 4)


def test_a_gather_over_image_and_files_keeps_the_order() -> None:
    memory, files, base = space(PAE)
    files.admit(0)
    files.admit(1)
    pfns = memory.pages_in(base, base + 5 * PAGE).pfn[[4, 0, 2, 1, 4]]
    for out in (None, np.empty((8, PAGE), np.uint8)):
        rows, present = files.pages(pfns, out)
        assert present.tolist() == [True, True, False, True, True]
        heads = [bytes(rows[i, :6]) for i in (0, 1, 3, 4)]
        assert heads == [b"in RAM", b"page t", b"page t", b"in RAM"]
    assert files.words(pfns) is None
    assert files.runs().page_count.sum() == len({1, 4, 5, 6, 7, 2, 9})


@pytest.mark.parametrize(
    ("content", "error", "why"),
    [
        (None, UnreadableFile, "no such file"),
        (b"", NotAnImage, "empty"),
        (b"PAGEDUMP" + bytes(8192), NotAnImage, "holds a crash dump"),
        (b"PAGEDU64" + bytes(8192), NotAnImage, "holds a crash dump"),
    ],
)
def test_what_is_no_page_file_is_refused(
    content: bytes | None, error: type[DumpscanError], why: str, tmp_path: Path
) -> None:
    path = tmp_path / "pagefile.sys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=why):
        open_page_files(memory_of({1: b""}, 16), tmp_path / "image.dmp", [path])


def test_a_file_has_one_part_to_play(tmp_path: Path) -> None:
    image, file = tmp_path / "image.dmp", tmp_path / "pagefile.sys"
    image.write_bytes(bytes(8192))
    file.write_bytes(bytes(8192))
    memory = memory_of({1: b""}, 16)
    for paths in ([image], [file, file], [file, tmp_path / "." / "pagefile.sys"]):
        with pytest.raises(UsageError, match="given twice"):
            open_page_files(memory, image, paths)
    with pytest.raises(UsageError, match="at most 16"):
        open_page_files(memory, image, [file] * 17)
    with pytest.raises(UnsupportedImage, match="small dump"):
        open_page_files(None, image, [file])


def test_closing_lets_go_of_everything(tmp_path: Path) -> None:
    path = tmp_path / "pagefile.sys"
    path.write_bytes(b"x" * 3 * PAGE)
    files = open_page_files(memory_of({1: b""}, 16), tmp_path / "image.dmp", [path])
    files.admit(0)
    files.close()
    assert not files.admitted
    assert not files.files[0].present(np.array([1])).any()


@pytest.mark.parametrize("mode", [X86, PAE, X64], ids=lambda mode: str(mode.name))
def test_tables_of_noise_lead_nowhere_beyond_the_files(mode: Paging) -> None:
    """Entries of any value: whatever is said to be present can be read, everything else is absent."""
    rng = np.random.default_rng(7)
    pages = {frame: rng.bytes(PAGE) for frame in range(1, 24)}
    files = PageFiles(memory_of(pages, 64), (file_of(*(b"p",) * 9), file_of(*(b"q",) * 5)), ("a", "b"))
    files.admit(0)
    files.admit(1)
    memory = PagedMemory(files, mode, 0x1000)
    vas = rng.integers(0, 1 << 47, 4096, dtype=np.uint64) & np.uint64(mode.va_mask)
    pas, _ = memory.translate(vas)
    readable = memory.readable(vas)
    data, known = memory.read_masked(mode.kernel_start, 64 * PAGE)
    assert len(data) == len(known) == 64 * PAGE
    for va, pa, good in zip(vas.tolist(), pas.tolist(), readable.tolist(), strict=True):
        if not good:
            with pytest.raises(AbsentMemory):
                memory.read(va, 1)
        elif pa >> 12 >= 1 << 44:
            number, offset = place_of(np.array([pa >> 12]))
            assert offset[0] < (9, 5)[number[0]]
    found = memory.pages_in(mode.kernel_start, mode.va_mask + 1)
    rows, present = files.pages(found.pfn[:2000])
    assert len(rows) == len(present) == len(found.pfn[:2000])


def test_a_search_passes_over_page_files() -> None:
    _, files, _ = space(X86)
    files.admit(0)
    assert files.filled().base_page.tolist() == files.runs().base_page.tolist()
