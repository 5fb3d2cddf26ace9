"""Pool figures of the acceptance images, kernel variables to blocks, against their truth files.

What the documents of the library say is compared in ``tests/test_acceptance.py``; here is what
they do not show: single entries, page states, ranges, and how little a table census reads.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest

from dumpscan.image.recognise import open_image
from dumpscan.kernel.kernel import Kernel
from dumpscan.kernel.locate import locate_kernel
from dumpscan.model import to_dict
from dumpscan.pool.allocations import Filter, allocations
from dumpscan.pool.bigpages import read_big_pages
from dumpscan.pool.census import Census, take_census
from dumpscan.pool.ranges import elsewhere, pool_ranges
from dumpscan.pool.tables import find_tables
from dumpscan.pool.tags import decode_tags
from dumpscan.records import replace
from tests.acceptance import image, truth

NAMES = ("a01", "a02", "a03", "a04", "a05", "a06")
TABLED = tuple(name for name in NAMES if name != "a02")


@lru_cache(maxsize=None)
def located(name: str) -> Kernel:
    return locate_kernel(open_image(image(name)))


@lru_cache(maxsize=None)
def walked(name: str) -> Census:
    return take_census(located(name), "pages")


@pytest.mark.parametrize("name", TABLED)
def test_every_big_page_entry(name: str) -> None:
    found = read_big_pages(located(name), find_tables(located(name)))
    assert found is not None
    live = found.of(True)
    pools = ["paged" if paged else "nonpaged" for paged in live.paged.tolist()]
    rows = zip(map(hex, live.va.tolist()), decode_tags(live.tag), live.size.tolist(), pools, strict=True)
    table = truth(name)["big_table"]
    expected = sorted((e["va"], e["tag"], e["bytes"], e["pool"]) for e in table["entries"])
    assert sorted(rows) == expected
    assert len(found.of(False).va) == table["freed_entries"]
    assert found.damaged == 0


@pytest.mark.parametrize("name", NAMES)
def test_page_states_of_paged_pool(name: str) -> None:
    states = truth(name)["pools"]["paged"]["page_states"]
    expected = {
        state: states.get(key, 0) + states.get(f"big_{key}", 0)
        for state, key in (
            ("valid", "valid"), ("transition", "transition"), ("pagefile", "pagefile"),
            ("demand_zero", "demandzero"),
        )
    }
    found = to_dict(walked(name).pool.page_states["paged"])
    assert found == {**expected, "prototype": 0, "absent": 0}


@pytest.mark.parametrize("name", NAMES)
def test_small_pages_limits_and_nothing_unexplained(name: str) -> None:
    pools, census = truth(name)["pools"], walked(name)
    assert census.walk is not None
    assert census.walk.small_pages["nonpaged"] == pools["nonpaged"]["small_pages"]
    assert not len(census.walk.damaged.va)
    for pool in ("paged", "nonpaged"):
        limits = getattr(census.pool, pool)
        assert limits.used_bytes == pools[pool]["pages_in_use"] * 4096
        assert limits.limit_bytes == pools[pool]["limit_bytes"]
        assert limits.fullness == pytest.approx(pools[pool]["used_fraction"], abs=1e-4)
    assert [row for row in census.pool.reconciliation if row.unexplained_bytes] == []


@pytest.mark.parametrize("name", NAMES)
def test_nonpaged_ranges_hold_the_pool_and_not_the_hole(name: str) -> None:
    pool = truth(name)["pools"]["nonpaged"]
    start, end = int(pool["start"], 16), int(pool["end"], 16)
    expansion = int(pool["expansion_start"], 16)
    found = [r for r in pool_ranges(located(name)) if r.paged is False]

    def covered(first: int, last: int) -> bool:
        return any(r.start <= first and last <= r.end for r in found)

    assert covered(start, start + pool["initial_bytes"])
    assert covered(expansion, end)
    paged = int(truth(name)["pools"]["paged"]["start"], 16)
    assert not covered(paged, paged + 4096)


def test_untracked_allocations_without_tagging() -> None:
    # a02 keeps no big page table. XP's bitmaps tell every paged allocation but those of one page
    # that is paged out, which looks like a page of small blocks.
    large = truth("a02")["big_table"]["entries"]
    paged = [entry["bytes"] for entry in large if entry["pool"] == "paged"]
    found = walked("a02").pool.untracked
    assert set(found) == {"paged"}
    several = [size for size in paged if size > 4096]
    single = found["paged"].count - len(several)
    assert found["paged"].bytes == sum(several) + single * 4096
    away = truth("a02")["pools"]["paged"]["page_states"]
    assert len(paged) - len(several) - single <= away["big_pagefile"] + away["big_demandzero"]


def test_vista_x86_finds_all_pool_without_the_paged_pool_variables() -> None:
    kernel = located("a05")
    known = {k: v for k, v in kernel.variables.items() if not k.startswith("MmPagedPool")}
    blind = replace(kernel, variables=known)
    assert elsewhere(blind, pool_ranges(blind))
    found = take_census(blind, "pages").pool
    assert found.tags == walked("a05").pool.tags


@pytest.mark.parametrize("name", ["a01", "a04"])
def test_every_leaked_block_is_listed(name: str) -> None:
    by_state: dict[str, Any] = truth(name)["small_blocks"]["paged"]["IoSe"]["valid"]
    sizes, count = 0, 0
    for batch in allocations(located(name), Filter(tags=("IoSe",), pool="paged", big=False)):
        count += len(batch.va)
        sizes += int(batch.size.sum())
        assert bool(batch.paged.all())
    assert (count, sizes) == (by_state["allocs"], by_state["bytes"])


class _Counting:
    """Counts the pages that are asked of a physical memory."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.count, self.page_size = inner, 0, inner.page_size

    def read(self, pa: int, n: int) -> bytes:
        self.count += 1 + (pa % self.page_size + n - 1) // self.page_size
        data: bytes = self.inner.read(pa, n)
        return data

    def pages(self, pfns: Any, out: Any = None) -> Any:
        self.count += len(pfns)
        return self.inner.pages(pfns, out)

    def present(self, pfns: Any) -> Any:
        return self.inner.present(pfns)

    def runs(self) -> Any:
        return self.inner.runs()


@pytest.mark.parametrize("name", TABLED)
def test_a_table_census_reads_a_few_hundred_pages(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = located(name)
    counting = _Counting(kernel.memory.physical)
    monkeypatch.setattr(kernel.memory, "physical", counting)
    found = take_census(kernel, "auto")
    assert found.walk is None
    assert found.pool.coverage.tracker == 1.0
    assert 10 < counting.count < 600
