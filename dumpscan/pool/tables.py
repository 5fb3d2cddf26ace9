"""Where the pool's own tables lie: PoolTrackTable, its neighbours, the per-processor copies.

KDBG names only PoolTrackTable; the other variables lie at distances that differ by build
(facts/kernel-location.md section 2). Every candidate set of addresses is checked against what it
points to, and a set that fails is not used: no number is printed from an unverified table. The
trap of the area: multiprocessor kernels from 5.2 on count in one table *per processor*, and
PoolTrackTable is only the first of them (facts/pool-algorithms.md section 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dumpscan.kernel.kernel import Kernel
from dumpscan.kernel.layouts import Layout, TableDistances
from dumpscan.kernel.symbols import are_needed, wanted
from dumpscan.pool.tags import printable
from dumpscan.records import record, replace

MAX_TRACKER = (1 << 20) + 1
MAX_BIG = 1 << 22
"""Beyond these a size is garbage: 28 MB of tracker table, a big page table of 100 MB."""

_BIG_NAMES = ("PoolBigPageTable", "PoolBigPageTableSize", "PoolBigPageTableHash")
_EXPANSION_NAMES = ("PoolTrackTableExpansion", "PoolTrackTableExpansionSize")
_TAGGING_FLAG = 0x400


@record
class PoolTables:
    """Verified tables. ``tagging`` is "on", "off" or "unknown"; addresses are None when unknown or absent.

    ``processors`` holds the address of each processor's tracker table; an element is None where
    that table could not be found. ``where`` maps each source to a line that says where it was read.
    """

    tagging: str
    tracker: int | None = None
    tracker_size: int = 0
    processors: tuple[int | None, ...] = ()
    expansion: int | None = None
    expansion_size: int = 0
    big: int | None = None
    big_size: int = 0
    source: str = ""
    where: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


class _Variables(NamedTuple):
    """Addresses of the variables of one candidate; None: the kernel does not have it."""

    size: int
    mask: int | None
    expansion: int | None
    expansion_size: int | None
    big: int
    big_size: int
    big_hash: int | None
    source: str


class _Values(NamedTuple):
    size: int
    expansion: int
    expansion_size: int
    big: int
    big_size: int


def find_tables(kernel: Kernel) -> PoolTables:
    """Find and verify the tables of a kernel. Never raises: what cannot be had is said in ``notes``."""
    layout = kernel.layout
    variable = kernel.address("PoolTrackTable")
    if layout is None or variable is None:
        what = "this kernel's layouts are not known" if layout is None else "PoolTrackTable was not found"
        return PoolTables("unknown", notes=(f"no pool tables: {what}{_missing_symbols(kernel)}",))
    table = kernel.value("PoolTrackTable")
    if table is None:
        note = f"no pool tables: the variable PoolTrackTable ({variable:#x}) is not in the image"
        return PoolTables("unknown", notes=(note,))
    if table == 0:
        return _untagged(kernel, layout, variable)
    return _tagged(kernel, layout, variable, table)


def _missing_symbols(kernel: Kernel) -> str:
    """What to look for, where symbols would help."""
    info = kernel.info
    lacking = are_needed(info.build, info.arch) and not kernel.symbols
    return f"; {wanted(info.pdb)}" if lacking else ""


def _flag_on(kernel: Kernel) -> bool | None:
    """NtGlobalFlag's pool tagging bit; None without a symbol table for it."""
    address = kernel.symbols.get("NtGlobalFlag")
    value = kernel.read_int(address, 4) if address else None
    return None if value is None else bool(value & _TAGGING_FLAG)


def _untagged(kernel: Kernel, layout: Layout, variable: int) -> PoolTables:
    where = (("tracker", f"PoolTrackTable at {variable:#x} holds 0"),)
    if layout.tagging_always:
        note = f"PoolTrackTable ({variable:#x}) holds 0 on a kernel that always tags: address doubtful"
        return PoolTables("unknown", where=where, notes=(note,))
    notes = ["pool tagging is off: this kernel keeps no table by tag; its pool pages are the only source"]
    if _flag_on(kernel):
        notes.append("NtGlobalFlag asks for pool tagging, but PoolTrackTable holds 0: trusted the pointer")
    return PoolTables("off", where=where, notes=tuple(notes))


def _tagged(kernel: Kernel, layout: Layout, variable: int, table: int) -> PoolTables:
    refused = []
    for candidate in _candidates(kernel, layout, variable):
        values = _check(kernel, layout, table, candidate)
        if isinstance(values, str):
            refused.append(f"{candidate.source}: {values}")
            continue
        return _verified(kernel, layout, variable, table, candidate, values, refused)
    for candidate in _candidates(kernel, layout, variable):
        # Size, mask and content vouch for the tracker alone; the big page table is then not used.
        values = _check_tracker(kernel, layout, table, candidate)
        if candidate.mask is not None and not isinstance(values, str):
            found = _verified(kernel, layout, variable, table, candidate, values, refused)
            note = f"the big page table is not used: {'; '.join(refused)}"
            return replace(found, notes=(*found.notes[:-1], note))
    if not refused:
        why = f"where its size is kept is not known{_missing_symbols(kernel)}"
        if kernel.symbols:
            why = "the symbol table does not name PoolTrackTableSize or the big page table"
        return PoolTables("unknown", notes=(f"the tracker table is not used: {why}",))
    note = "the tracker table is not used, no set of its variables passes the checks: " + "; ".join(refused)
    return PoolTables("unknown", notes=(note,))


