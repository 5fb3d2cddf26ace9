"""What grew: levels of tags and pools at each point, straight lines through them, when a pool is full.

Rates are slopes of least-squares lines, per hour; with two images that is the difference divided by
the hours between them. The trap of the area: figures of a walk count resident blocks only and must
not be held against the kernel's own counters.
"""

from __future__ import annotations

from collections.abc import Sequence

from dumpscan.compare import clock
from dumpscan.model import Pool, PoolLimits, PoolUse, TagUse, Verdict
from dumpscan.model_compare import Fit, Level, PoolGrowth, PoolsGrowth, TagGrowth

_COMPLETE = 0.9995
_FARTHEST_HOURS = 24 * 366 * 100
_UNKNOWN = Level(None, None)


def fit(hours: Sequence[float] | None, values: Sequence[float | None]) -> Fit | None:
    """The least-squares line through the values; None where a value or the times are unknown."""
    known = [value for value in values if value is not None]
    if hours is None or len(known) != len(values) or len(known) < 2:
        return None
    mean_x, mean_y = sum(hours) / len(hours), sum(known) / len(known)
    xx = sum((x - mean_x) ** 2 for x in hours)
    yy = sum((y - mean_y) ** 2 for y in known)
    if not xx:
        return None
    xy = sum((x - mean_x) * (y - mean_y) for x, y in zip(hours, known, strict=True))
    return Fit(xy / xx, min(1.0, xy * xy / (xx * yy)) if yy else None)


def change(values: Sequence[int | None]) -> int | None:
    """Last minus first."""
    first, last = values[0], values[-1]
    return None if first is None or last is None else last - first


def unloads_between(verdicts: Sequence[Verdict]) -> int | None:
    """Driver unloads from the first image to the last; None where the kernel does not count them."""
    return change([verdict.drivers.unloads_total for verdict in verdicts])


def source_of(pool: Pool) -> str | None:
    """Where most of an image's figures come from."""
    return pool.tags[0].source if pool.tags else None


# -- tags --------------------------------------------------------------------------------------------


def tag_growths(
    verdicts: Sequence[Verdict], hours: Sequence[float] | None, unloads: int | None
) -> tuple[TagGrowth, ...]:
    """Every tag and pool that holds something at some point, the one that grew most first."""
    tables = [{use.tag: use for use in verdict.pool.tags} for verdict in verdicts]
    rows = []
    for tag in sorted({tag for table in tables for tag in table}):
        sources = {
            table[tag].source if tag in table else source_of(v.pool)
            for table, v in zip(tables, verdicts, strict=True)
        }
        common = sources.pop() if len(sources) == 1 else None
        for pool in ("paged", "nonpaged"):
            points = tuple(
                _level(v.pool, table.get(tag), pool) for table, v in zip(tables, verdicts, strict=True)
            )
            if any(point.outstanding or point.bytes for point in points):
                rows.append(
                    _growth(tag, pool, points, hours if common else None, unloads if common else None, common)
                )
    rows.sort(key=lambda row: (-abs(row.bytes_change or 0), row.tag, row.pool))
    return tuple(rows)


def _level(pool: Pool, use: TagUse | None, name: str) -> Level:
    """What a tag holds; a tag without a row holds nothing where the tables are whole."""
    if use is None:
        covered = pool.coverage.tracker
        whole = source_of(pool) == "tracker" and (covered is None or covered >= _COMPLETE)
        return Level(0, 0) if whole or (source_of(pool) == "pages") else _UNKNOWN
    part: PoolUse = use.nonpaged if name == "nonpaged" else use.paged
    if use.source != "tracker" and part.big is not None:
        return Level(part.outstanding + part.big.count, part.bytes + part.big.bytes)
    return Level(part.outstanding, part.bytes)


def _growth(
    tag: str,
    pool: str,
    points: tuple[Level, ...],
    hours: Sequence[float] | None,
    unloads: int | None,
    source: str | None,
) -> TagGrowth:
    counts, octets = [point.outstanding for point in points], [point.bytes for point in points]
    count_fit, byte_fit, more = fit(hours, counts), fit(hours, octets), change(counts)
    return TagGrowth(
        tag=tag,
        pool=pool,
        points=points,
        outstanding_change=more,
        bytes_change=change(octets),
        outstanding_per_hour=count_fit.slope if count_fit else None,
        bytes_per_hour=byte_fit.slope if byte_fit else None,
        outstanding_per_unload=more / unloads if unloads and unloads > 0 and more is not None else None,
        outstanding_fit=count_fit,
        bytes_fit=byte_fit,
        source=source,
    )


# -- pools -------------------------------------------------------------------------------------------


def pools_growth(
    verdicts: Sequence[Verdict], hours: Sequence[float] | None, same_boot: bool | None = None
) -> PoolsGrowth:
    """Both pools, and when each is full."""
    paged = [verdict.pool.paged for verdict in verdicts]
    nonpaged = [verdict.pool.nonpaged for verdict in verdicts]
    why = "not images of one boot" if same_boot is False else "use or times are not known"
    none = f"no rate: {why}"
    return PoolsGrowth(_pool(verdicts, paged, hours, none), _pool(verdicts, nonpaged, hours, none))


def _pool(
    verdicts: Sequence[Verdict], points: list[PoolLimits], hours: Sequence[float] | None, none: str
) -> PoolGrowth:
    line = fit(hours, [point.used_bytes for point in points])
    if line is None or hours is None:
        return PoolGrowth(tuple(points), text=none)
    left = hours_to_full(hours, points, line)
    last = clock.moment(verdicts[-1].machine.system_time)
    when = clock.moved(last, left * 3600) if left is not None and last is not None else None
    at = clock.text(when) if when is not None else None
    return PoolGrowth(tuple(points), line.slope, line, at, left, _words(line, left, points[-1]))


def hours_to_full(hours: Sequence[float], points: Sequence[PoolLimits], line: Fit) -> float | None:
    """Hours from the last point until use reaches the limit; not positive when it has; None: never.

    From the last point on at the line's slope, so that what is known exactly is not smoothed away.
    """
    limit, used = points[-1].limit_bytes, points[-1].used_bytes
    if limit is None or used is None:
        return None
    for index, point in enumerate(points):
        if point.used_bytes is not None and point.used_bytes >= limit:
            return _crossing(hours, points, index, limit) - hours[-1]
    if line.slope <= 0:
        return None
    left = (limit - used) / line.slope
    return left if left <= _FARTHEST_HOURS else None


def _crossing(hours: Sequence[float], points: Sequence[PoolLimits], index: int, limit: int) -> float:
    """When the limit was reached between the point before ``index`` and it."""
    if index == 0:
        return hours[0]
    before, after = points[index - 1].used_bytes or 0, points[index].used_bytes or 0
    return hours[index - 1] + (hours[index] - hours[index - 1]) * (limit - before) / (after - before)


def _words(line: Fit, left: float | None, last: PoolLimits) -> str:
    if last.limit_bytes is None:
        return "its limit is not known"
    if left is None:
        return "does not fill up" if line.slope <= 0 else "not full within a hundred years"
    return "full" if left <= 0 else "fills up"
