"""Tracker tables: summing over processors with wrap-around, expansion, overflow, missing parts.

Entry of 28 bytes on x86 (facts/pool-structures.md): Key, NonPagedAllocs, NonPagedFrees,
NonPagedBytes, PagedAllocs, PagedFrees, PagedBytes, all u32. On x64 40 bytes: bytes are u64 at 0x10
and 0x20, allocations and frees u32 at 4, 8, 0x18, 0x1C.
"""

from __future__ import annotations

import struct

import pytest

from dumpscan.model import PoolUse
from dumpscan.pool.tables import PoolTables
from dumpscan.pool.tracker import Tracker, read_tracker
from tests.pool.machine import HandMemory, kernel

IOSE, PP, OVFL = 0x65536F49, 0x20207050, 0x6C66764F
FIRST, SECOND, EXTRA = 0x81000000, 0xF7A00000, 0x81200000
SIZE = 257
MINUS = 1 << 32


def read(memory: HandMemory, *tables: int | None, build: int = 6000, expansion: int = 0) -> Tracker:
    found = PoolTables(
        "on", FIRST, SIZE, tables, EXTRA if expansion else None, expansion, None, 0
    )
    tracker = read_tracker(kernel(memory, build, {}), found)
    assert tracker is not None
    return tracker


def table(memory: HandMemory, at: int, rows: dict[int, tuple[int, ...]]) -> None:
    memory.put(at, bytes(SIZE * 28))
    for slot, row in rows.items():
        memory.put_u32(at + slot * 28, *row)


def by_tag(tracker: Tracker) -> dict[str, tuple[PoolUse, PoolUse]]:
    return {use.tag: (use.nonpaged, use.paged) for use in tracker.tags()}


def test_one_table() -> None:
    memory = HandMemory()
    table(memory, FIRST, {5: (IOSE, 2, 1, 3, 40, 10, 3600), 9: (PP, 7, 0, 112, 0, 0, 0)})
    tracker = read(memory, FIRST)
    assert by_tag(tracker) == {
        "IoSe": (PoolUse(2, 1, 1, 3), PoolUse(40, 10, 30, 3600)),
        "Pp  ": (PoolUse(7, 0, 7, 112), PoolUse(0, 0, 0, 0)),
    }
    assert tracker.complete
    assert tracker.coverage == 1.0
    assert tracker.overflow_use() is None


def test_processors_are_summed_modulo_the_counters_width() -> None:
    # Processor 1 frees what processor 0 allocated: 100 allocated, 60 freed elsewhere, bytes 12000 - 7200.
    memory = HandMemory()
    table(memory, FIRST, {5: (IOSE, 0, 0, 0, 100, 0, 12000)})
    table(memory, SECOND, {5: (IOSE, 0, 0, 0, 0, 60, MINUS - 7200), 9: (PP, 3, 1, 32, 0, 0, 0)})
    assert by_tag(read(memory, FIRST, SECOND)) == {
        "IoSe": (PoolUse(0, 0, 0, 0), PoolUse(100, 60, 40, 4800)),
        "Pp  ": (PoolUse(3, 1, 2, 32), PoolUse(0, 0, 0, 0)),
    }


def test_counters_that_wrapped() -> None:
    memory = HandMemory()
    table(memory, FIRST, {5: (IOSE, 0, 0, 0, 5, MINUS - 10, 0)})
    assert by_tag(read(memory, FIRST))["IoSe"][1].outstanding == 15


def test_x64_bytes_are_64_bit() -> None:
    memory = HandMemory(pointer_size=8)
    memory.put(FIRST, bytes(SIZE * 40))
    memory.put(SECOND, bytes(SIZE * 40))
    row = "<IIIxxxxQIIQ"
    memory.put(FIRST, struct.pack(row, IOSE, 1, 2, 1 << 33, 9, 3, 5 << 32))
    memory.put(SECOND, struct.pack(row, IOSE, 4, 0, 0, 1, 0, (1 << 64) - (1 << 32)))
    found = by_tag(read(memory, FIRST, SECOND, build=6001))
    assert found == {"IoSe": (PoolUse(5, 2, 3, 1 << 33), PoolUse(10, 3, 7, 4 << 32))}


def test_expansion_rows_are_added_by_tag() -> None:
    memory = HandMemory()
    table(memory, FIRST, {5: (IOSE, 0, 0, 0, 10, 0, 1200)})
    memory.put_u32(EXTRA, IOSE, 0, 0, 0, 1, 0, 120)
    memory.put_u32(EXTRA + 28, PP, 2, 0, 64, 0, 0, 0)
    memory.put_u32(EXTRA + 56, 0, 0, 0, 0, 0, 0, 0)
    assert by_tag(read(memory, FIRST, expansion=3)) == {
        "IoSe": (PoolUse(0, 0, 0, 0), PoolUse(11, 0, 11, 1320)),
        "Pp  ": (PoolUse(2, 0, 2, 64), PoolUse(0, 0, 0, 0)),
    }


