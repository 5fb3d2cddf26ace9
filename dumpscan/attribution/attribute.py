"""Who lost the blocks: contents counted, decoded, connected with drivers, in one record and one line.

The line claims what was counted and no more: copies among the blocks that were read, names that
stand in them, and how often the kernel's list of unloads has that driver.
"""

from __future__ import annotations

from collections.abc import Mapping

from dumpscan.attribution.clones import Clone, Collector, Family
from dumpscan.attribution.descriptors import acl_words, descriptor_words, parse_acl, parse_descriptor
from dumpscan.attribution.kinds import ACL, DESCRIPTOR, NAMES, TEXT, ZEROS
from dumpscan.attribution.link import clone_texts, named_drivers
from dumpscan.attribution.strings import names_in
from dumpscan.model import Drivers, Pool
from dumpscan.model_attribution import Attribution, ContentGroup, NamedDriver, TagContents
from dumpscan.pool.contents import ContentReader
from dumpscan.pool.tags import decode_tag
from dumpscan.records import replace

MOST_GROUPS = 12
_LEAST_COPIES = 20
"""Fewer copies of one thing are nothing to speak of."""
_LEAST_SHARE = 0.1
"""Of its tag's blocks: below it, a content is not what fills the tag."""
RING_SLOTS = 50

Counted = Mapping[tuple[str, str], int]
"""Outstanding allocations by (tag, pool)."""


def counted(pool: Pool) -> Counted:
    """Outstanding allocations that the kernel's own tables count."""
    uses = [use for use in pool.tags if use.source == "tracker"]
    rows = {(use.tag, "paged"): use.paged.outstanding for use in uses}
    return {**rows, **{(use.tag, "nonpaged"): use.nonpaged.outstanding for use in uses}}


def attribute(
    reader: ContentReader, drivers: Drivers, known: Counted | None = None, *, contents: bool = True
) -> Attribution:
    """Read the blocks, group and decode them, and connect them with drivers.

    ``known`` are the kernel's own counts, where it keeps any; with ``contents`` False no content is
    handed on: kinds, counts and drivers that the lists of drivers name anyway remain.
    """
    collector = Collector(reader.pointer_size, reader.slack)
    for batch in reader.batches():
        collector.add(batch)
    families = {
        (decode_tag(tag), "paged" if paged else "nonpaged"): (found, (tag, paged))
        for (tag, paged), found in collector.families()
    }
    tags = tuple(
        _tag(name, pool, found, collector.blocks[key], collector.bytes[key], (known or {}).get((name, pool)))
        for (name, pool), (found, key) in families.items()
    )
    named: dict[str, list[Family]] = {}
    for (name, _), (found, _) in families.items():
        named.setdefault(name, []).extend(found)
    result = Attribution(
        scope="sample" if reader.sampled else "all",
        pages_read=reader.pages_read,
        pages_held=reader.pages_held,
        summary=None,
        tags=tuple(sorted(tags, key=lambda tag: (-tag.bytes, tag.tag, tag.pool))),
        drivers=named_drivers(named, drivers),
        notes=_notes(reader, tags, collector.left_out),
    )
    result = result if contents else _hidden(result)
    return replace(result, summary=summary(result, drivers))


def _tag(
    name: str, pool: str, families: list[Family], blocks: int, octets: int, counted: int | None
) -> TagContents:
    listed = tuple(_group(family) for family in families[:MOST_GROUPS])
    rest = blocks - sum(group.copies for group in listed)
    return TagContents(name, pool, blocks, octets, counted, listed, rest)


def _group(family: Family) -> ContentGroup:
    top = family.clones[0]
    text, details, names = _words(top)
    return ContentGroup(
        size=family.size,
        kind=NAMES[top.kind],
        copies=family.copies,
        identical=top.copies,
        variants=len(family.clones),
        example=hex(top.va),
        text=text,
        details=details,
        names=names,
    )


def _words(clone: Clone) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """What a content is, lines on it, and names in it."""
    kind, content = clone.kind, clone.content
    if kind == DESCRIPTOR:
        descriptor = parse_descriptor(content)
        if descriptor is not None:
            return *descriptor_words(descriptor), ()
    if kind == ACL:
        acl = parse_acl(content)
        if acl is not None:
            return f"access list of {len(acl.entries)} entries", acl_words(acl), ()
    if kind == ZEROS:
        return "zeros", (), ()
    texts = clone_texts(clone)
    if kind == TEXT:
        return texts[0], tuple(f"then {text}" for text in texts[1:]), names_in(texts[:1])
    shown = content[:32].hex(" ", 4)
    return f"begins {shown}", tuple(f"holds {text}" for text in texts), names_in(texts)


def _hidden(found: Attribution) -> Attribution:
    """The same without anything that was read from a block."""
    tags = tuple(
        replace(tag, groups=tuple(replace(g, text="", details=(), names=()) for g in tag.groups))
        for tag in found.tags
    )
    listed = tuple(replace(d, text="") for d in found.drivers if d.loaded or d.unloads_recent)
    return replace(found, tags=tags, drivers=listed, contents_hidden=True)


def _notes(reader: ContentReader, tags: tuple[TagContents, ...], left_out: int) -> tuple[str, ...]:
    notes = []
    if left_out:
        notes.append(f"{left_out:,} blocks of too many different contents were counted, not looked into")
    layout = reader.kernel.layout
    if layout is None:
        notes.append("the pool layouts of this kernel are not known: no block could be read")
    elif layout.unwalkable:
        return (*notes, f"{layout.unwalkable}: what small blocks hold is not known")
    if reader.large_left_out:
        notes.append(f"{reader.large_left_out:,} large allocations were not looked at")
    for tag in tags:
        away = (tag.outstanding or 0) - tag.blocks
        if away > 0 and not reader.sampled:
            notes.append(
                f"{away:,} of {tag.outstanding:,} blocks of {_quoted(tag.tag)} in {tag.pool} pool are not in "
                "the image: what they hold is not known"
            )
    return tuple(notes)


# -- the line ----------------------------------------------------------------------------------------


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
    return f"{top.copies:,} of {tag.blocks:,} {_quoted(tag.tag)} blocks are {same} copies of one {what}"


def _stands_out(driver: NamedDriver, found: Attribution) -> bool:
    total = sum(tag.blocks for tag in found.tags if tag.tag == driver.tag)
    return driver.copies >= max(_LEAST_COPIES, _LEAST_SHARE * total)


def _holds(driver: NamedDriver) -> str:
    if not driver.text:
        return f"{driver.blocks:,} {_quoted(driver.tag)} blocks name {driver.name}"
    return f"{driver.copies:,} {_quoted(driver.tag)} blocks hold {driver.text}"


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


def _quoted(tag: str) -> str:
    return f"'{tag}'" if " " in tag else tag
