"""The line of an attribution, and an attribution without anything that was read from a block.

The line claims what was counted and no more: copies among the blocks that were read, names that
stand in them, and how often the kernel's list of unloads has that driver.
"""

from __future__ import annotations

from dumpscan.model import Drivers, Verdict
from dumpscan.model_attribution import Attribution, NamedDriver, TagContents
from dumpscan.records import replace

_LEAST_COPIES = 20
"""Fewer copies of one thing are nothing to speak of."""
_LEAST_SHARE = 0.1
"""Of its tag's blocks: below it, a content is not what fills the tag."""
RING_SLOTS = 50


def hide(found: Attribution, drivers: Drivers) -> Attribution:
    """The same without contents: kinds, counts and drivers that the kernel's lists name anyway remain."""
    tags = tuple(
        replace(tag, groups=tuple(replace(g, text="", details=(), names=()) for g in tag.groups))
        for tag in found.tags
    )
    listed = tuple(replace(d, text="") for d in found.drivers if d.loaded or d.unloads_recent)
    result = replace(found, tags=tags, drivers=listed, contents_hidden=True)
    return replace(result, summary=summary(result, drivers))


def without_contents(verdict: Verdict) -> Verdict:
    """A verdict that shows nothing of what blocks hold."""
    if verdict.attribution is None or verdict.attribution.contents_hidden:
        return verdict
    return replace(verdict, attribution=hide(verdict.attribution, verdict.drivers))


def summary(found: Attribution, drivers: Drivers) -> str | None:
    """One line that names copies and driver; None when nothing stands out."""
    parts = [text for tag in found.tags if (text := _copies(tag, found.contents_hidden))]
    top = next((d for d in found.drivers if _stands_out(d, found)), None)
    if top is not None:
        parts += [_holds(top), _unloaded(top, drivers)]
    if not parts:
        return None
    text = "; ".join(part for part in parts if part)
    if found.scope == "sample":
        text += f" (in a sample: {found.pages_read:,} of {found.pages_held:,} pool pages)"
    return text


def _copies(tag: TagContents, hidden: bool) -> str:
    """Descriptors speak for themselves; texts are told through the driver that they name."""
    top = tag.groups[0] if tag.groups else None
    if top is None or top.copies < max(_LEAST_COPIES, _LEAST_SHARE * tag.blocks):
        return ""
    if top.kind not in ("descriptor", "acl"):
        return ""
    what = "security descriptor" if top.kind == "descriptor" else "access list"
    if top.kind == "descriptor" and not hidden:
        what += " (" + ", ".join(top.text.split(", ")[1:3]) + ")"
    same = "identical" if top.variants == 1 else "nearly identical"
    return f"{top.copies:,} of {tag.blocks:,} {quoted(tag.tag)} blocks are {same} copies of one {what}"


def _stands_out(driver: NamedDriver, found: Attribution) -> bool:
    total = sum(tag.blocks for tag in found.tags if tag.tag == driver.tag)
    return driver.copies >= max(_LEAST_COPIES, _LEAST_SHARE * total)


def _holds(driver: NamedDriver) -> str:
    if not driver.text:
        return f"{driver.blocks:,} {quoted(driver.tag)} blocks name {driver.name}"
    return f"{driver.copies:,} {quoted(driver.tag)} blocks hold {driver.text}"


def _unloaded(driver: NamedDriver, drivers: Drivers) -> str:
    count, entries = driver.unloads_recent, driver.ring_entries
    if count is None or entries is None:
        return ""
    if count == 0:
        return "" if driver.loaded else f"{driver.service} is not among the last {entries} unloaded drivers"
    total = drivers.unloads_total
    if entries < RING_SLOTS and (total is None or total == entries):
        return f"{driver.name} was unloaded {count:,} time{'s' if count > 1 else ''}"
    text = f"{driver.name} is {count} of the last {entries} unloaded drivers"
    return text + (f", {total:,} unloads since boot" if total is not None else "")


def quoted(tag: str) -> str:
    """A tag within a sentence."""
    return f"'{tag}'" if " " in tag else tag
