"""The walk over a machine's pool ranges: what is counted, left out, widened to, or unknown."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from dumpscan.errors import UsageError
from dumpscan.memory.c_pte import PageState
from dumpscan.model import BigUse, PageStates, PoolUse
from dumpscan.pool.allocations import Filter, allocations, read_content
from dumpscan.pool.bigpages import read_big_pages
from dumpscan.pool.census import tags_from_pages, take_census, walked_tags
from dumpscan.pool.pages import walk_pool
from dumpscan.pool.ranges import pool_ranges
from dumpscan.pool.tables import PoolTables
from tests.pool.machine import HandMemory, kernel
from tests.pool.test_chains import DRIV, IOSE, PP, x86

PAGED, NONPAGED = 0xE1000000, 0x81000000
NAMES = ("MmPagedPoolStart", "MmPagedPoolEnd", "MmNonPagedPoolStart", "MmNonPagedPoolEnd")
VARIABLES = {name: 0x80500000 + 4 * i for i, name in enumerate(NAMES)}
INFO, MAP, ENDS = 0x80500100, 0x80501000, 0x80502000


def half_page(tag: int, kind: int, index: int = 0) -> bytes:
    """A block of 2048 bytes with ``tag`` and type ``kind``, then 2048 free bytes."""
    data = bytearray(4096)
    data[0:8] = x86(0, index, 256, kind, tag)
    data[2048:2056] = x86(256, index, 256, 0, PP)
    return bytes(data)


def xp() -> HandMemory:
    """Nonpaged pool 0x81000000..0x81010000 (one stretch), paged pool 0xE1000000..0xE1010000."""
    memory = HandMemory()
    memory.put_u32(0x80500000, PAGED, PAGED + 0xFFFF, NONPAGED, NONPAGED + 0x10000)
    memory.put_u32(0x80500010, 0)
    return memory


def walk(memory: HandMemory, variables: dict[str, int] = VARIABLES, build: int = 2600) -> dict[str, object]:
    found = walk_pool(kernel(memory, build, variables), None)
    assert found is not None
    tags = walked_tags(found.blocks, None)
    return {use.tag: (use.nonpaged.outstanding, use.nonpaged.bytes, use.paged.outstanding, use.paged.bytes)
            for use in tags}


def test_both_pools_are_counted_by_the_blocks_types() -> None:
    memory = xp()
    memory.put(NONPAGED, half_page(DRIV, 5))
    memory.put(PAGED, half_page(IOSE, 6, index=1))
    memory.put(PAGED + 0x3000, half_page(IOSE, 6, index=2))
    assert walk(memory) == {"Driv": (1, 2048, 0, 0), "IoSe": (0, 0, 2, 4096)}


def test_freed_blocks_and_unmapped_pages_are_not_counted() -> None:
    memory = xp()
    memory.put(PAGED, half_page(IOSE, 2))  # freed to a lookaside list: in-use bit clear
    memory.put(PAGED + 0x1000, half_page(PP, 0))  # free
    memory.put(PAGED + 0x2000, half_page(PP, 6))
    memory.mark(PAGED + 0x2000, PageState.PAGEFILE)  # content lies about, but the page is gone
    assert walk(memory) == {}


def test_states_and_coverage() -> None:
    memory = xp()
    memory.put(PAGED, half_page(IOSE, 6))
    memory.put(PAGED + 0x1000, half_page(IOSE, 6))
    memory.mark(PAGED + 0x1000, PageState.TRANSITION)
    memory.mark(PAGED + 0x2000, PageState.PAGEFILE)
    memory.mark(PAGED + 0x3000, PageState.DEMAND_ZERO)
    memory.mark(PAGED + 0x4000, PageState.VALID)  # not in the image
    found = take_census(kernel(memory, 2600, VARIABLES), "pages").pool
    assert found.page_states["paged"] == PageStates(valid=2, transition=1, pagefile=1, demand_zero=1)
    assert found.page_states["nonpaged"] == PageStates()
    # Two pages of four with content; a demand-zero page has none.
    assert found.coverage.paged_pages == 0.5
    assert found.coverage.nonpaged_pages is None
    assert found.tags[0].paged == PoolUse(None, None, 2, 4096, None)
    assert found.tags[0].source == "pages"
    assert any("2 pages of paged pool" in note for note in found.notes)


def test_xp_quota_block_without_a_tag() -> None:
    # Type 14 is paged, quota, in use. 0x810E1020 is a process address, 0xF6697244 the tag 'Driv'.
    memory = xp()
    memory.put(PAGED, half_page(0x810E1020, 14))
    memory.put(PAGED + 0x1000, half_page(0x810E2350, 14))
    memory.put(PAGED + 0x2000, half_page(DRIV, 14))
    memory.put(PAGED + 0x3000, half_page(0x810E1020, 6))
    assert walk(memory) == {
        "?quo": (0, 0, 2, 4096), "Driv": (0, 0, 1, 2048), r" \x10\x0e\x01": (0, 0, 1, 2048)
    }


def test_damaged_pages_are_reported_and_not_counted() -> None:
    memory = xp()
    memory.put(PAGED, half_page(IOSE, 6))
    page = bytearray(half_page(IOSE, 6))
    page[2048:2056] = x86(256, 0, 128, 0, 0)
    page[3072:3080] = x86(7, 0, 128, 0, 0)  # should be 128
    memory.put(PAGED + 0x1000, bytes(page))
    memory.put(PAGED + 0x2000, bytes(4096))  # no pool page at all
    found = walk_pool(kernel(memory, 2600, VARIABLES), None)
    assert found is not None
    assert found.damaged.va.tolist() == [PAGED + 0x1000]
    assert found.damaged.reach.tolist() == [3072]
    assert found.foreign.tolist() == [PAGED + 0x2000]
    assert found.small_pages == {"paged": 1, "nonpaged": 0}
    assert "0xe1001000 after 3072 bytes" in " ".join(found.notes)


def test_a_page_mapped_twice_is_counted_once() -> None:
    memory = xp()
    memory.put(PAGED, half_page(IOSE, 6))
    pages = memory.pages_in

    def twice(start: int, end: int) -> object:
        found = pages(start, end)
        if not start <= PAGED < end:
            return found
        return type(found)(
            np.append(found.va, np.uint64(PAGED + 0x8000)), np.append(found.pfn, found.pfn[:1]),
            np.append(found.state, np.uint8(PageState.VALID)),
        )

    memory.pages_in = twice  # type: ignore[method-assign, assignment]
    assert walk(memory) == {"IoSe": (0, 0, 1, 2048)}


def test_old_pool_pages_inside_large_allocations_are_left_out() -> None:
    memory = xp()
    memory.put(PAGED, half_page(IOSE, 6))
    memory.put(PAGED + 0x1000, half_page(IOSE, 6))
    memory.put(PAGED + 0x2000, half_page(IOSE, 6))
    memory.put_u32(0x80600000, PAGED + 0x1000, PP, 2)
    machine = kernel(memory, 2600, VARIABLES)
    big = read_big_pages(machine, PoolTables("on", big=0x80600000, big_size=64))
    found = walk_pool(machine, big)
    assert found is not None
    assert found.small_pages == {"paged": 1, "nonpaged": 0}
    assert [(use.tag, use.paged) for use in walked_tags(found.blocks, big)] == [
        ("IoSe", PoolUse(None, None, 1, 2048, BigUse())), ("Pp  ", PoolUse(None, None, 0, 0, BigUse(1, 8192)))
    ]


def bitmaps(memory: HandMemory, allocated: int, ends: int) -> dict[str, int]:
    """XP's two bitmaps of 16 pages (facts section 7), bit n of the argument is page n."""
    memory.put_u32(INFO, MAP, ENDS)
    memory.put_u32(MAP, 16, MAP + 8, allocated)
    memory.put_u32(ENDS, 16, ENDS + 8, ends)
    return {**VARIABLES, "MmPagedPoolInformation": INFO}


