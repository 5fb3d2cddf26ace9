"""The comparison of images for a person: the answer, whether they may be compared, what grew."""

from __future__ import annotations

from collections.abc import Iterable

from dumpscan.model_compare import ComparedImage, Comparison, PoolGrowth, TagGrowth
from dumpscan.report import figures, plain
from dumpscan.report.blocks import Block, Facts, Headline, Items, Paragraph, Table

_TONES = {"exhibits": "bad", "unexpected": "bad", "does-not-exhibit": "good"}
_MARKS = {"yes": "+", "no": "-", "unknown": "?"}
_EVIDENCE = {"supports": "+", "contradicts": "-", "unknown": "?"}
_WORDS = {True: "yes", False: "NO", None: "unknown"}
_SHOWN = 15
_WIDTH, _SLACK = 80, 4


def render(found: Comparison, always: Iterable[str] = ("IoSe", "Pp  "), top: int | None = None) -> str:
    """Return the report as plain text. ``always``: tags that are listed however little they grew."""
    return plain.render(blocks(found, frozenset(always), top), _WIDTH)


def blocks(found: Comparison, always: frozenset[str], top: int | None = None) -> list[Block]:
    """Return the parts of the report in order."""
    code = found.verdict.code
    title = f"{found.signature.id} · {code.upper().replace('-', ' ')} · {found.verdict.summary}"
    parts: list[Block] = [
        Headline(title, _TONES.get(code, "unsure")),
        _images(found.images),
        Facts(tuple(_facts(found))),
        Items(
            "Same machine and boot?",
            tuple((_MARKS[r.outcome], f"{r.about}: {r.text}", "") for r in found.reasons),
        ),
        _tags(found, always, top or _SHOWN),
        Items(
            f"Evidence for {found.signature.id}: {found.signature.state}",
            tuple((_EVIDENCE.get(e.outcome, " "), e.text, "") for e in found.signature.evidence),
        ),
    ]
    if found.attribution is not None and found.attribution.summary:
        parts.append(Paragraph("Who", found.attribution.summary))
    return [*parts, Paragraph("What to do", found.verdict.advice)]


def _images(images: tuple[ComparedImage, ...]) -> Block:
    columns = (
        ("", True),
        ("System time", False),
        ("Up", True),
        ("Unloads", True),
        ("Alone", False),
        ("File", False),
    )
    rows = tuple(
        (
            str(number),
            image.system_time or "unknown",
            figures.duration(image.uptime_seconds) if image.uptime_seconds is not None else "-",
            figures.count(image.unloads_total),
            image.code,
            image.path.replace("\\", "/").rsplit("/", 1)[-1],
        )
        for number, image in enumerate(images, 1)
    )
    return Table("Images", columns, rows)


def _facts(found: Comparison) -> list[tuple[str, str]]:
    rows = [
        ("Kernel", " / ".join(dict.fromkeys(image.kernel for image in found.images))),
        ("Same", f"machine: {_WORDS[found.same_machine]}, boot: {_WORDS[found.same_boot]}"),
        *(("", note) for note in found.notes),
    ]
    span = [f"{found.hours:.2f} hours"] if found.hours is not None else []
    span += [f"{found.unloads:,} driver unloads"] if found.unloads is not None else []
    if span:
        rows.append(("Between", " and ".join(span)))
    rows.append(("Pool", f"paged {pool_text(found.pool.paged)}"))
    rows.append(("", f"nonpaged {pool_text(found.pool.nonpaged)}"))
    return rows


def pool_text(pool: PoolGrowth) -> str:
    """Levels, limit, rate and when it is full, in one line."""
    levels = " -> ".join(figures.size(point.used_bytes) for point in pool.points)
    text = f"{levels} of {figures.size(pool.points[-1].limit_bytes)}"
    if pool.bytes_per_hour is not None:
        text += f", {_signed(pool.bytes_per_hour)}/h"
    if pool.full_at is not None:
        was = "was" if (pool.hours_left or 0) <= 0 else "is"
        return f"{text}: {was} full at {pool.full_at}"
    return f"{text}: {pool.text}" if pool.text else text


def _rate(blocks: float) -> str:
    return f"{blocks:+,.1f}" if abs(blocks) < 10_000 else f"{blocks:+,.0f}"


def _signed(octets: float) -> str:
    return ("+" if octets >= 0 else "-") + figures.size(round(abs(octets)))


def _tags(found: Comparison, always: frozenset[str], top: int) -> Block:
    moved = [row for row in found.tags if row.bytes_change or row.outstanding_change]
    listed = {id(row) for row in (moved or found.tags)[:top]}
    rows = [row for row in found.tags if id(row) in listed or row.tag in always]
    count = len(found.images)
    ends = (0, count - 1)
    shown = ends if count > 3 else tuple(range(count))
    rest = [("Change", True), ("Per hour", True), ("Bytes/h", True), ("/unload", True), ("r2", True)]
    cells = tuple(_row(row, shown) for row in rows)
    # What is too wide for a line is cut off at its end, where rates stand: then without the middle.
    wide = sum(max(map(len, column)) + 2 for column in zip(*cells, strict=True))
    if len(shown) > 2 and wide > _WIDTH - _SLACK:
        shown = ends
        cells = tuple(_row(row, shown) for row in rows)
    heads = [(f"#{index + 1}", True) for index in shown]
    columns = (("Tag", False), ("Pool", False), *heads, *rest)
    marked = frozenset(i for i, row in enumerate(rows) if row.tag in always)
    return Table("Growth by tag, outstanding allocations (most bytes first)", columns, cells, marked)


def _row(row: TagGrowth, shown: tuple[int, ...]) -> tuple[str, ...]:
    line = row.outstanding_fit
    return (
        figures.tag(row.tag),
        row.pool,
        *(figures.count(row.points[index].outstanding) for index in shown),
        "-" if row.outstanding_change is None else f"{row.outstanding_change:+,}",
        "-" if row.outstanding_per_hour is None else _rate(row.outstanding_per_hour),
        "-" if row.bytes_per_hour is None else _signed(row.bytes_per_hour),
        "-" if row.outstanding_per_unload is None else f"{row.outstanding_per_unload:.2f}",
        "-" if line is None or line.r2 is None else f"{line.r2:.3f}",
    )
