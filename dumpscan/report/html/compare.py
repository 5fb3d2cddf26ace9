"""``dumpscan compare --format html``: several images of one machine, and what grew between them.

The curves come first: growth is what the reader came for. The x axis is the images' system time;
images without one are numbered instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from markupsafe import Markup

from dumpscan.model_compare import Comparison, PoolGrowth, TagGrowth
from dumpscan.report import compare as words
from dumpscan.report import figures
from dumpscan.report.html import charts, parts
from dumpscan.report.html.page import Banner, Embedded, Section, page
from dumpscan.report.html.svg import time_ticks

_TONES = {"exhibits": "bad", "unexpected": "bad", "does-not-exhibit": "good"}
_ANSWERS = {True: "yes", False: "no", None: "unknown"}
_MOST_CURVES = 5
_NUMBER = "number"


def render(found: Comparison, tags: Sequence[str] = ("IoSe", "Pp  ")) -> str:
    """Return the report as one HTML file. ``tags``: the signature's, drawn whatever else grew."""
    code = found.verdict.code
    banner = Banner(
        found.signature.id,
        code.replace("-", " ").capitalize(),
        found.verdict.summary,
        _TONES.get(code, "unsure"),
        _figures(found),
    )
    return page(
        f"{found.signature.id}: comparison of {len(found.images)} images",
        [section for section in _sections(found, frozenset(tags)) if section.body],
        banner=banner,
        source=f"{len(found.images)} images",
        embedded=Embedded(found, "compare.json"),
        tool=f"{found.tool.name} {found.tool.version}".strip(),
    )


def _figures(found: Comparison) -> list[tuple[str, str, str]]:
    rows = [("Same machine and boot", f"{_ANSWERS[found.same_machine]}, {_ANSWERS[found.same_boot]}", "")]
    if found.hours is not None:
        unloads = f"{found.unloads:,} driver unloads" if found.unloads is not None else ""
        rows.append(("Between first and last", figures.duration(found.hours * 3600), unloads))
    for name, pool in (("Paged pool", found.pool.paged), ("Nonpaged pool", found.pool.nonpaged)):
        if pool.full_at is not None:
            was = "was full at" if (pool.hours_left or 0) <= 0 else "full at"
            rows.append((f"{name} {was}", pool.full_at, "at this rate"))
    return rows


def _sections(found: Comparison, tags: frozenset[str]) -> list[Section]:
    who = found.attribution.summary if found.attribution is not None else None
    advice = parts.paragraph(found.verdict.advice, "action")
    return [
        Section("action", "What to do", advice),
        Section("who", "Who lost the blocks", parts.paragraph(who) if who else Markup("")),
        Section("growth", "Growth", _curves(found, tags)),
        Section("images", "Images", parts.joined(_images(found), _reasons(found), parts.notes(found.notes))),
        Section("evidence", "Evidence", _evidence(found)),
        Section("tags", "All tags", _tags(found, tags)),
    ]


# -- curves ------------------------------------------------------------------------------------------


class _Axis:
    """Where the images stand on the x axis."""

    def __init__(self, found: Comparison) -> None:
        times = [_moment(image.system_time) for image in found.images]
        known = [time for time in times if time is not None]
        self.timed = len(known) == len(times) and known[0] < known[-1]
        if self.timed:
            self.at = [time.timestamp() for time in known]
            self.ticks = [(when.timestamp(), label) for when, label in time_ticks(known[0], known[-1])]
        else:
            self.at = [float(number) for number in range(1, len(times) + 1)]
            self.ticks = [(x, f"#{x:g}") for x in self.at]

    @property
    def range(self) -> tuple[float, float]:
        return self.at[0], self.at[-1]

    def points(self, values: Sequence[int | None]) -> list[tuple[float, float]]:
        return [(x, float(y)) for x, y in zip(self.at, values, strict=True) if y is not None]


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat((text or "").replace("Z", "+00:00")).astimezone(timezone.utc)
    except ValueError:
        return None


def _curves(found: Comparison, tags: frozenset[str]) -> Markup:
    axis = _Axis(found)
    grown = [row for row in found.tags if (row.bytes_change or 0) > 0]
    mine = [row for row in grown if row.tag in tags]
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
        charts.Curve(f"{figures.tag(row.tag)} {row.pool}", axis.points([p.outstanding for p in row.points]))
        for row in rows
    ]
    lines = [line for line in lines if line.points]
    text = "; ".join(
        f"{figures.tag(row.tag)} from {figures.count(row.points[0].outstanding)} to "
        f"{figures.count(row.points[-1].outstanding)}"
        for row in rows
    )
    title = "Outstanding allocations by tag"
    picture = charts.curves(title, lines, text, unit="allocations", x_ticks=axis.ticks, x_range=axis.range)
    key = parts.legend([(f"c{index % 10}", line.name) for index, line in enumerate(lines)])
    return parts.figure(title, picture, text=f"{text}.", legend=key)


def _pool_curve(axis: _Axis, name: str, pool: PoolGrowth) -> Markup:
    limit = pool.points[-1].limit_bytes
    text = words.pool_text(pool)
    picture = charts.curves(
        name,
        [charts.Curve("in use", axis.points([point.used_bytes for point in pool.points]))],
        text,
        unit="bytes in use",
        x_ticks=axis.ticks,
        x_range=axis.range,
        limit=(float(limit), f"limit {figures.size(limit)}") if limit else None,
        value=figures.size,
        base=2,
    )
    return parts.figure(name, picture, text=f"{text}.")


# -- tables ------------------------------------------------------------------------------------------


def _images(found: Comparison) -> Markup:
    columns = [
        parts.Column("#", _NUMBER), parts.Column("System time", "short"), parts.Column("Up", "short"),
        parts.Column("Driver unloads", _NUMBER), parts.Column("Alone", "short"), parts.Column("Kernel"),
        parts.Column("File"),
    ]  # fmt: skip
    rows = [
        (
            str(number),
            image.system_time or "unknown",
            figures.duration(image.uptime_seconds) if image.uptime_seconds is not None else "-",
            figures.count(image.unloads_total),
            image.code,
            image.kernel,
            image.path,
        )
        for number, image in enumerate(found.images, 1)
    ]
    return parts.table(parts.Table("In time order", columns, rows, stacked=True))


def _reasons(found: Comparison) -> Markup:
    columns = [parts.Column("Asked"), parts.Column("Same", "short"), parts.Column("Found")]
    rows = [(reason.about, reason.outcome, reason.text) for reason in found.reasons]
    return parts.table(parts.Table("Same machine and boot?", columns, rows, stacked=True))


def _evidence(found: Comparison) -> Markup:
    columns = [
        parts.Column("Outcome", "short"),
        parts.Column("Finding"),
        parts.Column("Read from", minor=True),
    ]
    rows = [(item.outcome, item.text, item.where) for item in found.signature.evidence]
    caption = f"{found.signature.id}: {found.signature.state}"
    return parts.table(parts.Table(caption, columns, rows, stacked=True))


def _tags(found: Comparison, tags: frozenset[str]) -> Markup:
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
        parts.Table("Outstanding allocations", columns, rows, marked, tools=True, id="growth-by-tag")
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
