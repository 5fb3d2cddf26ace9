"""``dumpscan compare --format html``: several images of one machine, and what grew between them.

The curves come first: growth is what the reader came for. The x axis is the images' system time;
images without one are numbered instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from markupsafe import Markup

from dumpscan.model_compare import Comparison, PoolGrowth, TagGrowth
from dumpscan.report import figures
from dumpscan.report.html import charts, parts, wording
from dumpscan.report.html.page import Banner, Embedded, Section, page
from dumpscan.report.html.svg import time_ticks
from dumpscan.report.html.verdict_evidence import outcome

_ANSWERS = {True: "yes", False: "no", None: "unknown"}
_MOST_CURVES = 5
_FARTHEST = 20.0
"""A forecast is drawn up to so many times the time between first and last image: beyond, what was
measured would be a dot."""
_NUMBER = "number"
_ROWS = 40


def render(found: Comparison, tags: Sequence[str] = ("IoSe", "Pp  ")) -> str:
    """Return the report as one HTML file. ``tags``: the signature's, drawn whatever else grew."""
    code, signature = found.verdict.code, found.signature
    banner = Banner(
        f"{signature.id}, {signature.title}" if signature.title else signature.id,
        wording.WORDS.get(code, code),
        found.verdict.summary,
        wording.tone(code, bool(found.suspects)),
        _figures(found),
        wording.plain(code, found.fix, bool(found.suspects)),
    )
    return page(
        f"{signature.id}: comparison of {len(found.images)} images",
        [section for section in _sections(found, tags) if section.body],
        banner=banner,
        source=f"{len(found.images)} images compared",
        embedded=Embedded(found, "compare.json"),
        tool=f"{found.tool.name} {found.tool.version}".strip(),
    )


def _figures(found: Comparison) -> list[tuple[str, str, str]]:
    boot = f"same boot: {_ANSWERS[found.same_boot]}"
    rows = [("Same machine", _ANSWERS[found.same_machine], boot)]
    if found.hours is not None:
        unloads = f"{found.unloads:,} driver unloads" if found.unloads is not None else ""
        rows.append(("Between first and last", figures.duration(found.hours * 3600), unloads))
    for name, pool in (("Paged pool", found.pool.paged), ("Nonpaged pool", found.pool.nonpaged)):
        if pool.full_at is not None:
            was = "was full" if (pool.hours_left or 0) <= 0 else "will be full"
            rows.append((f"{name} {was}", figures.moment(pool.full_at)[:16], "UTC, at this rate"))
    return rows


def _sections(found: Comparison, tags: Sequence[str]) -> list[Section]:
    who = found.attribution.summary if found.attribution is not None else None
    advice = parts.paragraph(found.verdict.advice, "action")
    doubts = parts.joined(*(parts.paragraph(note, "unsure") for note in found.notes))
    return [
        Section("doubts", "How far these images can be compared", doubts),
        Section("action", "What to do", advice),
        Section("who", "Who lost the blocks", parts.paragraph(who) if who else Markup("")),
        Section("growth", "Growth", _curves(found, tags)),
        Section("images", "Images", parts.joined(_images(found), _reasons(found))),
        Section("evidence", "Evidence", _evidence(found)),
        Section("tags", "All tags", _tags(found, tags)),
    ]


# -- curves ------------------------------------------------------------------------------------------


class _Axis:
    """Where the images stand on the x axis. ``joined``: may points be joined by a line?"""

    def __init__(self, found: Comparison) -> None:
        times = [_moment(image.system_time) for image in found.images]
        known = [time for time in times if time is not None]
        self.joined = found.comparable == "growth"
        self.times = known if len(known) == len(times) and known[0] < known[-1] else []
        if self.times:
            self.at = [time.timestamp() for time in known]
        else:
            self.at = [float(number) for number in range(1, len(times) + 1)]

    def ticks(self, end: float) -> list[tuple[float, str]]:
        """Marks from the first image to ``end``, a value of the axis."""
        if not self.times:
            return [(x, f"#{x:g}") for x in self.at]
        last = datetime.fromtimestamp(end, timezone.utc)
        return [(when.timestamp(), label) for when, label in time_ticks(self.times[0], last)]

    def curve(self, name: str, values: Sequence[int | None]) -> charts.Curve:
        """What each image holds."""
        points = [(x, float(y)) for x, y in zip(self.at, values, strict=True) if y is not None]
        return charts.Curve(name, points, joined=self.joined)


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat((text or "").replace("Z", "+00:00")).astimezone(timezone.utc)
    except ValueError:
        return None


