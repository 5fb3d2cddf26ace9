"""Who lost the blocks: contents counted, decoded and connected with drivers, in one record."""

from __future__ import annotations

from collections.abc import Mapping

from dumpscan.attribution.clones import Clone, Collector, Family
from dumpscan.attribution.descriptors import acl_words, descriptor_words, parse_acl, parse_descriptor
from dumpscan.attribution.kinds import ACL, DESCRIPTOR, NAMES, TEXT, ZEROS
from dumpscan.attribution.line import hide, quoted, summary
from dumpscan.attribution.link import clone_texts, named_drivers
from dumpscan.attribution.strings import names_in
from dumpscan.model import Drivers, Pool
from dumpscan.model_attribution import Attribution, ContentGroup, TagContents
from dumpscan.pool.contents import ContentReader
from dumpscan.pool.tags import decode_tag
from dumpscan.records import replace

MOST_GROUPS = 12

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
    return replace(result, summary=summary(result, drivers)) if contents else hide(result, drivers)


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
                f"{away:,} of {tag.outstanding:,} blocks of {quoted(tag.tag)} in {tag.pool} pool are not in "
                "the image: what they hold is not known"
            )
    return tuple(notes)
