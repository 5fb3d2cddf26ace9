"""Pool figures and allocations as a table, CSV or JSON Lines: a row for each tag and pool."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from dumpscan.model import Interval, Pools, PoolUse, TagUse
from dumpscan.report import figures, json, plain
from dumpscan.report.blocks import Table
from dumpscan.report.safe import printable

_COLUMNS = (
    ("Tag", False),
    ("Pool", False),
    ("Allocs", True),
    ("Frees", True),
    ("Outstanding", True),
    ("95 %", True),
    ("Bytes", True),
    ("95 % ", True),
    ("Each", True),
    ("Big", True),
    ("Big bytes", True),
)
_SOURCES = {"mixed": "several sources"}
_CHUNK = 1000
_WIDEST = 1000


class PoolRow(NamedTuple):
    """One tag in one pool. ``big_*`` are None where big allocations are not counted apart.

    ``*_low`` and ``*_high`` are ends of 95 % intervals, None where figures are no estimates.
    """

    tag: str
    pool: str
    allocs: int | None
    frees: int | None
    outstanding: int
    bytes: int
    big_count: int | None
    big_bytes: int | None
    source: str
    outstanding_low: int | None = None
    outstanding_high: int | None = None
    bytes_low: int | None = None
    bytes_high: int | None = None


def pool_rows(tags: Iterable[TagUse]) -> list[PoolRow]:
    """Return a row for each tag and pool in which the tag was ever used, in the order given."""
    rows = []
    for use in tags:
        for pool, part in (("paged", use.paged), ("nonpaged", use.nonpaged)):
            big = part.big
            if part.allocs or part.frees or part.outstanding or part.bytes or (big and big.count):
                rows.append(_row(use, pool, part))
    return rows


def _row(use: TagUse, pool: str, part: PoolUse) -> PoolRow:
    count, octets = (part.big.count, part.big.bytes) if part.big is not None else (None, None)
    counters = (part.allocs, part.frees, part.outstanding, part.bytes)
    return PoolRow(use.tag, pool, *counters, count, octets, use.source, *_ends(part.interval))


def _ends(interval: Interval | None) -> tuple[int | None, int | None, int | None, int | None]:
    if interval is None:
        return None, None, None, None
    return interval.outstanding_low, interval.outstanding_high, interval.bytes_low, interval.bytes_high


def total_bytes(row: PoolRow) -> int:
    """Bytes of a row; a walk counts big allocations apart, a tracker includes them."""
    return row.bytes + (row.big_bytes or 0 if row.source != "tracker" else 0)


def pool_table(
    title: str,
    rows: Sequence[PoolRow],
    stand_out: Collection[str] = (),
    *,
    narrow: bool = False,
    unread: Collection[str] = (),
) -> Table:
    """Return rows as PoolMon shows them; tags with blanks are quoted.

    ``unread`` names pools of which no page was read: what a walk found of small blocks there is unknown.
    ``narrow`` fits 80 columns: a tracker's bytes include the big allocations, so these are left
    out; a walk knows no allocs and frees, so those are.
    """
    counted = any(row.allocs is not None or row.frees is not None for row in rows)
    left_out = {"Allocs", "Frees"} if narrow and not counted else set()
    if all(row.outstanding_low is None for row in rows):
        left_out |= {"95 %", "95 % "}
    elif narrow:
        left_out |= {"Each"}
    if (narrow and counted) or not any(row.big_count for row in rows):
        left_out |= {"Big", "Big bytes"}
    columns = tuple((head, number) for head, number in _COLUMNS if head not in left_out)
    cells = []
    for row in rows:
        shown = _cells(row)
        if _is_unknown(row, unread):
            shown |= {"Outstanding": figures.count(None), "Bytes": figures.count(None)}
        cells.append(tuple(shown[head] for head, _ in columns))
    marked = frozenset(index for index, row in enumerate(rows) if row.tag in stand_out)
    return Table(title, columns, tuple(cells), marked)


def _cells(row: PoolRow) -> dict[str, str]:
    each = row.bytes // row.outstanding if row.outstanding > 0 else None
    big = (row.big_count or 0, row.big_bytes or 0)
    before = map(figures.count, (row.allocs, row.frees, row.outstanding))
    blocks = figures.interval(row.outstanding, row.outstanding_low, row.outstanding_high, figures.count)
    octets = figures.interval(row.bytes, row.bytes_low, row.bytes_high, figures.size)
    after = map(figures.count, (each, *big))
    texts = (figures.tag(row.tag), row.pool, *before, blocks, figures.count(row.bytes), octets, *after)
    return {head: text for (head, _), text in zip(_COLUMNS, texts, strict=True)}


def _unread(pools: Pools) -> frozenset[str]:
    """Pools of which no page was read."""
    shares = {"paged": pools.coverage.paged_pages, "nonpaged": pools.coverage.nonpaged_pages}
    return frozenset(name for name, share in shares.items() if share is None)


def _is_unknown(row: PoolRow, unread: Collection[str]) -> bool:
    """Is the row's zero no count? Large allocations stand in a table of their own, small blocks in pages."""
    return row.source == "pages" and row.pool in unread and not row.outstanding