def test_bitmaps_keep_large_allocations_apart_and_size_them() -> None:
    # Pages 0-4 small, 5-7 one allocation of three pages with an old small-block page in it, 9 an
    # allocation of one page that is no chain, 10-11 paged out, 12 free with old content.
    memory = xp()
    for page in (0, 1, 2, 3, 4, 6, 12):
        memory.put(PAGED + page * 4096, half_page(IOSE, 6))
    for page in (5, 7, 9):
        memory.put(PAGED + page * 4096, b"\xcc" * 4096)
    for page in (10, 11):
        memory.mark(PAGED + page * 4096, PageState.PAGEFILE)
    variables = bitmaps(memory, 0b0000_1110_1111_1111, 0b0000_1010_1001_1111)
    assert walk(memory, variables) == {"IoSe": (0, 0, 5, 5 * 2048)}
    found = take_census(kernel(memory, 2600, variables), "pages").pool
    assert found.untracked["paged"] == BigUse(3, 6 * 4096)
    assert set(found.untracked) == {"paged", "nonpaged"}  # no nonpaged page exists: zero is known


def test_bitmaps_that_contradict_the_pages_are_not_believed() -> None:
    memory = xp()
    for page in range(6):
        memory.put(PAGED + page * 4096, half_page(IOSE, 6))
    variables = bitmaps(memory, 0b111111, 0b100000)  # one allocation of six pages
    assert walk(memory, variables) == {"IoSe": (0, 0, 6, 6 * 2048)}
    assert "paged" not in take_census(kernel(memory, 2600, variables), "pages").pool.untracked


