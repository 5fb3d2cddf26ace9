"""Itanium page tables written by hand, entry by entry, and the direct windows.

Indices and bits restated from facts/ia64.md 2 and 3. 0xE0000165_00004000: the low 43 bits are
0x165_00004000, so the root index is 0x165 / 2 = 0xB2, the second 0x100000000 >> 23 = 0x200, the third 2.
"""

from __future__ import annotations

import numpy as np
import pytest

from dumpscan.errors import AbsentMemory
from dumpscan.image.physical import FileMemory
from dumpscan.memory import virtual
from dumpscan.memory.c_pte import PageState
from dumpscan.memory.ia64 import Ia64Memory

PAGE = 8192
VALID = 0x661  # valid, accessed, dirty, write access; the memory attribute is 0
BASE = 0xE0000165_00000000


def memory_of(pages: dict[int, bytes]) -> FileMemory:
    """Physical memory holding exactly ``pages`` (by page frame number), in one file."""
    frames = sorted(pages)
    data = b"".join(pages[frame].ljust(PAGE, b"\0") for frame in frames)
    return FileMemory(
        np.frombuffer(data, np.uint8),
        np.array(frames, np.int64),
        np.ones(len(frames), np.int64),
        np.arange(len(frames), dtype=np.int64) * PAGE,
        PAGE,
    )


def table(entries: dict[int, int]) -> bytes:
    page = bytearray(PAGE)
    for index, value in entries.items():
        page[index * 8 : index * 8 + 8] = value.to_bytes(8, "little")
    return bytes(page)


def entry(frame: int, bits: int = VALID) -> int:
    return frame << 13 | bits


def address(*indices: int) -> int:
    root, middle, leaf = indices
    return 0xE0000000_00000000 + (root << 33) + (middle << 23) + (leaf << 13)


@pytest.fixture
def space() -> Ia64Memory:
    """Root at frame 2. BASE is mapped by tables 3 and 4, BASE + 8 MB by a large page at 0x1000000."""
    root = table({0xB2: entry(3), 0xB3: entry(3, 0x80), 0xB4: entry(0x77), 894: entry(2)})
    middle = table(
        {0x200: entry(4), 0x201: entry(0x800, VALID | 4), 0x202: entry(4, 0x80), 0x203: 0x700000000}
    )
    leaf = table(
        {
            0: entry(5),
            1: entry(6, 0x80),  # transition: bit 7
            2: entry(5, VALID | 4),  # bit 2 is a memory attribute here, not a large page
            3: 0x2 | 0x80 | 0x12345 << 12,  # prototype: bit 1 wins over bit 7
            4: 0x1234 << 32,  # page file, offset 0x1234
            5: 0x200,  # protection alone: demand zero
            7: entry(0x99),  # valid, but the page is not in the image
            8: 1 << 63 | 1 << 52 | entry(7),  # software's bits and exception deferral
        }
    )
    contents = {
        2: root, 3: middle, 4: leaf, 5: b"valid", 6: b"moving", 7: b"high", 0x803: b"fourth of a large page",
    }  # fmt: skip
    return Ia64Memory(memory_of(contents), 0x4123)


def test_tables_are_walked_by_43_bits(space: Ia64Memory) -> None:
    assert space.dtb == 0x4000, "the low 13 bits of the root are ignored"
    assert address(0xB2, 0x200, 0) == BASE
    assert space.read(BASE, 5) == b"valid"
    assert space.read(BASE + 0x2000, 6) == b"moving"
    assert space.read(BASE + 0x4000, 5) == b"valid"
    assert space.read(BASE + 0x10000, 4) == b"high"
    assert space.read(BASE + 0x806000, 22) == b"fourth of a large page"
    # The bits above the walked ones make no difference.
    assert space.read(BASE & (1 << 43) - 1 | 0xFFFFF800_00000000, 5) == b"valid"


@pytest.mark.parametrize(
    ("va", "why"),
    [
        (BASE + 0x6000, "prototype"),
        (BASE + 0x8000, "pagefile"),
        (BASE + 0xA000, "demand zero"),
        (BASE + 0xC000, "none"),
        (BASE + 0xE000, "page not in the image"),
        (BASE + 0x800000, "page not in the image"),
        (address(0xB3, 0, 0), "absent"),  # transition ends the walk above the third level
        (address(0xB2, 0x202, 0), "absent"),
        (address(0xB2, 0x203, 0), "absent"),
        (address(0xB4, 0, 0), "absent"),  # the table is not in the image
        (address(0xB5, 0, 0), "none"),
        (0x00000000_00010000, "absent"),  # user space has its own root
        (0x20000000_00010000, "absent"),  # session space too
        (0x40000000_00000000, "none"),  # regions 2, 3 and 6 are not used
        (0x80001000_00000000, "none"),  # behind the window: tables, empty there
    ],
)
def test_why_memory_is_absent(space: Ia64Memory, va: int, why: str) -> None:
    with pytest.raises(AbsentMemory, match=why):
        space.read(va, 4)