def _fields(row: PoolRow, unread: Collection[str]) -> dict[str, Any]:
    unknown = {"outstanding": None, "bytes": None} if _is_unknown(row, unread) else {}
    return {**row._asdict(), **unknown}


def render_pools(
    pools: Pools, output: str = "table", width: int = 80, rows: Sequence[PoolRow] | None = None
) -> str:
    """Return pool figures as ``table``, ``csv``, ``json`` or ``jsonl`` text.

    ``rows``, where given, are shown instead of all rows; the JSON document has ``pools.tags``.
    """
    if output == "json":
        return json.render(pools)
    rows = pool_rows(pools.tags) if rows is None else rows
    unread = _unread(pools)
    if output == "csv":
        return "".join(csv_lines(PoolRow._fields, (_fields(row, unread) for row in rows)))
    if output == "jsonl":
        return "".join(json.line(_fields(row, unread)) for row in rows)
    title = f"{pools.image.path}: {len(pools.tags):,} tags from {_SOURCES.get(pools.source, pools.source)}"
    lines = plain.table_lines(pool_table(printable(title), rows, unread=unread), max(width, 100))
    return "\n".join([*lines, *(printable(note) for note in pools.notes)]) + "\n"


def render_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], output: str) -> Iterator[str]:
    """Yield text for rows of any kind (allocations): ``table``, ``csv`` or ``jsonl``.

    All of them stream: a table is laid out :data:`_CHUNK` rows at a time.
    """
    if output == "csv":
        yield from csv_lines(columns, rows)
    elif output == "jsonl":
        for row in rows:
            yield json.line({name: row.get(name) for name in columns})
    else:
        yield from _laid_out(iter(rows), columns)


def _laid_out(rows: Iterator[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    listed, numeric, headings = list(islice(rows, _CHUNK)), None, 0
    while listed or not headings:
        if numeric is None:
            numeric = [all(isinstance(row.get(n), (int, type(None))) for row in listed) for n in columns]
        cells = tuple(tuple(_cell(name, row.get(name)) for name in columns) for row in listed)
        laid = Table("", tuple(zip(columns, numeric, strict=True)), cells)
        yield from (line + "\n" for line in plain.table_lines(laid, _WIDEST)[headings:])
        listed, headings = list(islice(rows, _CHUNK)), 1


def csv_lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a heading and a line for each row; unknown is an empty field, controls are escaped."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        yield _drain(buffer)
        writer.writerow([_plain(row.get(name)) for name in columns])
    yield _drain(buffer)


def _drain(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


def _plain(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else ("" if value is None else value)


def _cell(name: str, value: Any) -> str:
    if name == "tag" and isinstance(value, str):
        return figures.tag(value)
    return figures.count(value) if isinstance(value, int) or value is None else str(value)
