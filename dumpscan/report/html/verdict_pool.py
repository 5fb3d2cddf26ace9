"""The pools: how full, with what, in which sizes, where, and how far the figures can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from dumpscan.model import PoolLimits, Verdict
from dumpscan.model_pictures import Histogram, Pictures
from dumpscan.report import figures, table
from dumpscan.report.html import charts, parts
from dumpscan.report.html.page import Section
from dumpscan.report.html.poolmap import pool_map

_TOP = 14
_BAD, _WARN = 0.9, 0.75
_SIZES = 24
_ROWS = 40
"""Of a long table, shown at first."""
_SIZES_TITLE = "Sizes of the signature's allocations"
_POOLS = ("nonpaged", "paged")


def fullness(limits: PoolLimits) -> float | None:
    """Used share of the maximum (0..1)."""
    if limits.fullness is not None or limits.used_bytes is None or not limits.limit_bytes:
        return limits.fullness
    return limits.used_bytes / limits.limit_bytes


def sections(verdict: Verdict) -> Iterator[Section]:
    """Fullness and tags, sizes, map; those that have nothing to show have an empty body."""
    yield _pool_section(verdict)
    pictures = verdict.pictures
    if pictures is not None:
        yield _sizes_section(verdict, pictures)
        yield _map_section(verdict, pictures)


def _pool_section(verdict: Verdict) -> Section:
    pool = verdict.pool
    gauges = [_gauge("Paged pool", pool.paged), _gauge("Nonpaged pool", pool.nonpaged)]
    drawn = [_bars(verdict, name) for name in ("paged", "nonpaged")]
    body = parts.joined(parts.columns(*gauges), parts.columns(*(each for each in drawn if each)))
    return Section("pool", "How full, and with what", body)


def _gauge(name: str, limits: PoolLimits) -> Markup:
    share = fullness(limits)
    words = "use unknown" if limits.used_bytes is None else f"{figures.size(limits.used_bytes)} in use"
    if limits.limit_bytes is not None:
        words += f" of at most {figures.size(limits.limit_bytes)}"
    if share is not None:
        words += f": {figures.percent(share)} full"
    tone = "" if share is None else ("bad" if share >= _BAD else "unsure" if share >= _WARN else "good")
    return parts.figure(name, charts.gauge(name, share, words, tone), text=words)


def _rows(verdict: Verdict) -> list[table.PoolRow]:
    return sorted(table.pool_rows(verdict.pool.tags), key=table.total_bytes, reverse=True)


def _bars(verdict: Verdict, pool: str) -> Markup | None:
    rows = [row for row in _rows(verdict) if row.pool == pool and table.total_bytes(row) > 0]
    if not rows:
        return None
    marked = verdict.signature.tags
    shown = [row for index, row in enumerate(rows) if index < _TOP or row.tag in marked]
    limits = verdict.pool.paged if pool == "paged" else verdict.pool.nonpaged
    total = limits.used_bytes or sum(table.total_bytes(row) for row in rows)
    bars = [
        charts.Bar(
            figures.tag(row.tag),
            table.total_bytes(row),
            f"{figures.size(table.total_bytes(row))} · {figures.percent(table.total_bytes(row) / total)}",
            row.tag in marked,
            f"c{marked.index(row.tag)}" if row.tag in marked else "bar",
        )
        for row in shown
    ]
    rest = sum(map(table.total_bytes, rows)) - sum(map(table.total_bytes, shown))
    left = len(rows) - len(shown)
    others = f" {left} more tags hold {figures.size(rest)}." if left else ""
    first = f"The largest is {bars[0].label} with {bars[0].text} of the pool in use."
    title = f"{pool.capitalize()} pool by tag"
    words = f"{first}{others}"
    if any(bar.marked for bar in bars):
        words += f" ◆ marks the tags of {verdict.signature.id}."
    return parts.figure(title, charts.bars(title, bars, words), text=words)


def _sizes_section(verdict: Verdict, pictures: Pictures) -> Section:
    drawn = [_histogram(verdict, pictures, pool) for pool in ("paged", "nonpaged")]
    kept = [each for each in drawn if each]
    lead = (
        "Resident allocations of the signature's tags, header included. A leak shows as one or two sizes "
        "far above all others: the same code, over and over."
    )
    return Section("sizes", _SIZES_TITLE, parts.joined(*kept), lead + _share(pictures))


def _share(pictures: Pictures) -> str:
    if pictures.share is None or pictures.share >= 1:
        return ""
    return f" {figures.percent(pictures.share)} of the resident pages were looked at, evenly spread."


def _histogram(verdict: Verdict, pictures: Pictures, pool: str) -> Markup | None:
    wanted = verdict.signature.tags
    found = [each for each in pictures.histograms if each.pool == pool and each.tag in wanted]
    if not found:
        return None
    stacks = size_classes(found)
    title = f"{pool.capitalize()} pool: allocations by size"
    peaks = [max(each.sizes, key=lambda size: size.count) for each in found]
    words = " ".join(
        f"{figures.tag(each.tag)}: most often {peak.size:,} bytes, {peak.count:,} of "
        f"{sum(size.count for size in each.sizes):,}."
        for each, peak in zip(found, peaks, strict=True)
    )
    picture = charts.columns(title, stacks, words, axis="bytes", unit="allocations")
    keys = parts.legend((f"c{index}", figures.tag(each.tag)) for index, each in enumerate(found))
    return parts.joined(parts.figure(title, picture, text=words, legend=keys), _size_table(found))


def _size_table(found: Sequence[Histogram]) -> Markup:
    number = "number"
    columns = [parts.Column("Tag", "code"), parts.Column("Bytes", number), parts.Column("Blocks", number)]
    rows = [
        (parts.Cell(parts.tag(each.tag)), figures.count(size.size), figures.count(size.count))
        for each in found
        for size in each.sizes
    ]
    listed = parts.table(parts.Table(f"Allocations by size, {found[0].pool} pool", columns, rows))
    return parts.folded("The same as a table", listed)


def size_classes(found: Sequence[Histogram]) -> list[charts.Stack]:
    """A column for each size, ascending; neighbours are put together where there are too many."""
    counts = [{size.size: size.count for size in each.sizes} for each in found]
    sizes = sorted({size for each in counts for size in each})
    step = -(-len(sizes) // _SIZES)
    stacks = []
    for at in range(0, len(sizes), step):
        group = sizes[at : at + step]
        label = f"{group[0]:,}" if len(group) == 1 else f"{group[0]:,}-{group[-1]:,}"
        stacks.append(charts.Stack(label, [sum(each.get(size, 0) for size in group) for each in counts]))
    return stacks


def _map_section(verdict: Verdict, pictures: Pictures) -> Section:
    drawn = [pool_map(each, verdict.signature.tags) for each in pictures.maps if each.segments]
    lead = (
        "Each square shows what most of its pages hold. "
        "What the image does not hold is unknown, not empty."
    )
    return Section("map", "The pools by address", parts.joined(*drawn), lead + _share(pictures))


_SOURCES = {
    "tracker": "the kernel's own counters",
    "pages": "a walk of the pool pages",
    "sample": "a random sample of the pool pages",
}


def trust_section(verdict: Verdict) -> Section:
    """Coverage of each source, tracker against pages, and every note."""
    pool = verdict.pool
    named = (
        ("Tracker tables", pool.coverage.tracker),
        ("Big page table", pool.coverage.big_pages),
        ("Paged pool pages", pool.coverage.paged_pages),
        ("Nonpaged pool pages", pool.coverage.nonpaged_pages),
    )
    rows = [
        (name, "not read" if share is None else f"{figures.percent(share)} in the image")
        for name, share in named
    ]
    sources = sorted({use.source for use in pool.tags})
    rows.append(("Figures from", " and ".join(_SOURCES.get(name, name) for name in sources) or "nowhere"))
    rows.append(("Pool tagging", pool.tagging))
    coverage = parts.card("Coverage", parts.facts(rows))
    boxes = parts.columns(coverage, *_states(verdict))
    body = parts.joined(boxes, _reconciliation(verdict), parts.notes(pool.notes))
    return Section("trust", "Reconciliation and coverage", body)


def _states(verdict: Verdict) -> list[Markup]:
    """Nothing where no page was looked at: unknown is not none."""
    states = {
        name: state
        for name, state in verdict.pool.page_states.items()
        if any(getattr(state, each) for each in _PAGE_STATES)
    }
    if not states:
        return []
    columns = [parts.Column("State of the page"), *(parts.Column(name, "number") for name in states)]
    rows = [
        (words, *(figures.count(getattr(state, name)) for state in states.values()))
        for name, words in _PAGE_STATES.items()
    ]
    caption = "Pages of each pool, by what the page tables say"
    return [parts.card("Pages by state", parts.table(parts.Table(caption, columns, rows)))]


_PAGE_STATES = {
    "valid": "in memory",
    "transition": "in memory, on its way out (a kernel dump may lack it)",
    "pagefile": "paged out",
    "demand_zero": "not used yet",
    "prototype": "shared",
    "absent": "unknown: the page table is not in the image",
}


def _reconciliation(verdict: Verdict) -> Markup:
    if not verdict.pool.reconciliation:
        return parts.paragraph(
            "The counters were not held against the pool pages in this run.", "quiet"
        )
    columns = [
        parts.Column("Tag", "code"), parts.Column("Tracker bytes", "number"),
        parts.Column("Resident bytes", "number"), parts.Column("Big bytes", "number", minor=True),
        parts.Column("Unexplained", "number"), parts.Column("Note", minor=True),
    ]  # fmt: skip
    marked = set(verdict.signature.tags)
    ordered = sorted(
        verdict.pool.reconciliation, key=lambda each: -(each.tracker_bytes or each.resident_bytes)
    )
    rows = [
        (
            parts.Cell(parts.tag(each.tag), each.tag),
            figures.count(each.tracker_bytes),
            figures.count(each.resident_bytes),
            figures.count(each.big_bytes),
            figures.count(each.unexplained_bytes),
            each.note,
        )
        for each in ordered
    ]
    lines = {index for index, each in enumerate(ordered) if each.tag in marked}
    caption = "Tracker against memory, by tag"
    listed = parts.Table(caption, columns, rows, lines, tools=True, id="reconciliation", limit=_ROWS)
    return parts.table(listed)


_ESTIMATE = "estimated from a sample of pages: in 95 of 100 cases the truth lies within"
_HINTS = {"Allocs": "since boot", "Frees": "since boot", "Each": "bytes / outstanding"}


def tags_section(verdict: Verdict, most: int | None = None) -> Section:
    """Every tag in both pools (or the ``most`` largest), sortable and filterable."""
    rows = _rows(verdict)
    own = verdict.signature.tags
    kept = [row for index, row in enumerate(rows) if most is None or index < most or row.tag in own]
    if not rows:
        return Section("tags", "All tags", Markup(""))
    columns = [
        parts.Column("Tag", "code"), parts.Column("Pool", "choice"),
        parts.Column("Allocs", "number", True, _HINTS["Allocs"]),
        parts.Column("Frees", "number", True, _HINTS["Frees"]),
        parts.Column("Outstanding", "number"), parts.Column("95 %", "short", True, _ESTIMATE),
        parts.Column("Bytes", "number"), parts.Column("95 % of bytes", "short", True, _ESTIMATE),
        parts.Column("Each", "number", True, _HINTS["Each"]), parts.Column("Share", "number"),
        parts.Column("Large", "number", True, "allocations of a page or more"),
        parts.Column("Source", "choice", True),
    ]  # fmt: skip
    used = {name: sum(table.total_bytes(row) for row in rows if row.pool == name) or 1 for name in _POOLS}
    marked = {index for index, row in enumerate(kept) if row.tag in own}
    cells = [_tag_row(row, used[row.pool]) for row in kept]
    empty = {_ESTIMATE} if all(row.outstanding_low is None for row in kept) else set()
    empty |= {_HINTS["Allocs"]} if all(row.allocs is None for row in kept) else set()
    told = [index for index, column in enumerate(columns) if column.hint not in empty]
    columns, cells = [columns[at] for at in told], [tuple(row[at] for at in told) for row in cells]
    listed = parts.Table("Pool use by tag", columns, cells, marked, tools=True, id="all-tags", limit=_ROWS)
    part = f"The largest {len(kept):,} rows of " if len(kept) < len(rows) else ""
    lead = f"{part}{len(verdict.pool.tags):,} tags. Rows of {verdict.signature.id}'s tags are marked."
    return Section("tags", "All tags", parts.table(listed), lead)


def _tag_row(row: table.PoolRow, used: int) -> tuple[parts.Cell | str, ...]:
    octets = table.total_bytes(row)
    each = row.bytes // row.outstanding if row.outstanding > 0 else None
    blocks = figures.interval(row.outstanding, row.outstanding_low, row.outstanding_high, figures.count)
    low, high = row.bytes_low, row.bytes_high
    if low is not None and high is not None:  # of small blocks; large ones are counted, not estimated
        low, high = low + octets - row.bytes, high + octets - row.bytes
    within = figures.interval(octets, low, high, figures.size)
    return (
        parts.Cell(figures.tag(row.tag), row.tag),
        row.pool,
        figures.count(row.allocs),
        figures.count(row.frees),
        figures.count(row.outstanding),
        blocks or "-",
        figures.count(octets),
        within or "-",
        figures.count(each),
        parts.Cell(figures.percent(octets / used), round(octets / used, 6)),
        figures.count(row.big_count),
        row.source,
    )
