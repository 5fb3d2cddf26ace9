"""Who lost the blocks: what they hold, in how many copies, and which driver that points to."""

from __future__ import annotations

from markupsafe import Markup

from dumpscan.model import Verdict
from dumpscan.model_attribution import Attribution, ContentGroup, NamedDriver, TagContents
from dumpscan.report import attribution as words
from dumpscan.report import figures
from dumpscan.report.html import parts
from dumpscan.report.html.page import Section

_GROUPS = 6
_NUMBER = "number"


def who_section(verdict: Verdict) -> Section:
    """Contents by tag and the drivers named in them; an empty body when nothing was looked into."""
    found = verdict.attribution
    title = "Who lost the blocks"
    if found is None:
        return Section("who", title, Markup(""))
    tables = [_tag(tag, found.contents_hidden) for tag in found.tags if tag.blocks]
    body = parts.joined(
        parts.paragraph(words.line(found), "action"), _drivers(found), *tables, parts.notes(_notes(found))
    )
    return Section("who", title, body)


def _notes(found: Attribution) -> list[str]:
    read = f"{found.pages_read:,} of {found.pages_held:,} pool pages in the image were read."
    hidden = ["Contents are not shown (--no-contents)."] if found.contents_hidden else []
    return [read, *hidden, *found.notes]


def _tag(tag: TagContents, hidden: bool) -> Markup:
    of = f" of {figures.count(tag.outstanding)} outstanding" if tag.outstanding is not None else ""
    caption = f"{figures.tag(tag.tag)} in {tag.pool} pool, {tag.blocks:,}{of} blocks read"
    columns = [
        parts.Column("Copies", _NUMBER), parts.Column("Identical", _NUMBER),
        parts.Column("Bytes each", _NUMBER), parts.Column("What they hold", "long"),
        parts.Column("One at", "code short"),
    ]  # fmt: skip
    repeated = [group for group in tag.groups if group.copies > 1][:_GROUPS]
    rows = [
        (
            figures.count(group.copies),
            figures.count(group.identical),
            figures.count(group.size),
            parts.Cell(_contents(group, hidden)),
            group.example,
        )
        for group in repeated or tag.groups[:_GROUPS]
    ]
    return parts.table(parts.Table(caption, columns, rows, stacked=True))


def _contents(group: ContentGroup, hidden: bool) -> Markup:
    if hidden:
        return Markup("{}").format(group.kind)
    lines = [group.text or group.kind, *group.details[:_GROUPS]]
    return Markup("<br>").join(parts.inline(line) for line in lines)


def _drivers(found: Attribution) -> Markup:
    named = [driver for driver in found.drivers if driver.blocks > 1]
    if not named:
        return Markup("")
    columns = [
        parts.Column("Driver"), parts.Column("Named by"), parts.Column("Unloads", "short"),
        parts.Column("Loaded now", "short"), parts.Column("As", "long"),
    ]  # fmt: skip
    caption = "Drivers and services that the blocks name"
    return parts.table(parts.Table(caption, columns, [_driver(each) for each in named], stacked=True))


def _driver(driver: NamedDriver) -> tuple[str, ...]:
    unloads = "unknown"
    if driver.unloads_recent is not None:
        unloads = f"{driver.unloads_recent} of the last {driver.ring_entries}"
    blocks = f"{driver.blocks:,} blocks of {figures.tag(driver.tag)}"
    return driver.name, blocks, unloads, "yes" if driver.loaded else "no", driver.text or "-"
