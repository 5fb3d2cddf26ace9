"""Big page tables in each version's layout (facts/pool-structures.md, _POOL_TRACKER_BIG_PAGES)."""

from __future__ import annotations

import struct

import numpy as np

from dumpscan.model import BigUse
from dumpscan.pool.bigpages import BigPages, read_big_pages
from dumpscan.pool.pagemap import inside_large
from dumpscan.pool.tables import PoolTables
from tests.pool.machine import HandMemory, kernel

TABLE = 0x81100000
IOSE, DRIV = 0x65536F49, 0xF6697244


def read(memory: HandMemory, build: int, size: int = 64) -> BigPages:
    memory.put_pointer(0x80500000, 0xE1000000 if memory.pointer_size == 4 else 0xFFFFF880_00000000)
    memory.put_pointer(0x80500008, 0xE2FFFFFF if memory.pointer_size == 4 else 0xFFFFF880_0FFFFFFF)
    machine = kernel(memory, build, {"MmPagedPoolStart": 0x80500000, "MmPagedPoolEnd": 0x80500008})
    found = read_big_pages(machine, PoolTables("on", big=TABLE, big_size=size))
    assert found is not None
    return found


def rows(found: BigPages) -> list[tuple[int, int, int, bool, bool]]:
    return list(zip(found.va.tolist(), found.tag.tolist(), found.size.tolist(),
                    found.paged.tolist(), found.live.tolist(), strict=True))


def test_xp_counts_pages_and_decides_the_pool_by_address() -> None:
    memory = HandMemory()
    memory.put(TABLE, bytes(64 * 12))
    memory.put_u32(TABLE, 0xE1004000, IOSE, 3)
    memory.put_u32(TABLE + 12, 0x81ABC000, DRIV, 1)
    memory.put_u32(TABLE + 24, 0xE1010001, IOSE, 2)  # freed: bit 0
    memory.put_u32(TABLE + 36, 1, 0, 0)  # never used
    memory.put_u32(TABLE + 48, 0, IOSE, 9)  # Va 0: not an encoding of the kernel's
    found = read(memory, 2600)
    assert rows(found) == [
        (0x81ABC000, DRIV & 0x7FFFFFFF, 4096, False, True),
        (0xE1004000, IOSE, 12288, True, True),
        (0xE1010000, IOSE, 8192, True, False),
    ]
    assert found.coverage == 1.0
    assert found.by_tag() == {("IoSe", "paged"): BigUse(1, 12288), ("Driv", "nonpaged"): BigUse(1, 4096)}


def test_vista_x86_counts_bytes_and_carries_the_type() -> None:
    memory = HandMemory()
    memory.put(TABLE, bytes(64 * 16))
    memory.put_u32(TABLE, 0x85000000, IOSE, 1, 5000)
    memory.put_u32(TABLE + 16, 0x8C000000, DRIV, 0, 4096)
    found = read(memory, 6000)
    assert rows(found) == [
        (0x85000000, IOSE, 5000, True, True),
        (0x8C000000, DRIV & 0x7FFFFFFF, 4096, False, True),
    ]
    # 5000 bytes take two pages.
    assert found.costs() == {("IoSe", "paged"): 8192, ("Driv", "nonpaged"): 4096}


def test_x64_entries() -> None:
    va = 0xFFFFF880_00004000
    memory = HandMemory(pointer_size=8)
    memory.put(TABLE, struct.pack("<QIIQ", va, IOSE, 2, 0xABCD) + bytes(63 * 24))
    assert rows(read(memory, 3790)) == [(va, IOSE, 8192, True, True)]
    memory = HandMemory(pointer_size=8)
    memory.put(TABLE, struct.pack("<QIIQ", va, IOSE, 0, 6000) + bytes(63 * 24))
    assert rows(read(memory, 6001)) == [(va, IOSE, 6000, False, True)]


def test_2003_x86_entries_have_16_bytes() -> None:
    memory = HandMemory()
    memory.put(TABLE, bytes(64 * 16))
    memory.put_u32(TABLE + 16, 0xE1004000, IOSE, 3, 0x81234567)
    assert rows(read(memory, 3790)) == [(0xE1004000, IOSE, 12288, True, True)]


def test_damaged_entries_are_counted_and_left_out() -> None:
    memory = HandMemory()
    memory.put(TABLE, bytes(64 * 12))
    memory.put_u32(TABLE, 0xE1004008, IOSE, 3)  # not page aligned
    memory.put_u32(TABLE + 12, 0x00001000, IOSE, 3)  # a user address
    memory.put_u32(TABLE + 24, 0xE1005000, IOSE, 0)  # no pages
    found = read(memory, 2600)
    assert rows(found) == []
    assert found.damaged == 3


def test_a_missing_page_lowers_the_coverage() -> None:
    # 512 entries of 16 bytes: two pages, 256 entries each.
    memory = HandMemory()
    memory.put(TABLE, bytes(8192))
    memory.put_u32(TABLE, 0x85000000, IOSE, 1, 5000)
    memory.drop(TABLE + 4096)
    found = read(memory, 6000, size=512)
    assert found.coverage == 0.5
    assert len(found.va) == 1


def test_pages_inside_live_allocations() -> None:
    memory = HandMemory()
    memory.put(TABLE, bytes(64 * 16))
    memory.put_u32(TABLE, 0x85000000, IOSE, 1, 5000)
    memory.put_u32(TABLE + 16, 0x85010001, IOSE, 1, 4096)  # freed
    # An absurd size ends where the next allocation starts.
    memory.put_u32(TABLE + 32, 0x86000000, IOSE, 1, 0x7FFFFFFF)
    memory.put_u32(TABLE + 48, 0x86004000, IOSE, 1, 4096)
    found = read(memory, 6000)
    vas = np.array([0x84FFF000, 0x85000000, 0x85001000, 0x85002000, 0x85010000, 0x86003000, 0x86004000,
                    0x86005000], np.uint64)
    assert inside_large(vas, found).tolist() == [False, True, True, False, False, True, True, False]