def test_the_overflow_slot_is_shown_apart() -> None:
    # facts section 3: allocations go to the first table's last slot, frees to the processor's own.
    memory = HandMemory()
    table(memory, FIRST, {5: (IOSE, 0, 0, 0, 1, 0, 120), 256: (OVFL, 50, 0, 5000, 8, 0, 800)})
    table(memory, SECOND, {256: (0, 0, 20, MINUS - 2000, 0, 3, MINUS - 300)})
    tracker = read(memory, FIRST, SECOND)
    assert list(by_tag(tracker)) == ["IoSe"]
    overflow = tracker.overflow_use()
    assert overflow is not None
    assert overflow.tag == "Ovfl"
    assert (overflow.nonpaged, overflow.paged) == (PoolUse(50, 20, 30, 3000), PoolUse(8, 3, 5, 500))


def test_a_missing_processor_makes_every_tag_unknown() -> None:
    memory = HandMemory()
    table(memory, FIRST, {5: (IOSE, 0, 0, 0, 10, 0, 1200)})
    tracker = read(memory, FIRST, None)
    assert tracker.tags() == ()
    assert (tracker.coverage, tracker.unknown_tags, tracker.complete) == (0.5, 1, False)


def test_a_missing_page_leaves_the_other_rows_exact() -> None:
    # 257 entries of 28 bytes fill 7196 bytes: entry 146 lies across the page border, 147 behind it.
    memory = HandMemory()
    table(memory, FIRST, {5: (IOSE, 0, 0, 0, 10, 0, 1200), 200: (PP, 1, 0, 16, 0, 0, 0)})
    memory.drop(FIRST + 4096)
    tracker = read(memory, FIRST)
    assert list(by_tag(tracker)) == ["IoSe"]
    assert tracker.coverage == pytest.approx(146 / 257)
    assert not tracker.complete


@pytest.mark.parametrize(
    "row",
    [
        pytest.param((PP, 0, 0, 0, 5, 30, 0), id="frees"),
        pytest.param((PP, 0, 0, 0, 5, 5, MINUS - 120_000), id="bytes"),
        pytest.param((OVFL, 0, 90, 0, 0, 0, 0), id="overflow"),
    ],
)
def test_impossible_sums_make_every_tag_unknown(row: tuple[int, ...]) -> None:
    # Only a further processor's table explains them, and then it has parts of IoSe's figures too.
    memory = HandMemory()
    table(memory, FIRST, {5: (IOSE, 0, 0, 0, 10, 0, 1200), 256 if row[0] == OVFL else 9: row})
    tracker = read(memory, FIRST)
    assert (tracker.tags(), tracker.overflow_use()) == ((), None)
    assert (tracker.coverage, tracker.unknown_tags, tracker.complete) == (0.5, 2, False)
    name = "Ovfl" if row[0] == OVFL else "Pp  "
    assert f"more was freed than allocated under '{name}'" in tracker.notes[0]


def test_a_moments_difference_leaves_out_its_tag_alone() -> None:
    # The machine ran on between the pages of two tables: 3 of 5,003 frees were seen too many.
    memory = HandMemory()
    table(memory, FIRST, {5: (IOSE, 0, 0, 0, 10, 0, 1200), 9: (PP, 5000, 0, 80000, 0, 0, 0)})
    table(memory, SECOND, {9: (PP, 0, 5003, MINUS - 80048, 0, 0, 0)})
    tracker = read(memory, FIRST, SECOND)
    assert by_tag(tracker) == {"IoSe": (PoolUse(0, 0, 0, 0), PoolUse(10, 0, 10, 1200))}
    assert (tracker.coverage, tracker.unknown_tags, tracker.complete) == (0.5, 1, False)
    assert "the first 'Pp  '" in tracker.notes[0]


def test_no_table_no_tracker() -> None:
    assert read_tracker(kernel(HandMemory(), 6000, {}), PoolTables("off")) is None


def test_counters_of_64_bits() -> None:
    """Windows 10 from 17763 on (facts): 56 bytes an entry; Key, then bytes, allocations and frees of
    nonpaged pool at 8, 0x10 and 0x18, of paged pool at 0x20, 0x28 and 0x30, all 64 bits wide."""
    memory = HandMemory(8)
    first = 0xFFFFC280_00000000
    memory.put(first, bytes(SIZE * 56))
    row = struct.pack("<Q6Q", IOSE, 48, 2, 1, 5 << 32, (7 << 32) + 9, 3 << 32)
    memory.put(first + 5 * 56, row)
    tables = PoolTables("on", first, SIZE, (first,), None, 0, None, 0)
    tracker = read_tracker(kernel(memory, 17763, {}), tables)
    assert tracker is not None and tracker.complete
    assert by_tag(tracker) == {
        "IoSe": (PoolUse(2, 1, 1, 48), PoolUse((7 << 32) + 9, 3 << 32, (4 << 32) + 9, 5 << 32))
    }
