"""Verification of the pool variables: what is taken, what is refused, what is unknown.

Distances from &PoolTrackTable: facts/kernel-location.md section 2. XP SP3: Size -4, Mask -8,
BigPageTable -12, BigPageTableSize -16, Hash -20. 6.0 x86: Size -4, Mask -8, Expansion -12 and -16,
BigPageTable -20, BigPageTableSize -24, Hash -28.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dumpscan.kernel.kernel import Section
from dumpscan.pool.tables import find_tables
from tests.pool.machine import HandMemory, kernel

VAR = 0x80500400
TABLE, BIG = 0x81000000, 0x81100000
IOSE = 0x65536F49


def xp(size: int = 65, big: int = BIG, big_size: int = 64) -> HandMemory:
    """An XP SP3 machine whose tracker table has one tag and whose big page table is unused."""
    memory = HandMemory()
    memory.put_u32(VAR - 20, big_size - 1 if big_size else 0, big_size, big, size - 2, size, TABLE)
    memory.put_u32(TABLE, IOSE, 1, 0, 32)
    memory.put(TABLE + 65 * 28, b"\0")
    memory.put_u32(BIG, 1)
    return memory


def test_sound_variables_are_taken() -> None:
    found = find_tables(kernel(xp(), 2600, {"PoolTrackTable": VAR}))
    assert (found.tagging, found.tracker, found.tracker_size) == ("on", TABLE, 65)
    assert (found.big, found.big_size) == (BIG, 64)
    assert found.processors == (TABLE,)
    assert dict(found.where)["tracker"].startswith("PoolTrackTable at 0x81000000 (65 entries")


def test_a_kernel_without_mask_is_told_by_the_checks() -> None:
    # volatility v2's pair: Size -4, BigPageTable -8, BigPageTableSize -12 (acceptance image a03).
    memory = HandMemory()
    memory.put_u32(VAR - 12, 64, BIG, 65, TABLE)
    memory.put_u32(TABLE, IOSE, 1, 0, 32)
    memory.put_u32(BIG, 1)
    found = find_tables(kernel(memory, 2600, {"PoolTrackTable": VAR}))
    assert (found.tracker_size, found.big, found.big_size) == (65, BIG, 64)


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("PoolTrackTableSize is 0x40", lambda m: m.put_u32(VAR - 4, 64)),
        ("PoolTrackTableSize is 0x40000001", lambda m: m.put_u32(VAR - 8, 0x3FFFFFFF, 0x40000001)),
        ("PoolTrackTableMask", lambda m: m.put_u32(VAR - 8, 62)),
        ("no page-aligned system address", lambda m: m.put_u32(VAR, TABLE + 8)),
        ("no page-aligned system address", lambda m: m.put_u32(VAR, 0x01000000)),
        ("does not look like a tracker", lambda m: m.put_u32(TABLE, 0x01020304)),
        ("is not in the image", lambda m: m.drop(VAR)),
    ],
)
def test_a_failed_check_refuses_the_tables(what: str, spoil: Callable[[HandMemory], None]) -> None:
    memory = xp()
    spoil(memory)
    found = find_tables(kernel(memory, 2600, {"PoolTrackTable": VAR}))
    assert found.tracker is None
    assert found.tagging == "unknown"
    assert what in found.notes[0]


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("PoolBigPageTableSize is 0x40000000", lambda m: m.put_u32(VAR - 20, 0x3FFFFFFF, 0x40000000)),
        ("PoolBigPageTableSize is 0x41", lambda m: m.put_u32(VAR - 16, 65)),
        ("PoolBigPageTableHash", lambda m: m.put_u32(VAR - 20, 62)),
        ("the first entry", lambda m: m.put_u32(BIG, 0x1234)),
    ],
)
def test_the_tracker_stands_alone_when_the_big_page_table_fails(
    what: str, spoil: Callable[[HandMemory], None]
) -> None:
    memory = xp()
    spoil(memory)
    found = find_tables(kernel(memory, 2600, {"PoolTrackTable": VAR}))
    assert found.tracker == TABLE
    assert found.big is None
    assert what in " ".join(found.notes)


def test_no_big_page_table() -> None:
    found = find_tables(kernel(xp(big=0, big_size=0), 2600, {"PoolTrackTable": VAR}))
    assert found.tracker == TABLE
    assert found.big is None
    assert "no big page table" in found.notes[0]


def test_tagging_off_on_xp() -> None:
    memory = HandMemory()
    memory.put_u32(VAR - 20, 0, 0, 0, 0, 0, 0)
    found = find_tables(kernel(memory, 2600, {"PoolTrackTable": VAR}))
    assert found.tagging == "off"
    assert found.tracker is None


def test_tagging_off_against_the_flag_trusts_the_pointer_and_says_so() -> None:
    memory = HandMemory()
    memory.put_u32(VAR - 20, 0, 0, 0, 0, 0, 0)
    memory.put_u32(0x80501000, 0x400)
    found = find_tables(
        kernel(memory, 2600, {"PoolTrackTable": VAR}, symbols={"NtGlobalFlag": 0x80501000})
    )
    assert found.tagging == "off"
    assert "trusted the pointer" in found.notes[1]


def test_a_zero_pointer_on_a_kernel_that_always_tags_is_unknown() -> None:
    memory = HandMemory()
    memory.put_u32(VAR - 28, 0, 0, 0, 0, 0, 0, 0, 0)
    assert find_tables(kernel(memory, 6000, {"PoolTrackTable": VAR})).tagging == "unknown"


def test_absent_variable_is_unknown() -> None:
    found = find_tables(kernel(HandMemory(), 2600, {"PoolTrackTable": VAR}))
    assert found.tagging == "unknown"
    assert "not in the image" in found.notes[0]
    assert find_tables(kernel(HandMemory(), 2600, {})).tagging == "unknown"


def vista(tables: list[int], at: int = 0x80560000) -> HandMemory:
    memory = HandMemory()
    memory.put_u32(VAR - 28, 63, 64, BIG, 0, 0, 63, 65, TABLE)
    memory.put_u32(TABLE, IOSE, 1, 0, 32)
    memory.put_u32(BIG, 1)
    memory.put_u32(at, *tables, *[0] * (32 - len(tables)))
    return memory


DATA = (Section(".data", 0x80560000, 0x2000, True),)


def test_tables_of_other_processors_are_searched() -> None:
    memory = vista([TABLE, 0xF7A00000], at=0x80560120)
    found = find_tables(kernel(memory, 6000, {"PoolTrackTable": VAR}, processors=2, sections=DATA))
    assert found.processors == (TABLE, 0xF7A00000)


def test_tables_of_other_processors_by_symbol() -> None:
    memory = vista([TABLE, 0xF7A00000], at=0x80570000)
    found = find_tables(
        kernel(memory, 6000, {"PoolTrackTable": VAR}, processors=2, symbols={"ExPoolTagTables": 0x80570000})
    )
    assert found.processors == (TABLE, 0xF7A00000)


@pytest.mark.parametrize(
    "row", [[TABLE, 0], [TABLE, 0xF7A00010], [TABLE, 0xF7A00000, 0xF7B00000], [TABLE, TABLE]]
)
def test_a_row_that_is_no_table_of_two_processors(row: list[int]) -> None:
    found = find_tables(kernel(vista(row), 6000, {"PoolTrackTable": VAR}, processors=2, sections=DATA))
    assert found.processors == (TABLE, None)
    assert "tracker tables of 1 of 2 processors were not found" in " ".join(found.notes)


def test_one_processor_needs_no_search() -> None:
    assert find_tables(kernel(vista([0]), 6000, {"PoolTrackTable": VAR})).processors == (TABLE,)


def test_tables_tell_the_number_of_processors_when_nothing_else_does() -> None:
    memory = vista([TABLE, 0xF7A00000, 0xF7B00000], at=0x80560120)
    found = find_tables(kernel(memory, 6000, {"PoolTrackTable": VAR}, processors=None, sections=DATA))
    assert found.processors == (TABLE, 0xF7A00000, 0xF7B00000)


def test_neither_processors_nor_tables_are_known() -> None:
    # PoolTrackTable alone in the data is no array of one table.
    memory = vista([TABLE], at=0x80560120)
    found = find_tables(kernel(memory, 6000, {"PoolTrackTable": VAR}, processors=None, sections=DATA))
    assert found.processors == (TABLE, None)
    assert "the number of processors is not known" in " ".join(found.notes)


def test_xp_has_one_table_however_many_processors() -> None:
    assert find_tables(kernel(xp(), 2600, {"PoolTrackTable": VAR}, processors=None)).processors == (TABLE,)
