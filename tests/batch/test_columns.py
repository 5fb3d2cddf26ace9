"""What of a verdict becomes columns."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from dumpscan.batch.columns import columns, storable
from dumpscan.batch.export import RESULT_COLUMNS
from dumpscan.batch.store import open_store
from dumpscan.model import BigUse, Pool, PoolLimits, PoolUse, TagUse
from dumpscan.records import replace
from tests.report.documents import verdict


def use(tag: str, paged: int, nonpaged: int, source: str = "tracker", big: int = 0) -> TagUse:
    return TagUse(tag, PoolUse(bytes=paged, big=BigUse(1, big)), PoolUse(bytes=nonpaged), source)


def test_columns_are_those_of_the_table(tmp_path: Path) -> None:
    with closing(open_store(tmp_path / "s", create=True)) as connection:
        table = [row[1] for row in connection.execute("PRAGMA table_info(results)")]
    assert table == ["image_id", *columns(verdict())] == ["image_id", *RESULT_COLUMNS]


def test_top_tags_are_the_largest_of_both_pools_with_their_blanks() -> None:
    tags = (
        use("AAAA", 1, 2),
        use("Pp  ", 9, 0),
        use("IoSe", 3, 5),
        *(use(f"x{n}  ", 0, 0) for n in range(9)),
    )
    pool = Pool(tags=tags)
    assert columns(replace(verdict(), pool=pool))["top_tags"] == '["Pp  ", "IoSe", "AAAA", "x0  ", "x1  "]'


def test_large_allocations_count_where_they_are_apart() -> None:
    walked = (use("tiny", 10, 0, "pages"), use("vast", 1, 0, "pages", big=100))
    counted = (use("more", 10, 0), use("less", 1, 0, big=100))
    assert columns(replace(verdict(), pool=Pool(tags=walked)))["top_tags"] == '["vast", "tiny"]'
    assert columns(replace(verdict(), pool=Pool(tags=counted)))["top_tags"] == '["more", "less"]'


def test_fullness_is_worked_out_where_it_is_not_given() -> None:
    pool = Pool(paged=PoolLimits(30, 40), nonpaged=PoolLimits(5, None))
    found = columns(replace(verdict(), pool=pool))
    assert found["paged_fullness"] == 0.75
    assert found["nonpaged_fullness"] is None


def test_what_memory_holds_can_be_stored() -> None:
    values = ("half \ud800 a character", "a\0b", 1 << 63, -(1 << 63), 1.5, None)
    stored = [storable(value) for value in values]
    assert stored == ["half \\ud800 a character", "a\\0b", None, -(1 << 63), 1.5, None]
    with closing(sqlite3.connect(":memory:")) as connection:
        assert connection.execute("SELECT ?, ?, ?, ?, ?, ?", stored).fetchone() == tuple(stored)
