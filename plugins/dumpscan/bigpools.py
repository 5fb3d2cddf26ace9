"""Pool allocations of a page and more, right on XP too, without a symbol table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from volatility3.framework import interfaces, renderers
from volatility3.framework.configuration import requirements
from volatility3.framework.renderers import format_hints

from .face import case_of, chooser, layer_option, say, tag_options

if TYPE_CHECKING:
    from dumpscan.kernel.kernel import Kernel
    from dumpscan.pool.bigpages import BigPages

_COLUMNS = [
    ("Allocation", format_hints.Hex), ("Tag", str), ("Pool", str), ("Bytes", int), ("Status", str),
]  # fmt: skip


class BigPools(interfaces.plugins.PluginInterface):  # type: ignore[misc]
    """Allocations of a page and more from PoolBigPageTable, with sizes and pools on XP too.

    Entries of XP and Server 2003 count pages and do not say which pool; sizes are given in bytes,
    the pool by the address. No symbol table is needed.
    """

    _required_framework_version = (2, 0, 0)
    _version = (1, 0, 0)

    @classmethod
    def get_requirements(cls) -> list[interfaces.configuration.RequirementInterface]:
        """A translation layer, and which rows."""
        return [
            layer_option(),
            *tag_options(),
            requirements.BooleanRequirement(
                name="show-free", description="Show freed entries too", default=False, optional=True
            ),
        ]

    def run(self) -> renderers.TreeGrid:
        """A row for each entry, by address."""
        with case_of(self) as case:
            found = _read(case.kernel)
            wanted = chooser(self)
        show_free = bool(self.config.get("show-free"))
        return renderers.TreeGrid(_COLUMNS, _cells(found, wanted, show_free) if found else iter(()))


def _read(kernel: Kernel) -> BigPages | None:
    from dumpscan.pool.bigpages import read_big_pages
    from dumpscan.pool.tables import find_tables

    tables = find_tables(kernel)
    found = read_big_pages(kernel, tables)
    say(tables.notes)
    if found is None and not tables.notes:
        say(["this kernel has no big page table that passes the checks"])
    elif found is not None and found.coverage < 1:
        say([f"the image holds {found.coverage:.0%} of the big page table: more allocations may exist"])
    return found


def _cells(
    found: BigPages, wanted: Callable[[str, str], bool], show_free: bool
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    from dumpscan.pool.tags import decode_tags

    columns = (found.va, found.size, found.paged, found.live)
    entries = zip(*(column.tolist() for column in columns), decode_tags(found.tag), strict=True)
    for va, size, paged, live, tag in entries:
        pool = "paged" if paged else "nonpaged"
        if (live or show_free) and wanted(tag, pool):
            yield 0, (format_hints.Hex(va), tag, pool, size, "Allocated" if live else "Free")