def test_direct_windows(space: Ia64Memory) -> None:
    assert space.read(0x80000000_0000A000, 5) == b"valid"
    assert space.read(0xA0000000_0000C000, 6) == b"moving"
    assert space.read(0xE0000000_8000A000, 5) == b"valid"
    moved = Ia64Memory(space.physical, space.dtb, kseg0=0x1000000)
    assert moved.read(0xE0000000_80006000, 22) == b"fourth of a large page"
    assert moved.read(0x80000000_0000A000, 5) == b"valid"
    vas = np.array([0xE0000000_7FFFFFFF, 0xE0000000_BFFFFFFF, 0xE0000000_C0000000], np.uint64)
    pas, states = moved.translate(vas)
    assert states.tolist() == [PageState.NONE, PageState.VALID, PageState.NONE]
    assert pas.tolist() == [0, 0x1000000 + 0x3FFFFFFF, 0]


def test_ranges_are_enumerated_with_their_states(space: Ia64Memory) -> None:
    pages = space.pages_in(BASE, BASE + 0x40000)
    assert [int(va) - BASE >> 13 for va in pages.va] == [0, 1, 2, 3, 4, 5, 7, 8]
    assert [PageState(int(s)).name for s in pages.state] == [
        "VALID", "TRANSITION", "VALID", "PROTOTYPE", "PAGEFILE", "DEMAND_ZERO", "VALID", "VALID",
    ]  # fmt: skip
    assert pages.pfn.tolist() == [5, 6, 5, -1, -1, -1, 0x99, 7]
    large = space.pages_in(BASE + 0x802000, BASE + 0x808000)
    assert [hex(int(va) - BASE) for va in large.va] == ["0x802000", "0x804000", "0x806000"]


def test_a_large_page_is_8_mb(space: Ia64Memory) -> None:
    pages = space.pages_in(BASE + 0x800000, BASE + 0x1000000)
    assert len(pages.va) == 1024
    assert (int(pages.pfn[0]), int(pages.pfn[-1])) == (0x800, 0xBFF)


def test_tables_that_are_not_there_are_unknown(space: Ia64Memory) -> None:
    start = address(0xB4, 0, 0)
    pages = space.pages_in(start, start + 3 * PAGE)
    assert pages.va.tolist() == [start, start + PAGE, start + 2 * PAGE]
    assert pages.state.tolist() == [PageState.ABSENT] * 3


def test_a_window_lists_what_the_image_holds_and_the_gaps(space: Ia64Memory) -> None:
    pages = space.pages_in(0xE0000000_80008000, 0xE0000000_80014000)
    assert pages.va.tolist() == [0xE0000000_80008000 + i * PAGE for i in range(6)]
    assert pages.pfn.tolist() == [4, 5, 6, 7, -1, -1]
    assert pages.state.tolist() == [PageState.VALID] * 4 + [PageState.ABSENT] * 2
    # Behind the last page of the image too: a dump that was cut off lacks what was there.
    behind = space.pages_in(0xE0000000_A0000000, 0xE0000000_A0006000)
    assert behind.state.tolist() == [PageState.ABSENT] * 3


def test_a_lying_range_is_bounded(space: Ia64Memory) -> None:
    """The whole address space: no more marks than a window's and a lost span's share each."""
    pages = space.pages_in(0, 1 << 64)
    assert len(pages.va) < 1 << 20
    assert bool((pages.va[1:] >= pages.va[:-1]).all())


def test_tables_that_loop_end() -> None:
    """A root all of whose entries lead to itself, as tables and as pages."""
    loop = Ia64Memory(memory_of({2: table(dict.fromkeys(range(1024), entry(2)))}), 0x4000)
    pages = loop.pages_in(address(1, 0, 0), 0xE0000800_00000000)
    # 1,023 entries of the root name one table, so do 1,024 of that one.
    assert pages.looped == 1022 + 1023
    assert pages.pfn.tolist() == [2] * 1024
    assert loop.read(0xE0000000_00000000, 8) == entry(2).to_bytes(8, "little")


def test_no_more_large_pages_are_cut_up_than_a_machine_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four large pages where two are the most: of the other two nothing is said but that they are there."""
    monkeypatch.setattr(virtual, "_MOST_BY_LARGE", 2048)
    middle = table({index: entry(0x400 * index, VALID | 4) for index in range(4)})
    memory = Ia64Memory(memory_of({2: table({1: entry(3)}), 3: middle}), 0x4000)
    start = address(1, 0, 0)
    pages = memory.pages_in(start, start + (4 << 23))
    valid = pages.state == PageState.VALID
    assert pages.pfn[valid].tolist() == list(range(0x800))
    assert int(pages.va[~valid][0]) == start + (2 << 23)
    assert set(pages.state[~valid].tolist()) == {int(PageState.ABSENT)}
