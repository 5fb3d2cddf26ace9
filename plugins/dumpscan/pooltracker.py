"""Pool counters by tag since boot, without a symbol table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from volatility3.framework import interfaces, renderers

from .face import case_of, chooser, known, layer_option, say, tag_options

if TYPE_CHECKING:
    from dumpscan.report.table import PoolRow

_COLUMNS = [
    ("Tag", str), ("Pool", str), ("Allocs", int), ("Frees", int), ("Outstanding", int), ("Bytes", int),
]  # fmt: skip


class PoolTracker(interfaces.plugins.PluginInterface):  # type: ignore[misc]
    """Allocations, frees and bytes by tag and pool since boot, from the kernel's tracker tables.

    All processors' tables, the expansion table and the overflow slot (Ovfl) are summed; addresses
    are verified before a number is printed. On XP with pool tagging off there is no such table: use
    dumpscan.poolpages. No symbol table is needed.
    """

    _required_framework_version = (2, 0, 0)
    _version = (1, 0, 0)

    @classmethod
    def get_requirements(cls) -> list[interfaces.configuration.RequirementInterface]:
        """A translation layer, and which rows."""
        return [layer_option(), *tag_options()]

    def run(self) -> renderers.TreeGrid:
        """A row for each tag and pool in which the tag was ever used."""
        with case_of(self) as case:
            from dumpscan.report.table import pool_rows

            pool = case.census("tables")
            say(pool.notes)
            tags = (*pool.tags, *([pool.overflow] if pool.overflow else []))
            wanted = chooser(self)
            rows = [row for row in pool_rows(tags) if wanted(row.tag, row.pool)]
        return renderers.TreeGrid(_COLUMNS, _cells(rows))


def _cells(rows: list[PoolRow]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    for row in rows:
        counters = (row.allocs, row.frees, row.outstanding, row.bytes)
        yield 0, (row.tag, row.pool, *map(known, counters))
