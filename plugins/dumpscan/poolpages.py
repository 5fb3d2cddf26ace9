"""Allocations below a page, from the pool pages themselves, without tables and symbols."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from volatility3.framework import interfaces, renderers
from volatility3.framework.configuration import requirements
from volatility3.framework.renderers import format_hints

from .face import case_of, chooser, chosen_pool, chosen_tags, layer_option, say, tag_options

if TYPE_CHECKING:
    from dumpscan.case import Case
    from dumpscan.kernel.kernel import Kernel
    from dumpscan.pool.allocations import Allocations

Row = tuple[int, tuple[Any, ...]]

_BY_TAG = [("Tag", str), ("Pool", str), ("Allocations", int), ("Bytes", int)]
_SINGLE = [("Address", format_hints.Hex), ("Tag", str), ("Pool", str), ("Bytes", int), ("State", str)]


class PoolPages(interfaces.plugins.PluginInterface):  # type: ignore[misc]
    """Pool blocks in use, counted by walking every resident pool page: needs no tracker table.

    Works on XP with pool tagging off. Bytes are block sizes with header. Allocations of a page and
    more are in dumpscan.bigpools. What is paged out cannot be seen: the log says how much of each
    pool is in the image. No symbol table is needed.
    """

    _required_framework_version = (2, 0, 0)
    _version = (1, 0, 0)

    @classmethod
    def get_requirements(cls) -> list[interfaces.configuration.RequirementInterface]:
        """A translation layer, which rows, and of what."""
        return [
            layer_option(),
            *tag_options(),
            requirements.BooleanRequirement(
                name="allocations", description="A row for each block", default=False, optional=True
            ),
            requirements.IntRequirement(
                name="min-size",
                description="With --allocations: only blocks of at least so many bytes",
                default=0,
                optional=True,
            ),
        ]

    def run(self) -> renderers.TreeGrid:
        """Rows by tag and pool, or a row for each block."""
        with case_of(self) as case:
            if case.kernel.layout is None:
                say([f"the pool layouts of build {case.kernel.info.build} are not known: pool not read"])
                return renderers.TreeGrid(_BY_TAG, iter(()))
            if self.config.get("allocations"):
                return renderers.TreeGrid(_SINGLE, iter(list(self._single(case.kernel))))
            return renderers.TreeGrid(_BY_TAG, iter(list(self._by_tag(case))))

    def _by_tag(self, case: Case) -> Iterator[Row]:
        from dumpscan.pool.census import walked_tags
        from dumpscan.report.table import pool_rows

        census = case.take_census("pages")
        say(census.pool.notes)
        wanted = chooser(self)
        for row in pool_rows(walked_tags(census.walk.blocks, None) if census.walk else ()):
            if wanted(row.tag, row.pool):
                yield 0, (row.tag, row.pool, row.outstanding, row.bytes)

    def _single(self, kernel: Kernel) -> Iterator[Row]:
        from dumpscan.pool.allocations import Filter, allocations

        least = int(self.config.get("min-size") or 0)
        for batch in allocations(kernel, Filter(chosen_tags(self), least, chosen_pool(self), False)):
            yield from _blocks(batch)


def _blocks(batch: Allocations) -> Iterator[Row]:
    from dumpscan.memory.c_pte import PageState

    columns = (column.tolist() for column in (batch.va, batch.paged, batch.size, batch.state))
    for va, paged, size, state, tag in zip(*columns, batch.names(), strict=True):
        pool = "paged" if paged else "nonpaged"
        yield 0, (format_hints.Hex(va), tag, pool, size, PageState(state).name.lower())