def _verified(
    kernel: Kernel, layout: Layout, variable: int, table: int, candidate: _Variables, values: _Values,
    refused: list[str],
) -> PoolTables:
    notes = []
    if candidate.source != "symbols" and any(line.startswith("symbols") for line in refused):
        notes.append(
            f"pool variables of the symbol table fail the checks ({refused[0]}), used {candidate.source}"
        )
    if _flag_on(kernel) is False and not layout.tagging_always:
        notes.append("NtGlobalFlag says pool tagging is off, but PoolTrackTable is set: trusted the pointer")
    processors = _processor_tables(kernel, layout, variable, table)
    if None in processors and kernel.processors is None:
        notes.append(
            "the number of processors is not known, and neither are their tracker tables: counters by tag "
            "are unknown"
        )
    elif None in processors:
        notes.append(
            f"tracker tables of {processors.count(None)} of {len(processors)} processors were not found: "
            "counters by tag are unknown"
        )
    if not values.big:
        notes.append(f"no big page table (PoolBigPageTable at {candidate.big:#x} holds 0)")
    where = [("tracker", f"PoolTrackTable at {table:#x} ({values.size} entries, by {candidate.source})")]
    if values.big:
        where.append(("big_pages", f"PoolBigPageTable at {values.big:#x} ({values.big_size} entries)"))
    if values.expansion:
        where.append(("expansion", f"PoolTrackTableExpansion at {values.expansion:#x}"))
    return PoolTables(
        "on", table, values.size, processors, values.expansion or None, values.expansion_size,
        values.big or None, values.big_size, candidate.source, tuple(where), tuple(notes),
    )


# -- candidates and their checks ------------------------------------------------------------------


def _candidates(kernel: Kernel, layout: Layout, variable: int) -> Iterator[_Variables]:
    symbols = kernel.symbols
    if all(name in symbols for name in ("PoolTrackTableSize", *_BIG_NAMES[:2])):
        expansion, expansion_size = (symbols.get(name) for name in _EXPANSION_NAMES)
        yield _Variables(
            symbols["PoolTrackTableSize"], symbols.get("PoolTrackTableMask"), expansion, expansion_size,
            symbols["PoolBigPageTable"], symbols["PoolBigPageTableSize"],
            symbols.get("PoolBigPageTableHash"), "symbols",
        )
    for distances in layout.tables:
        yield _at(variable, distances)


def _at(variable: int, distances: TableDistances) -> _Variables:
    def there(distance: int | None) -> int | None:
        return None if distance is None else variable + distance

    return _Variables(
        variable + distances.size, there(distances.mask), there(distances.expansion),
        there(distances.expansion_size), variable + distances.big_table, variable + distances.big_size,
        there(distances.big_hash), distances.source,
    )


def _check(kernel: Kernel, layout: Layout, table: int, at: _Variables) -> _Values | str:
    """The candidate's values, or the first check that fails (facts/kernel-location.md section 2)."""
    values = _check_tracker(kernel, layout, table, at)
    if isinstance(values, str):
        return values
    big, big_size = kernel.read_int(at.big), kernel.read_int(at.big_size)
    return _check_big(kernel, at, big, big_size) or values._replace(big=big or 0, big_size=big_size or 0)


def _check_tracker(kernel: Kernel, layout: Layout, table: int, at: _Variables) -> _Values | str:
    size = kernel.read_int(at.size)
    if size is None:
        return "PoolTrackTableSize is not in the image"
    if not 64 < size <= MAX_TRACKER or not _power_of_two(size - 1):
        return f"PoolTrackTableSize is {size:#x}, not a power of two plus one"
    if at.mask is not None and kernel.read_int(at.mask) not in (None, size - 2):
        return f"PoolTrackTableMask is not the size {size:#x} minus two"
    if table % kernel.page_size or not kernel.is_kernel_address(table):
        return f"PoolTrackTable {table:#x} is no page-aligned system address"
    if not _looks_like_tracker(kernel, layout, table, size):
        return f"memory at {table:#x} does not look like a tracker table"
    expansion, expansion_size = _expansion(kernel, at)
    return _Values(size, expansion, expansion_size, 0, 0)


def _check_big(kernel: Kernel, at: _Variables, big: int | None, size: int | None) -> str:
    """What is wrong with the big page variables, or nothing. A table that is not there is allowed."""
    if big is None or size is None:
        return "PoolBigPageTable is not in the image"
    if big == 0:
        return "" if size == 0 or _power_of_two(size) else f"PoolBigPageTableSize is {size:#x}"
    if not 64 <= size <= MAX_BIG or not _power_of_two(size):
        return f"PoolBigPageTableSize is {size:#x}, not a plausible power of two"
    if at.big_hash is not None and kernel.read_int(at.big_hash) not in (None, size - 1):
        return f"PoolBigPageTableHash is not the size {size:#x} minus one"
    if big % kernel.page_size or not kernel.is_kernel_address(big):
        return f"PoolBigPageTable {big:#x} is no page-aligned system address"
    first = kernel.read_int(big)
    if first is not None and first not in (0, 1) and not kernel.is_kernel_address(first):
        return f"the first entry of PoolBigPageTable {big:#x} is neither free nor a system address"
    return ""


