"""The verdict for a person: the answer first, then what it rests on, then what to do.

On a terminal it is printed through rich with colours; piped, or with NO_COLOR set, it is plain
text that fits 80 columns.
"""

from __future__ import annotations

import os
import shutil
from typing import TextIO

from dumpscan.model import Drivers, Evidence, Fix, ImageInfo, KernelInfo, Machine, Pool, PoolLimits, Verdict
from dumpscan.report import figures, plain, safe, table
from dumpscan.report.blocks import Block, Facts, Headline, Items, Paragraph

_TONES = {"exhibits": "bad", "unexpected": "bad", "does-not-exhibit": "good"}
_MARKS = {"supports": "+", "contradicts": "-", "unknown": "?", "neutral": " "}
_TOP_TAGS = 10
_LEAK_TAGS = frozenset({"IoSe", "Pp  "})  # always shown, however small


def render(verdict: Verdict, width: int = 80) -> str:
    """Return the report as plain text."""
    return plain.render(blocks(verdict), width)


def write(verdict: Verdict, stream: TextIO, *, colour: bool | None = None) -> None:
    """Print the report; ``colour`` None decides by the stream and the environment."""
    if colour if colour is not None else wants_colour(stream):
        from dumpscan.report import terminal

        terminal.write(blocks(verdict), stream)
    else:
        tty = stream.isatty()
        safe.write(stream, render(verdict, shutil.get_terminal_size().columns if tty else 80))


