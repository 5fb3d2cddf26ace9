"""Page tables written by hand, entry by entry, for each paging mode.

Bit positions restated from facts/kernel-location.md section 7 and facts/pte-formats.json.
"""

from __future__ import annotations

import numpy as np
import pytest

from dumpscan.errors import AbsentMemory
from dumpscan.image.physical import FileMemory
from dumpscan.memory import dtb
from dumpscan.memory.c_pte import PAE, X64, X86, PageState, Paging
from dumpscan.memory.virtual import PagedMemory

PAGE = 4096


def memory_of(pages: dict[int, bytes], upto: int) -> FileMemory:
    """Physical memory holding exactly ``pages`` (by page frame number), in one file."""
    data = bytearray()
    frames = sorted(pages)
    for frame in frames:
        data += pages[frame].ljust(PAGE, b"\0")
    assert max(frames) < upto
    pfn = np.array(frames, np.int64)
    return FileMemory(
        np.frombuffer(bytes(data), np.uint8),
        pfn,
        np.ones(len(frames), np.int64),
        np.arange(len(frames), dtype=np.int64) * PAGE,
    )


def table(entries: dict[int, int], width: int) -> bytes:
    page = bytearray(PAGE)
    for index, value in entries.items():
        page[index * width : (index + 1) * width] = value.to_bytes(width, "little")
    return bytes(page)


@pytest.fixture
def x86() -> PagedMemory:
    """0x80000000: one page table with every kind of entry; 0x80400000: a 4 MB page at 0x00400000."""
    directory = table({0x200: 0x2003, 0x201: 0x004000E3, 0x202: 0x9003, 0x300: 0x1003}, 4)
    leaf = table(
        {
            0: 0x3003,  # valid, frame 3
            1: 0x4000 | 0x800 | 0x60,  # transition, frame 4
            2: 0x7000 | 0x80 | 0x2,  # page file 1, offset 7
            3: 0x80,  # demand zero: protection only
            4: 0xABCD0400,  # prototype
            5: 0x5C00,  # prototype bit wins over transition
            7: 0x8003,  # valid, but frame 8 is not in the image
        },
        4,
    )
    pages = {
        1: directory,
        2: leaf,
        3: b"valid page",
        4: b"transition page",
        0x401: b"second of the large page",
    }
    return PagedMemory(memory_of(pages, 0x1000), X86, 0x1000)


def test_x86_reads_valid_transition_and_large_pages(x86: PagedMemory) -> None:
    assert x86.read(0x80000000, 10) == b"valid page"
    assert x86.read(0x80001000, 15) == b"transition page"
    assert x86.read(0x80401000, 24) == b"second of the large page"


@pytest.mark.parametrize(
    ("va", "why"),
    [
        (0x80002000, "pagefile"),
        (0x80003000, "demand zero"),
        (0x80004000, "prototype"),
        (0x80005000, "prototype"),
        (0x80006000, "none"),
        (0x80007000, "page not in the image"),
        (0x80800000, "absent"),
        (0x90000000, "none"),
    ],
)
def test_x86_says_why_memory_is_absent(x86: PagedMemory, va: int, why: str) -> None:
    with pytest.raises(AbsentMemory, match=why) as caught:
        x86.read(va, 4)
    assert caught.value.address == va


def test_x86_read_across_pages_stops_at_the_first_absent_one(x86: PagedMemory) -> None:
    with pytest.raises(AbsentMemory) as caught:
        x86.read(0x80001FF0, 32)
    assert caught.value.address == 0x80002000
    data, known = x86.read_masked(0x80001FF0, 32)
    assert known.tolist() == [True] * 16 + [False] * 16
    assert not data[16:].any()


def test_x86_enumerates_states(x86: PagedMemory) -> None:
    pages = x86.pages_in(0x80000000, 0x80400000)
    assert pages.va.tolist() == [0x80000000 + i * PAGE for i in (0, 1, 2, 3, 4, 5, 7)]
    assert pages.state.tolist() == [
        PageState.VALID,
        PageState.TRANSITION,
        PageState.PAGEFILE,
        PageState.DEMAND_ZERO,
        PageState.PROTOTYPE,
        PageState.PROTOTYPE,
        PageState.VALID,
    ]
    assert pages.pfn.tolist() == [3, 4, -1, -1, -1, -1, 8]