def _looks_like_tracker(kernel: Kernel, layout: Layout, table: int, size: int) -> bool:
    """Are the used keys tags? Absent pages say nothing, so they do not refuse the table."""
    entry = layout.tracker_size
    data, known = kernel.memory.read_masked(table, min(size, 4 * kernel.page_size // entry) * entry)
    rows = len(data) // entry
    keys = data[: rows * entry].reshape(rows, entry)[:, :4].copy().view("<u4").reshape(-1)
    keys = keys[known[: rows * entry].reshape(rows, entry).all(axis=1) & (keys != 0)]
    # Drivers may use tags that do not print; a table made of them is not a table.
    return not len(keys) or float(printable(keys).mean()) > 0.75


def _expansion(kernel: Kernel, at: _Variables) -> tuple[int, int]:
    """Address and entries of the expansion table; zeros where there is none or it is implausible."""
    if at.expansion is None or at.expansion_size is None:
        return 0, 0
    address, size = kernel.read_int(at.expansion), kernel.read_int(at.expansion_size)
    if not address or not size or size > MAX_TRACKER:
        return 0, 0
    aligned = address % kernel.page_size == 0
    return (address, size) if aligned and kernel.is_kernel_address(address) else (0, 0)


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


# -- per-processor tables -------------------------------------------------------------------------


def _processor_tables(kernel: Kernel, layout: Layout, variable: int, table: int) -> tuple[int | None, ...]:
    """Each processor's table. One processor has one; XP's multiprocessor kernels are said to share
    one (facts, [INF]), so there the search may come back with nothing.

    Where the number of processors is not known, the array of tables tells it; a header's count is
    only taken where there is no array."""
    count = kernel.processors
    if count == 1 or (count is None and kernel.info.multiprocessor is False):
        return (table,)
    found = kernel.symbols.get("ExPoolTagTables")
    values = _pointers(kernel, found, count) if found else None
    if values is None or values[0] != table:
        values = _search(kernel, layout, variable, table, count)
    if values is None:
        least = count or kernel.machine.processors or 2
        return (table, *[None] * (least - 1)) if layout.per_processor_tables else (table,)
    return (table, *[v if v and kernel.is_kernel_address(v) else None for v in values[1:]])


def _pointers(kernel: Kernel, address: int, count: int | None) -> list[int] | None:
    size = kernel.memory.pointer_size
    data, known = kernel.memory.read_masked(address, (count or 8 * size) * size)
    if not bool(known.all()):
        return None
    row: list[int] = data.view(f"<u{size}").tolist()
    return row[: count or _used(kernel, row)] or None


def _search(
    kernel: Kernel, layout: Layout, variable: int, table: int, count: int | None
) -> list[int] | None:
    """The array whose element 0 is PoolTrackTable's value: near the variable, then in all data."""
    page = kernel.page_size
    near = (variable & ~(page - 1)) - page, 3 * page
    spans = [near, *((s.va, s.size) for s in kernel.sections if s.writable)]
    if len(spans) == 1:
        spans.append((kernel.base, min(kernel.size, 16 << 20)))
    for start, length in spans:
        found = _search_span(kernel, start, length, table, count)
        if found is not None:
            return found
    return None


def _search_span(
    kernel: Kernel, start: int, length: int, table: int, count: int | None
) -> list[int] | None:
    size = kernel.memory.pointer_size
    length = min(length, 16 << 20) // size * size
    data, known = kernel.memory.read_masked(start, length)
    values = data.view(f"<u{size}")
    whole = np.asarray(known.reshape(-1, size).all(axis=1), np.bool_)
    for at in np.flatnonzero(values == table).tolist():
        # 32 processors on x86, 64 on x64: as many as an affinity mask has bits.
        row, seen = values[at : at + 8 * size].tolist(), whole[at : at + 8 * size]
        if len(row) < 8 * size or not bool(seen.all()):
            continue
        # One pointer alone may be any variable that holds the table's address.
        tables = count or _used(kernel, row)
        if tables > 1 and _is_table_array(kernel, row, tables):
            return [int(value) for value in row[:tables]]
    return None


def _used(kernel: Kernel, row: list[int]) -> int:
    """Elements from the first on that can be addresses of tables, each its own."""
    for at, value in enumerate(row):
        if value % kernel.page_size or not kernel.is_kernel_address(value) or value in row[:at]:
            return at
    return len(row)


def _is_table_array(kernel: Kernel, row: list[int], count: int) -> bool:
    used, rest = row[:count], row[count:]
    aligned = all(v and v % kernel.page_size == 0 and kernel.is_kernel_address(v) for v in used)
    return aligned and len(set(used)) == count and not any(rest)