def pfn_database(memory: HandMemory, marks: dict[int, int]) -> dict[str, int]:
    """XP's entries of 0x18 bytes: flags at +0xC, bit 1 start, bit 2 end. Key: page frame."""
    memory.put_u32(0x80500020, 0x90000000)
    for pfn, bits in marks.items():
        memory.put_u32(0x90000000 + pfn * 0x18 + 0xC, bits)
    return {**VARIABLES, "MmPfnDatabase": 0x80500020}


def test_pfn_marks_size_nonpaged_allocations() -> None:
    memory = xp()
    for page in range(5):
        memory.put(NONPAGED + page * 4096, half_page(DRIV, 5))
    memory.put(NONPAGED + 5 * 4096, half_page(DRIV, 5))  # old content, first of two pages
    memory.put(NONPAGED + 6 * 4096, b"\xcc" * 4096)
    frames = memory.pages_in(NONPAGED, NONPAGED + 0x10000).pfn.tolist()
    marks = dict.fromkeys(frames[:5], 6) | {frames[5]: 2, frames[6]: 4}
    variables = pfn_database(memory, marks)
    assert walk(memory, variables) == {"Driv": (5, 5 * 2048, 0, 0)}
    found = take_census(kernel(memory, 2600, variables), "pages").pool
    assert found.untracked["nonpaged"] == BigUse(1, 8192)


def test_vista_x86_pool_beyond_the_variables_is_found() -> None:
    # facts section 6: pool of either kind can be anywhere in Vista's system space.
    memory = xp()
    memory.put(PAGED, half_page(IOSE, 3))
    memory.put(0x95000000, half_page(IOSE, 3))
    memory.put(0x96000000, half_page(DRIV, 2))
    memory.put(0xC0001000, half_page(PP, 3))  # inside the page tables' own range
    assert walk(memory, build=6000) == {"IoSe": (0, 0, 2, 4096), "Driv": (1, 2048, 0, 0)}
    # XP's pools lie where its variables say.
    memory = xp()
    memory.put(PAGED, half_page(IOSE, 6))
    memory.put(0x95000000, half_page(IOSE, 6))
    assert walk(memory) == {"IoSe": (0, 0, 1, 2048)}


def test_unknown_ranges_are_said() -> None:
    found = take_census(kernel(xp(), 2600, {}), "pages").pool
    assert found.tags == ()
    assert any("address ranges of the pools are not known" in note for note in found.notes)