def test_x86_enumerates_large_pages_and_cuts_them_at_the_range(x86: PagedMemory) -> None:
    pages = x86.pages_in(0x80402000, 0x80405000)
    assert pages.va.tolist() == [0x80402000, 0x80403000, 0x80404000]
    assert pages.pfn.tolist() == [0x402, 0x403, 0x404]


def test_x86_page_table_that_is_not_in_the_image_is_unknown(x86: PagedMemory) -> None:
    pages = x86.pages_in(0x80800000, 0x80803000)
    assert pages.state.tolist() == [PageState.ABSENT] * 3


def test_x86_pse36_large_page_above_4_gb() -> None:
    directory = table({0x200: 0x004000E3 | (0x5 << 13)}, 4)
    space = PagedMemory(memory_of({1: directory}, 16), X86, 0x1000)
    pas, states = space.translate(np.array([0x80001234], np.uint64))
    assert [hex(int(pa)) for pa in pas] == ["0x500401234"]
    assert states.tolist() == [PageState.VALID]


@pytest.fixture
def pae() -> PagedMemory:
    """A PDPT that is not page aligned; 0xE1000000 mapped by a page table, 0xE1200000 a 2 MB page."""
    pdpt = b"\0" * 0x40 + b"".join((frame << 12 | 1).to_bytes(8, "little") for frame in (4, 5, 6, 7))
    directory3 = table(
        {0: 0x4063, 1: 0x5063, 2: 0x6063, 3: 0x7063, 0x108: 0x8063, 0x109: 0x80000000006000E3}, 8
    )
    leaf = table({0: 0x8000000000009063, 1: (0x12345 << 32) | 0x80 | 2, 2: 0xA000 | 0x800}, 8)
    pages = {3: pdpt, 4: b"", 5: b"", 6: b"", 7: directory3, 8: leaf, 9: b"nx page", 0xA: b"moving"}
    return PagedMemory(memory_of(pages, 0x1000), PAE, 0x3040)


def test_pae_reads_through_an_unaligned_pdpt_and_masks_no_execute(pae: PagedMemory) -> None:
    assert pae.read(0xE1000000, 7) == b"nx page"
    assert pae.read(0xE1002000, 6) == b"moving"
    pas, _ = pae.translate(np.array([0xE1200123], np.uint64))
    assert int(pas[0]) == 0x600123


def test_pae_enumerates(pae: PagedMemory) -> None:
    pages = pae.pages_in(0xE1000000, 0xE1003000)
    assert pages.state.tolist() == [PageState.VALID, PageState.PAGEFILE, PageState.TRANSITION]
    assert pages.pfn.tolist() == [9, -1, 0xA]


def test_pae_space_from_directories_alone(pae: PagedMemory) -> None:
    rows, _ = pae.physical.pages(np.array([7]))
    (candidate,) = dtb.find_in(rows, np.array([7], np.int64))
    assert candidate.paging is PAE
    assert candidate.open(pae.physical).read(0xE1000000, 7) == b"nx page"


@pytest.fixture
def x64() -> PagedMemory:
    """0xFFFFF880_00000000 (PML4 0x1F1) by four levels; 2 MB page behind it; self map at 0x1ED."""
    pml4 = table({0x1ED: 0x1063, 0x1F1: 0x2063}, 8)
    pages = {
        1: pml4,
        2: table({0: 0x3063}, 8),
        3: table({0: 0x4063, 1: 0x8000000000A001E3}, 8),
        4: table({0: 0x8000000000005063, 1: 0x6000 | 0x800, 511: 0x80}, 8),
        5: b"x64 page",
        6: b"x64 transition",
    }
    return PagedMemory(memory_of(pages, 0x1000), X64, 0x1000)