def _curves(found: Comparison, tags: Sequence[str]) -> Markup:
    if found.comparable == "nothing":
        return parts.paragraph("Nothing is drawn: a line between different machines would say nothing.")
    axis = _Axis(found)
    grown = [row for row in found.tags if (row.bytes_change or 0) > 0]
    # The signature's tags first and in its order: they have the same colours in every report.
    mine = sorted((row for row in grown if row.tag in tags), key=lambda row: tags.index(row.tag))
    others = [row for row in grown if row.tag not in tags][: _MOST_CURVES - len(mine)]
    pictures = [_tag_curves(axis, [*mine, *others])] if grown else []
    for name, pool in (("Paged pool", found.pool.paged), ("Nonpaged pool", found.pool.nonpaged)):
        if any(point.used_bytes is not None for point in pool.points):
            pictures.append(_pool_curve(axis, name, pool))
    if not pictures:
        return parts.paragraph("Nothing grew that these images could show.")
    return parts.joined(*pictures)


def _tag_curves(axis: _Axis, rows: Sequence[TagGrowth]) -> Markup:
    lines = [
        axis.curve(f"{figures.tag(row.tag)} {row.pool}", [p.outstanding for p in row.points]) for row in rows
    ]
    lines = [line for line in lines if line.points]
    text = "; ".join(
        f"{figures.tag(row.tag)} from {figures.count(row.points[0].outstanding)} to "
        f"{figures.count(row.points[-1].outstanding)}"
        for row in rows
    )
    title, span = "Outstanding allocations by tag", (axis.at[0], axis.at[-1])
    picture = charts.curves(
        title, lines, text, unit="allocations", x_ticks=axis.ticks(axis.at[-1]), x_range=span
    )
    key = parts.legend([(f"c{index % 10}", line.name) for index, line in enumerate(lines)])
    return parts.figure(title, picture, text=f"{text}.", legend=key)


def _pool_curve(axis: _Axis, name: str, pool: PoolGrowth) -> Markup:
    limit = pool.points[-1].limit_bytes
    text = _pool_text(pool)
    line = axis.curve("in use", [point.used_bytes for point in pool.points])
    ahead = _forecast(axis, pool)
    end = ahead.points[-1][0] if ahead else axis.at[-1]
    key = [("c0", "in use")] + ([("forecast", "at this rate")] if ahead else [])
    picture = charts.curves(
        name,
        [line, ahead] if ahead else [line],
        text,
        unit="bytes in use",
        x_ticks=axis.ticks(end),
        x_range=(axis.at[0], end),
        limit=(float(limit), f"limit {figures.size(limit)}") if limit else None,
        value=figures.size,
        base=2,
    )
    return parts.figure(name, picture, text=text, legend=parts.legend(key) if ahead else "")


def _forecast(axis: _Axis, pool: PoolGrowth) -> charts.Curve | None:
    """On from the last image's use at the rate, until the pool is full or the picture's end."""
    last = pool.points[-1]
    if not axis.times or not pool.hours_left or pool.hours_left <= 0 or last.used_bytes is None:
        return None
    if pool.full_at is None:  # beyond what a calendar shows
        return None
    start, span = axis.at[-1], axis.at[-1] - axis.at[0]
    seconds = min(pool.hours_left * 3600, _FARTHEST * span)
    full = last.used_bytes + (pool.bytes_per_hour or 0.0) * seconds / 3600
    points = [(start, float(last.used_bytes)), (start + seconds, full)]
    return charts.Curve("at this rate", points, fitted=True)


