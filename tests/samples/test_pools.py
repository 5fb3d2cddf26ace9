"""Pools re-read by the test's own walker: chains, states, counts, tables."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable

import pytest

from samples import Machine
from samples.pool_tables import big_slot, tag_slot

from .conftest import machine
from .walk import Walker, census, chain

KERNELS = (
    "xpsp3-x86-pae",
    "xpsp2-x86",
    "2003-sp2-x86-mp",
    "xp-x64",
    "vista-rtm-x86-pae",
    "vista-sp1-x86",
    "vista-sp1-x64",
    "2008-ia64",
    "2003-ia64",
)
Raw = Callable[[Machine], Walker]


def ranges(truth: dict[str, dict[str, dict[str, str]]], pool: str, page: int = 4096) -> list[tuple[int, int]]:
    """(start, pages) of a pool."""
    found = truth["pools"][pool]
    start, end = int(found["start"], 16), int(found["end"], 16)
    if pool == "paged":
        return [(start, (end + 1 - start) // page)]
    expansion = int(found["expansion_start"], 16)
    return [(start, int(found["initial_bytes"]) // page), (expansion, min((end - expansion) // page, 4096))]


@pytest.mark.parametrize("profile", KERNELS)
@pytest.mark.parametrize("pool", ["paged", "nonpaged"])
def test_census_equals_truth(profile: str, pool: str, raw: Raw) -> None:
    made = machine(profile)
    walker, seen = raw(made), {"valid": Counter[str](), "transition": Counter[str]()}
    for start, pages in ranges(made.truth, pool, walker.page):
        for state, found in census(walker, start, pages, made.truth["kernel"]["nt"]).items():
            seen[state] += found
    # Large allocations may hold old chains; take out what the big table's own pages contribute.
    for entry in made.truth["big_table"]["entries"]:
        if entry["pool"] == pool:
            pages = entry["bytes"] // walker.page
            extra = census(walker, int(entry["va"], 16), pages, made.truth["kernel"]["nt"])
            for state, counts in extra.items():
                seen[state].subtract(counts)
    for state in ("valid", "transition"):
        want = {
            tag: row[state]["allocs"]
            for tag, row in made.truth["small_blocks"][pool].items()
            if row[state]["allocs"]
        }
        assert {tag: count for tag, count in seen[state].items() if count} == want


def test_pool_types_of_each_version(raw: Raw) -> None:
    for profile, allowed in (("xpsp3-x86-pae", {0, 2, 6, 14}), ("vista-sp1-x64", {0, 1, 3, 11})):
        made = machine(profile)
        walker, kinds, big = raw(made), set[int](), _big_pages(made)
        for start, pages in ranges(made.truth, "paged"):
            for number in range(min(pages, 600)):
                state, pa = walker.entry(start + number * 4096)
                if state == "valid" and hex(start + number * 4096) not in big:
                    blocks = chain(walker.data[pa : pa + 4096], walker.arch)
                    assert blocks is not None
                    assert len({block.index for block in blocks}) == 1
                    kinds |= {block.kind for block in blocks}
        assert kinds == allowed


def _big_pages(made: Machine) -> set[str]:
    return {
        hex(int(entry["va"], 16) + 4096 * page)
        for entry in made.truth["big_table"]["entries"]
        for page in range(entry["bytes"] // 4096)
    }


def _table(walker: Walker, address: int, count: int, wide: bool) -> dict[str, tuple[int, ...]]:
    form = "<III4xQIIQ" if wide else "<7I"
    size = struct.calcsize(form)
    data = walker.read(address, count * size)
    rows = (struct.unpack_from(form, data, number * size) for number in range(count))
    return {row[0].to_bytes(4, "little").decode("latin-1"): row[1:] for row in rows if row[0]}


@pytest.mark.parametrize(
    ("profile", "cpus"), [("xpsp3-x86-pae", 1), ("2003-sp2-x86-mp", 2), ("vista-sp1-x64", 3)]
)
def test_tracker_tables_sum_to_truth(profile: str, cpus: int, raw: Raw) -> None:
    made = machine(profile, processors=cpus)
    walker, wide, addresses = raw(made), "x64" in profile, made.truth["addresses"]
    tables = [addresses["pool_track_table"], *addresses["cpu_tables"]]
    assert len(tables) == cpus
    widths = (32, 32, 64 if wide else 32) * 2
    sums: dict[str, list[int]] = {}
    for address in tables:
        found = _table(walker, int(address, 16), addresses["pool_track_entries"], wide)
        for tag, row in found.items():
            sums[tag] = [a + b for a, b in zip(sums.get(tag, [0] * 6), row, strict=True)]
    for tag, row in made.truth["tracker"].items():
        assert [total % (1 << width) for total, width in zip(sums[tag], widths, strict=True)] == list(
            row.values()
        )
    if cpus > 1:
        assert made.truth["tracker_cpu0_only"] != made.truth["tracker"]


def test_tag_hash_vectors() -> None:
    """facts/pool-algorithms.md section 3."""
    assert tag_slot(int.from_bytes(b"IoSe", "little"), 0xFFFFFFFF) == 0x18A564B8
    assert tag_slot(int.from_bytes(b"Pp  ", "little"), 2047) == 1647
    assert big_slot(0xE1234000, 0xFFF) == 0xE ^ 0xE12 ^ 0x234


def test_variables_around_the_tag_table(raw: Raw) -> None:
    made = machine()
    walker, at = raw(made), 0x804D7000 + 0x85600
    size, mask = walker.number(at - 4, 4), walker.number(at - 8, 4)
    big, entries, big_hash = (walker.number(at - distance, 4) for distance in (12, 16, 20))
    assert (size, mask) == (1025, 1023) and (entries, big_hash) == (4096, 4095)
    assert hex(big) == made.truth["addresses"]["pool_big_table"]
    live = sum(walker.number(big + 12 * number, 4) & 1 == 0 for number in range(entries))
    assert live == made.truth["big_table"]["live"]


def test_without_tagging_there_are_no_tables(raw: Raw) -> None:
    made = machine(scenario="no-tagging")
    walker = raw(made)
    assert walker.number(0x804D7000 + 0x85600, 4) == 0 and walker.number(0x804D7000 + 0x7A26C, 4) == 0
    assert made.truth["tracker"] is None and made.truth["quota_blocks_without_tag"]["nonpaged"]


@pytest.mark.parametrize("overflow", ["expansion", "ovfl"])
def test_tags_that_find_the_table_full(overflow: str, raw: Raw) -> None:
    made = machine("vista-sp1-x64", overflow=overflow, processors=2)
    table = int(made.truth["addresses"]["pool_track_table"], 16)
    rows = _table(raw(made), table, made.truth["addresses"]["pool_track_entries"], True)
    assert ("Ovfl" in rows) == (overflow == "ovfl") == bool(made.truth["tracker_overflow_tags"])
    assert "IoSe" in rows and len(rows) in (128, 129)


def test_paged_bitmaps_size_large_allocations(raw: Raw) -> None:
    made = machine()
    walker = raw(made)
    info = 0x804D7000 + 0x81420
    maps = []
    for pointer in (walker.number(info, 4), walker.number(info + 4, 4)):
        bits, buffer = struct.unpack("<II", walker.read(pointer, 8))
        assert bits == made.truth["pools"]["paged"]["limit_bytes"] // 4096
        maps.append(int.from_bytes(walker.read(buffer, (bits + 7) // 8), "little"))
    assert maps[0].bit_count() == made.truth["pools"]["paged"]["pages_in_use"]
    start = int(made.truth["pools"]["paged"]["start"], 16)
    for entry in made.truth["big_table"]["entries"]:
        if entry["pool"] == "paged":
            page = (int(entry["va"], 16) - start) // 4096
            end = next(number for number in range(page, page + 99) if maps[1] >> number & 1)
            assert (end - page + 1) * 4096 == entry["bytes"]
