"""``dumpscan verdict --format html``: the report that is handed to somebody who did not run it.

The order is that of the questions: is it this, what to do, what does that rest on, which machine,
how full are the pools and with what, which drivers, how far can the figures be trusted, everything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from dumpscan.model import TagUse, Verdict
from dumpscan.report import figures
from dumpscan.report.html import parts, verdict_pool, wording
from dumpscan.report.html.page import Banner, Embedded, Section, page
from dumpscan.report.html.verdict_evidence import evidence_section
from dumpscan.report.html.verdict_machine import drivers_section, machine_section
from dumpscan.report.html.verdict_who import who_section


def render(
    verdict: Verdict,
    *,
    home: tuple[str, str] | None = None,
    most: int | None = None,
    document: str | None = None,
) -> str:
    """Return the report as one HTML file. ``verdict.pictures`` may be None: then those are left out.

    As a page of a batch it has a ``home``, tells its whole path (many dumps are called MEMORY.DMP) and,
    being one of thousands, only the ``most`` largest tags; ``document`` is the verdict as the store has
    it, so that it need not be made once more.
    """
    name = os.path.basename(verdict.image.path) or verdict.image.path
    return page(
        f"{verdict.signature.id}: {_word(verdict)} - {name}",
        [section for section in sections(verdict, most) if section.body],
        banner=banner(verdict),
        source=verdict.image.path if home else name,
        embedded=Embedded(document or verdict, f"{name}.verdict.json"),
        home=home,
        tool=f"{verdict.tool.name} {verdict.tool.version}".strip(),
    )


def sections(verdict: Verdict, most: int | None = None) -> Iterator[Section]:
    """The parts of the report in order; one with an empty body is to be left out."""
    yield _action_section(verdict)
    yield who_section(verdict)
    yield evidence_section(verdict)
    yield machine_section(verdict)
    yield from verdict_pool.sections(verdict)
    yield drivers_section(verdict)
    yield verdict_pool.trust_section(verdict)
    yield verdict_pool.tags_section(verdict, most)


def _word(verdict: Verdict) -> str:
    return wording.WORDS.get(verdict.verdict.code, verdict.verdict.code)


def banner(verdict: Verdict) -> Banner:
    """The answer, and the four figures that it rests on."""
    code = verdict.verdict.code
    label = f"{verdict.signature.id}, {verdict.signature.title}" if verdict.signature.title else ""
    return Banner(
        label or verdict.signature.id,
        _word(verdict),
        verdict.verdict.summary,
        wording.tone(code, bool(verdict.suspects)),
        list(_figures(verdict)),
        wording.plain(code, verdict.fix, bool(verdict.suspects)),
    )


def _figures(verdict: Verdict) -> Iterator[tuple[str, str, str]]:
    for name, limits in (("Paged pool", verdict.pool.paged), ("Nonpaged pool", verdict.pool.nonpaged)):
        share = verdict_pool.fullness(limits)
        of = f"{figures.size(limits.used_bytes)} of {figures.size(limits.limit_bytes)}"
        full = f"{figures.percent(share)} full" if share is not None else "unknown"
        yield name, full, of if limits.used_bytes is not None else ""
    for tag in verdict.signature.tags[:2]:
        use = _use(verdict.pool.tags, tag)
        if use is not None:
            octets = figures.size(use.paged.bytes + use.nonpaged.bytes)
            number = use.paged.outstanding + use.nonpaged.outstanding
            about = "about " if use.source == "sample" else ""
            yield f"{figures.tag(tag)} outstanding", about + figures.count(number), octets
    often = max(verdict.drivers.recent, key=lambda each: each.count, default=None)
    ring = verdict.drivers.ring_entries or 0
    if often is not None and often.count > 1 and 2 * often.count >= ring > 0:
        yield "Unloaded most", often.name, f"{often.count} of the last {ring} unloads"
    yield "Kernel", verdict.kernel.version or "unknown", _FIX_WORDS.get(verdict.fix.state, verdict.fix.state)


_FIX_WORDS = {
    "vulnerable": "does not carry the fix",
    "fixed": "carries the fix",
    "out-of-scope": "not among the article's systems",
    "prerequisite-missing": "cannot take the fix yet",
    "unknown": "fix state unknown",
}


def _use(tags: Sequence[TagUse], tag: str) -> TagUse | None:
    return next((use for use in tags if use.tag == tag), None)


def _action_section(verdict: Verdict) -> Section:
    body = parts.paragraph(verdict.verdict.advice, "action")
    boxes = []
    row = verdict.fix.row
    if row is not None:
        rows = [
            ("File", f"{row.file} {row.version}"),
            ("Applies to", row.table),
            ("Size", f"{row.size:,} bytes"),
            ("Date", f"{row.date} {row.time} UTC"),
            ("Requires", row.sp_requirement or "-"),
            ("Packages", ", ".join(row.packages) or "-"),
            ("Before", row.prerequisite or "-"),
            ("After", row.restart or "-"),
        ]
        wanted = verdict.verdict.code == "exhibits"
        title = "What to install" if wanted else "The fix for this kernel"
        title += f": {verdict.fix.hotfix}" if verdict.fix.hotfix else ""
        boxes.append(parts.card(title, parts.facts((label, value) for label, value in rows if value != "-")))
    state = _FIX_WORDS.get(verdict.fix.state, verdict.fix.state)
    why = [("State", f"{verdict.fix.state}: {state}"), ("Because", verdict.fix.reason or "-")]
    if verdict.fix.fixed_version:
        why.append(("Fixed in", verdict.fix.fixed_version))
    boxes.append(parts.card("This machine's kernel and the fix", parts.facts(why)))
    return Section("action", "What to do", parts.joined(body, parts.columns(*boxes), _suspects(verdict)))


def _suspects(verdict: Verdict) -> Markup:
    if not verdict.suspects:
        return Markup("")
    columns = [
        parts.Column("Tag", "code"), parts.Column("Pool"), parts.Column("Bytes", "number"),
        parts.Column("Share", "number"), parts.Column("Why"),
    ]  # fmt: skip
    rows = [
        (
            parts.Cell(parts.tag(each.tag)),
            each.pool,
            parts.Cell(figures.size(each.bytes), each.bytes),
            figures.percent(each.share),
            each.text,
        )
        for each in verdict.suspects
    ]
    caption = "Who else holds a remarkable share of a pool"
    return parts.table(parts.Table(caption, columns, rows, stacked=True))