def _pool_text(pool: PoolGrowth) -> str:
    """Levels, rate and when it is full, in sentences."""
    first, last = pool.points[0], pool.points[-1]
    before, after = figures.size(first.used_bytes), figures.size(last.used_bytes)
    text = f"{before} in use in the first image, {after} in the last"
    text += f", of at most {figures.size(last.limit_bytes)}. " if last.limit_bytes is not None else ". "
    if pool.bytes_per_hour is not None:
        rate = round(pool.bytes_per_hour)
        text += f"{figures.size(abs(rate))} {'more' if rate > 0 else 'less'} each hour. " if rate else ""
    if pool.full_at is None or pool.hours_left is None:
        return f"{text}Forecast: {pool.text or 'none'}."
    when = f"{figures.moment(pool.full_at)[:16]} UTC"
    if pool.hours_left <= 0:
        return f"{text}It was full on {when}."
    left = figures.duration(timedelta(hours=pool.hours_left).total_seconds())
    return f"{text}Full on {when} at this rate, {left} after the last image."


# -- tables ------------------------------------------------------------------------------------------


def _images(found: Comparison) -> Markup:
    columns = [
        parts.Column("#", _NUMBER), parts.Column("System time (UTC)", "short"), parts.Column("Up", "short"),
        parts.Column("Driver unloads", _NUMBER), parts.Column("Taken alone", "short"), parts.Column("Kernel"),
        parts.Column("File", "long"),
    ]  # fmt: skip
    rows = [
        (
            str(number),
            figures.moment(image.system_time),
            figures.duration(image.uptime_seconds) if image.uptime_seconds is not None else "-",
            figures.count(image.unloads_total),
            image.code.replace("-", " "),
            image.kernel,
            image.path,
        )
        for number, image in enumerate(found.images, 1)
    ]
    return parts.table(parts.Table("In time order", columns, rows, stacked=True))


def _reasons(found: Comparison) -> Markup:
    columns = [parts.Column("Compared"), parts.Column("Same?", "short"), parts.Column("Found")]
    rows = [(reason.about, reason.outcome, reason.text) for reason in found.reasons]
    return parts.table(parts.Table("Same machine and boot?", columns, rows, stacked=True))


def _evidence(found: Comparison) -> Markup:
    columns = [
        parts.Column("Outcome", "short"),
        parts.Column("Finding"),
        parts.Column("Read from", "where"),
    ]
    rows = [
        (parts.Cell(word, tone=tone), item.text, item.where)
        for item in found.signature.evidence
        for word, tone in [outcome(item.outcome)]
    ]
    caption = f"{found.signature.id}: {found.signature.state}"
    return parts.table(parts.Table(caption, columns, rows, stacked=True))


def _tags(found: Comparison, tags: Sequence[str]) -> Markup:
    number = len(found.images)
    columns = [
        parts.Column("Tag", "code"), parts.Column("Pool", "choice"),
        *(parts.Column(f"#{i + 1}", _NUMBER, minor=0 < i < number - 1) for i in range(number)),
        parts.Column("Change", _NUMBER), parts.Column("Per hour", _NUMBER),
        parts.Column("Bytes per hour", _NUMBER), parts.Column("Per unload", _NUMBER),
        parts.Column("r2", _NUMBER, minor=True, hint="1 is a straight line"),
    ]  # fmt: skip
    rows = [_tag_row(row) for row in found.tags]
    marked = [index for index, row in enumerate(found.tags) if row.tag in tags]
    return parts.table(
        parts.Table(
            "Outstanding allocations", columns, rows, marked, tools=True, id="growth-by-tag", limit=_ROWS
        )
    )


def _tag_row(row: TagGrowth) -> list[parts.Cell | str]:
    line = row.outstanding_fit
    cells: list[parts.Cell | str] = [parts.Cell(parts.tag(row.tag), row.tag), row.pool]
    cells += [parts.Cell(figures.count(point.outstanding), point.outstanding) for point in row.points]
    for value, shown in (
        (row.outstanding_change, "{:+,}"),
        (row.outstanding_per_hour, "{:+,.1f}"),
        (row.bytes_per_hour, "{:+,.0f}"),
        (row.outstanding_per_unload, "{:.2f}"),
        (line.r2 if line else None, "{:.3f}"),
    ):
        cells.append(parts.Cell("-" if value is None else shown.format(value), value))
    return cells
