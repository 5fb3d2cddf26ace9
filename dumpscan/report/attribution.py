"""Who the blocks belong to, for a person: the line first, then contents by tag, then drivers."""

from __future__ import annotations

from dumpscan.model import AttributionReport
from dumpscan.model_attribution import Attribution, ContentGroup, NamedDriver, TagContents
from dumpscan.report import figures, plain
from dumpscan.report.blocks import Block, Facts, Headline, Items, Paragraph, Table
from dumpscan.report.text import image_rows, kernel_rows

NOTHING = "no content stands out among the blocks that could be read"
_DETAILED = 3
"""Groups of a tag whose entries and texts are written out."""


def render(report: AttributionReport, width: int = 80) -> str:
    """Return the report as plain text."""
    return plain.render(blocks(report), width)


def line(found: Attribution) -> str:
    """The one line for a verdict."""
    return found.summary or NOTHING


def blocks(report: AttributionReport) -> list[Block]:
    """Return the parts of the report in order."""
    found = report.attribution
    pages = f"{found.pages_read:,} of {found.pages_held:,} pool pages in the image were read"
    notes = tuple(("", note) for note in found.notes)
    if found.contents_hidden:
        notes += (("", "contents are not shown (--no-contents)"),)
    rows = (*image_rows(report.image), *kernel_rows(report.kernel), ("Read", pages), *notes)
    parts: list[Block] = [Headline(line(found), "bad" if found.summary else "unsure"), Facts(rows)]
    for tag in found.tags:
        parts += _tag(tag, found.contents_hidden)
    # A name in a single block is as likely left over from an earlier owner.
    named = [driver for driver in found.drivers if driver.blocks > 1]
    if named:
        title = "Drivers and services that the blocks name"
        parts.append(Items(title, tuple(("", _driver(driver), "") for driver in named)))
    return parts


def _tag(tag: TagContents, hidden: bool) -> list[Block]:
    of = f" of {figures.count(tag.outstanding)} outstanding" if tag.outstanding is not None else ""
    title = f"{figures.tag(tag.tag)}, {tag.pool} pool: {tag.blocks:,}{of} blocks read"
    columns = (("Size", True), ("Copies", True), ("Identical", True), ("Kind", False), ("What", False))
    rows = [
        (str(g.size), figures.count(g.copies), figures.count(g.identical), g.kind, "" if hidden else g.text)
        for g in tag.groups
    ]
    if tag.others:
        rows.append(("", figures.count(tag.others), "", "", "in smaller groups"))
    parts: list[Block] = [Table(title, columns, tuple(rows))]
    parts += [_details(group) for group in tag.groups[:_DETAILED] if group.copies > 1 and not hidden]
    return parts


def _details(group: ContentGroup) -> Block:
    where = f"{group.copies:,} blocks of {group.size} bytes, one at {group.example}"
    if not group.details:
        return Paragraph(where, group.text)
    rows = ((" ", group.text, ""), *((" ", f"  {detail}", "") for detail in group.details))
    return Items(where, rows)


def _driver(driver: NamedDriver) -> str:
    text = f"{driver.name}: {driver.blocks:,} blocks of {figures.tag(driver.tag)} name it"
    if driver.text:
        text += f", {driver.copies:,} as {driver.text}"
    if driver.loaded:
        text += "; loaded"
    if driver.unloads_recent:
        text += f"; {driver.unloads_recent} of the last {driver.ring_entries} unloads"
    return text
