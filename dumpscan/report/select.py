"""Which pool figures to show, and in which order: for a document by tag, for a table by row.

Unknown figures (a walk counts no frees) sort behind known ones, never as zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from dumpscan.model import Pools, TagUse
from dumpscan.records import replace
from dumpscan.report.table import PoolRow, pool_rows, total_bytes

KEYS = ("bytes", "outstanding", "allocs", "frees", "tag")


class Choice(NamedTuple):
    """What is asked for. ``pool``: paged, nonpaged or None for both; ``top`` None for all."""

    matches: Callable[[str], bool]
    pool: str | None = None
    key: str = "bytes"
    top: int | None = None


def tags(pools: Pools, choice: Choice) -> Pools:
    """The document with the chosen tags only; a tag that was never used in the pool is left out."""
    used = [use for use in pools.tags if choice.matches(use.tag) and rows_of([use], choice.pool)]
    used.sort(key=lambda use: _order(rows_of([use], choice.pool), use.tag, choice.key))
    return replace(pools, tags=tuple(used[: choice.top]))


def rows(pools: Pools, choice: Choice) -> list[PoolRow]:
    """The chosen rows, a tag's two pools apart."""
    found = rows_of((use for use in pools.tags if choice.matches(use.tag)), choice.pool)
    found.sort(key=lambda row: _order([row], row.tag, choice.key))
    return found[: choice.top]


def rows_of(uses: Iterable[TagUse], pool: str | None) -> list[PoolRow]:
    """Rows of the tags, of both pools or one."""
    return [row for row in pool_rows(uses) if pool is None or row.pool == pool]


def _order(found: list[PoolRow], tag: str, key: str) -> tuple[bool, int, str]:
    if key == "tag":
        return False, 0, tag
    values = [total_bytes(row) if key == "bytes" else getattr(row, key) for row in found]
    known = [value for value in values if value is not None]
    return not known, -sum(known), tag