def test_x64_reads_and_enumerates(x64: PagedMemory) -> None:
    base = 0xFFFFF880_00000000
    assert x64.read(base, 8) == b"x64 page"
    assert x64.read(base + PAGE, 14) == b"x64 transition"
    pages = x64.pages_in(base, base + (4 << 20))
    assert pages.va[:3].tolist() == [base, base + PAGE, base + 511 * PAGE]
    assert pages.state[:3].tolist() == [PageState.VALID, PageState.TRANSITION, PageState.DEMAND_ZERO]
    assert len(pages.va) == 3 + 512
    assert pages.pfn[3] == 0xA00 and pages.va[3] == base + (2 << 20)


def test_x64_range_up_to_the_end_of_the_address_space(x64: PagedMemory) -> None:
    assert len(x64.pages_in(0xFFFFFFFF_FFE00000, 1 << 64).va) == 0


def test_x64_pool_under_a_lost_table_of_512_gb_keeps_a_mark(x64: PagedMemory) -> None:
    """PML4 entry 0x1F2 names a table that is not in the image: 1,024 unknown pages, then 134 million."""
    rows, _ = x64.physical.pages(np.array([1]))
    lost = rows[0].copy()
    lost[0x1F2 * 8 : 0x1F2 * 8 + 8] = list((0x777063).to_bytes(8, "little"))
    space = PagedMemory(memory_of({1: lost.tobytes()}, 16), X64, 0x1000)
    small = space.pages_in(0xFFFFF900_12345000, 0xFFFFF900_12345000 + (4 << 20))
    assert small.va[0] == 0xFFFFF900_12345000
    assert small.state.tolist() == [PageState.ABSENT] * 1024
    whole = space.pages_in(0xFFFFF900_00000000, 0xFFFFF980_00000000)
    assert 0 < len(whole.va) <= 70000
    assert set(whole.state.tolist()) == {PageState.ABSENT}


def test_tables_that_loop_end(x64: PagedMemory) -> None:
    """Every level's table maps itself: a walk follows each table once."""
    loop = table(dict.fromkeys(range(512), 0x1063), 8)
    space = PagedMemory(memory_of({1: loop}, 16), X64, 0x1000)
    pages = space.pages_in(0xFFFF8000_00000000, 1 << 64)
    assert pages.looped > 0
    assert len(pages.va) <= 512


@pytest.mark.parametrize(("mode", "base"), [(X86, 0x1000), (PAE, 0x3040), (X64, 0x1000)])
def test_self_map_verifies(mode: Paging, base: int, request: pytest.FixtureRequest) -> None:
    space: PagedMemory = request.getfixturevalue(mode.name)
    assert dtb.verify(space.physical, mode, base)
    assert not dtb.verify(space.physical, mode, 0x2000)
    assert not dtb.verify(space.physical, mode, 0xFFF000)


def test_self_map_at_another_place() -> None:
    """Windows 10 from 1607 on: root at 0x2000, its entry 0x1A3 names it; 0x1A3 << 39, sign extended,
    is 0xFFFFD180_00000000. A lower half entry that does the same is a user's and no self map."""
    lower = table({0xA3: 0x1063}, 8)
    memory = memory_of({1: lower, 2: table({0x1A3: 0x80000000_00002063}, 8)}, 16)
    rows, _ = memory.pages(np.array([1, 2]))
    found = list(dtb.find_moved(rows, np.array([1, 2])))
    assert [(candidate.paging, candidate.dtb) for candidate in found] == [(X64, 0x2000)]
    settled = dtb.settle(memory, X64, 0x2000)
    assert settled is not None and settled.self_map == 0xFFFFD180_00000000
    assert dtb.settle(memory, X64, 0x1000) is None
    assert not list(dtb.find_in(rows, np.array([1, 2])))


def test_chunks_cross_runs() -> None:
    memory = memory_of({1: b"", 5: b"", 6: b"", 9: b""}, 16)
    assert [chunk.tolist() for chunk in dtb.chunks(memory, 3)] == [[1, 5, 6], [9]]