def wants_colour(stream: TextIO) -> bool:
    """A terminal that is not dumb, and NO_COLOR (no-color.org) not set to anything."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def blocks(verdict: Verdict) -> list[Block]:
    """Return the parts of the report in order."""
    code = verdict.verdict.code
    found = [
        Headline(
            f"{verdict.signature.id} · {code.upper().replace('-', ' ')} · {verdict.verdict.summary}",
            _TONES.get(code, "unsure"),
        ),
        Facts(
            (
                *image_rows(verdict.image),
                *kernel_rows(verdict.kernel),
                *machine_rows(verdict.machine),
                *_fix_rows(verdict.fix),
                *_pool_rows(verdict.pool),
                *_driver_rows(verdict.drivers),
            )
        ),
        *_tag_table(verdict),
        *_evidence(verdict),
    ]
    if verdict.attribution is not None and verdict.attribution.summary:
        found.append(Paragraph("Who", verdict.attribution.summary))
    if verdict.suspects:
        rows = tuple(("!", suspect.text, "") for suspect in verdict.suspects)
        found.append(Items("Suspects", rows))
    found.append(Paragraph("What to do", verdict.verdict.advice))
    return found


def image_rows(image: ImageInfo) -> list[tuple[str, str]]:
    """What the file is, and whether all of it is there."""
    expected = f" of {figures.count(image.bytes_expected)}" if image.bytes_expected is not None else ""
    text = f"{image.path}: {image.description or image.format}, {figures.count(image.bytes)}{expected} bytes"
    if image.pages_present is not None:
        of = f" of {figures.count(image.pages_expected)}" if image.pages_expected is not None else ""
        text += f", {figures.count(image.pages_present)}{of} pages"
    rows = [("File", text + (", TRUNCATED" if image.truncated else ""))]
    if image.comment:
        rows.append(("", f"comment: {image.comment}"))
    return rows + [("", note) for note in image.notes]


def kernel_rows(kernel: KernelInfo) -> list[tuple[str, str]]:
    """Which kernel, exactly, and how it was found."""
    pack = f"Service Pack {kernel.service_pack}" if kernel.service_pack else ""
    pae = {True: "PAE", False: "", None: ""}[kernel.pae]
    words = [kernel.product or "unknown Windows", pack, kernel.arch or "", pae]
    version = f"{kernel.version or 'version unknown'} ({kernel.branch} branch)"
    rows = [("Kernel", f"{' '.join(word for word in words if word)}, {version}")]
    names = [kernel.image_name, kernel.internal_name if kernel.internal_name != kernel.image_name else None]
    lab = [*(name for name in names if name), *([kernel.build_lab] if kernel.build_lab else [])]
    if lab:
        rows.append(("", ", ".join(lab)))
    if kernel.pdb is not None:
        rows.append(("", f"{kernel.pdb.name} {kernel.pdb.guid} age {kernel.pdb.age}"))
    base = f", base {kernel.base}" if kernel.base else ""
    dtb = f", dtb {kernel.dtb}" if kernel.dtb else ""
    rows.append(("", f"found by {kernel.found_by}{base}{dtb}"))
    return rows + [("", note) for note in kernel.notes]


def machine_rows(machine: Machine) -> list[tuple[str, str]]:
    """State of the machine when the image was taken."""
    parts = []
    if machine.bugcheck is not None:
        parameters = f" ({', '.join(machine.bugcheck.parameters)})" if machine.bugcheck.parameters else ""
        parts.append(f"bug check {machine.bugcheck.code:#x} {machine.bugcheck.name}{parameters}")
    if machine.system_time:
        parts.append(machine.system_time)
    if machine.uptime_seconds is not None:
        parts.append(f"up {figures.duration(machine.uptime_seconds)}")
    if machine.processors:
        parts.append(f"{machine.processors} processor{'s' if machine.processors > 1 else ''}")
    return [("Machine", ", ".join(parts))] if parts else []


def _fix_rows(fix: Fix) -> list[tuple[str, str]]:
    rows = [("Fix", f"{fix.state}: {fix.reason}")]
    if fix.row is not None:
        row = fix.row
        rows.append(("", f"fixed by {row.file} {row.version}, {row.size:,} bytes, {row.date} ({row.table})"))
    return rows


def _pool_rows(pool: Pool) -> list[tuple[str, str]]:
    rows = [
        ("Pool" if name == "paged" else "", f"{name} {_limits(limits)}")
        for name, limits in (("paged", pool.paged), ("nonpaged", pool.nonpaged))
    ]
    sources = sorted({use.source for use in pool.tags})
    counted = f"counted from {' and '.join(sources)}" if sources else "no figures by tag"
    rows.append(("", f"pool tagging {pool.tagging}, {counted}{_coverage(pool)}"))
    return rows + [("", note) for note in pool.notes]


def _limits(limits: PoolLimits) -> str:
    if limits.used_bytes is None:
        return "use unknown"
    if limits.limit_bytes is None:
        return f"{figures.size(limits.used_bytes)} in use, limit unknown"
    full = limits.fullness
    if full is None and limits.limit_bytes:
        full = limits.used_bytes / limits.limit_bytes
    return (
        f"{figures.size(limits.used_bytes)} of {figures.size(limits.limit_bytes)} "
        f"in use ({figures.percent(full)})"
    )


def _coverage(pool: Pool) -> str:
    named = (
        ("tracker", pool.coverage.tracker),
        ("big pages", pool.coverage.big_pages),
        ("paged pool pages", pool.coverage.paged_pages),
        ("nonpaged pool pages", pool.coverage.nonpaged_pages),
    )
    known = [f"{figures.percent(share)} of {name}" for name, share in named if share is not None]
    return f"; in the image: {', '.join(known)}" if known else ""


def loaded(drivers: Drivers) -> str:
    """How many drivers are loaded, as far as the image tells."""
    if not drivers.loaded:
        return "loaded drivers: unknown"
    if drivers.loaded_complete is False:
        return f"at least {len(drivers.loaded)} loaded (the list leaves the image)"
    return f"{len(drivers.loaded)} loaded"


def _driver_rows(drivers: Drivers) -> list[tuple[str, str]]:
    total = figures.count(drivers.unloads_total) if drivers.unloads_total is not None else "unknown"
    text = f"{loaded(drivers)}, unloads since boot: {total}"
    recent = sorted(drivers.recent, key=lambda entry: -entry.count)[:6]
    if recent:
        text += "; last unloaded: " + ", ".join(f"{entry.name} x {entry.count}" for entry in recent)
    return [("Drivers", text)]


def _tag_table(verdict: Verdict) -> list[Block]:
    if not verdict.pool.tags:
        return []
    stand_out = {suspect.tag for suspect in verdict.suspects}
    if verdict.signature.state in ("present", "early"):
        stand_out |= _LEAK_TAGS
    rows = sorted(table.pool_rows(verdict.pool.tags), key=table.total_bytes, reverse=True)
    shown = [
        row for i, row in enumerate(rows) if i < _TOP_TAGS or (row.tag in _LEAK_TAGS and row.outstanding)
    ]
    related = [row for row in table.pool_rows(verdict.signature.related) if row.outstanding > 0]
    found: list[Block] = [table.pool_table("Largest pool tags", shown, stand_out, narrow=True)]
    if related:
        title = "Related tags (same component, not the leak)"
        found.append(table.pool_table(title, related, narrow=True))
    return found


def _evidence(verdict: Verdict) -> list[Block]:
    found: list[Block] = []
    for signature in (verdict.signature, *verdict.other_signatures):
        rows = tuple(_evidence_row(evidence) for evidence in signature.evidence)
        if rows:
            found.append(Items(f"Evidence for {signature.id}: {signature.state}", rows))
    return found


def _evidence_row(evidence: Evidence) -> tuple[str, str, str]:
    return _MARKS.get(evidence.outcome, " "), evidence.text, evidence.where