def test_the_hole_between_the_nonpaged_ranges_of_xp() -> None:
    # Start 0x810E0000, End 0xFFBE0000, maximum 32 MB, system PTEs end at 0xFDFDFFFF: the expansion
    # range is 28 MB, so the initial one is 4 MB (figures of acceptance image a01).
    memory = HandMemory()
    memory.put_u32(0x80500000, PAGED, PAGED + 0xFFFF, 0x810E0000, 0xFFBE0000, 0x2000000, 0xFDFDFFFF)
    memory.mark(0x810E0000, PageState.VALID)
    for page in range(0x810E0000, 0x81600000, 4096):
        memory.mark(page, PageState.VALID)
    variables = {**VARIABLES, "MmMaximumNonPagedPoolInBytes": 0x80500010, "MmSystemPtesEnd": 0x80500014}
    found = [(r.start, r.end, r.paged) for r in pool_ranges(kernel(memory, 2600, variables))]
    assert found == [
        (0x810E0000, 0x814E0000, False), (0xFDFE0000, 0xFFBE0000, False), (PAGED, PAGED + 0x10000, True)
    ]


def test_symbols_name_the_nonpaged_ranges() -> None:
    memory = xp()
    memory.put_u32(0x80500030, NONPAGED + 0x2000, NONPAGED + 0x8000)
    symbols = {"MmNonPagedPoolEnd0": 0x80500030, "MmNonPagedPoolExpansionStart": 0x80500034}
    found = [(r.start, r.end) for r in pool_ranges(kernel(memory, 2600, VARIABLES, symbols=symbols))]
    assert found[:2] == [(NONPAGED, NONPAGED + 0x2000), (NONPAGED + 0x8000, NONPAGED + 0x10000)]


def listed(memory: HandMemory, wanted: Filter | None = None) -> list[tuple[int, int, str, bool]]:
    found = []
    for batch in allocations(kernel(memory, 2600, VARIABLES), wanted):
        arrays = (batch.va.tolist(), batch.size.tolist(), batch.names(), batch.paged.tolist())
        found += list(zip(*arrays, strict=True))
    return found


def test_allocations_and_filters() -> None:
    memory = xp()
    memory.put(NONPAGED, half_page(DRIV, 5))
    page = bytearray(4096)
    page[0:8] = x86(0, 1, 15, 6, IOSE)
    page[120:128] = x86(15, 1, 497, 6, PP)
    memory.put(PAGED, bytes(page))
    everything = [
        (NONPAGED, 2048, "Driv", False), (PAGED, 120, "IoSe", True), (PAGED + 120, 3976, "Pp  ", True)
    ]
    assert listed(memory) == everything
    assert listed(memory, Filter(tags=("Io*", "Pp??"))) == everything[1:]
    assert listed(memory, Filter(min_size=2000)) == [everything[0], everything[2]]
    assert listed(memory, Filter(pool="nonpaged")) == everything[:1]
    assert listed(memory, Filter(big=True)) == []
    with pytest.raises(UsageError, match="paged or nonpaged"):
        listed(memory, Filter(pool="session"))


def test_content_leaves_out_the_header_and_counts_what_is_missing() -> None:
    memory = xp()
    memory.put(PAGED + 4088, x86(0, 0, 2, 6, IOSE) + struct.pack("<Q", 0x1122334455667788))
    machine = kernel(memory, 2600, VARIABLES)
    assert read_content(machine, PAGED + 4088, 16, 8) == (bytes.fromhex("8877665544332211"), 0)
    memory.drop(PAGED + 4096)
    assert read_content(machine, PAGED + 4088, 16, 8) == (bytes(8), 8)


def test_an_unknown_mode_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="auto, tables, pages"):
        take_census(kernel(xp(), 2600, VARIABLES), "guess")


def test_tags_from_pages() -> None:
    memory = xp()
    memory.put(PAGED, half_page(IOSE, 6))
    assert [use.tag for use in tags_from_pages(kernel(memory, 2600, VARIABLES))] == ["IoSe"]
