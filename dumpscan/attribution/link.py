"""From names in block contents to drivers that are loaded or were unloaded.

The ring of unloaded drivers keeps the last 50 names, so how often one driver was unloaded is known
exactly only before it is full; afterwards its share of the ring stands for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dumpscan.attribution.clones import Clone, Family
from dumpscan.attribution.kinds import ACL, DESCRIPTOR, TEXT, ZEROS
from dumpscan.attribution.strings import MOST_SHOWN, names_in, stem, texts_in
from dumpscan.model import Drivers
from dumpscan.model_attribution import NamedDriver

MOST_DRIVERS = 20


def clone_texts(clone: Clone) -> list[str]:
    """What can be read in a block."""
    if clone.kind == TEXT:
        behind = clone.content[2 * len(clone.text) :]
        return [clone.text[:MOST_SHOWN], *(texts_in(behind) if behind[:2] == b"\0\0" else ())]
    return [] if clone.kind in (ACL, DESCRIPTOR, ZEROS) else texts_in(clone.content)


def named_drivers(found: Mapping[str, Iterable[Family]], drivers: Drivers) -> tuple[NamedDriver, ...]:
    """Every service or driver that blocks name, by tag, the one with most blocks first.

    ``found`` maps tags to their families of contents. Only the text that a block begins with, or a
    text inside a structure, counts: what stands behind a terminated text may be left over.
    """
    blocks: dict[tuple[str, str], dict[str, int]] = {}
    for tag, families in found.items():
        for family in families:
            for clone in family.clones:
                texts = clone_texts(clone)
                used = texts[:1] if clone.kind == TEXT else texts
                named: dict[str, str] = {}
                for text in used:
                    for name in names_in([text]):
                        named.setdefault(name, text)
                for name, text in named.items():
                    forms = blocks.setdefault((name, tag), {})
                    forms[text] = forms.get(text, 0) + clone.copies
    ring = {stem(entry.name): entry for entry in drivers.recent}
    loaded = {stem(module.name): module.name for module in drivers.loaded}
    known = drivers.ring_entries is not None
    rows = []
    for (service, tag), forms in blocks.items():
        text, copies = _best_form(forms)
        entry = ring.get(service)
        rows.append(
            NamedDriver(
                name=entry.name if entry else loaded.get(service, service),
                service=service,
                tag=tag,
                blocks=sum(forms.values()),
                copies=copies,
                text=text,
                loaded=service in loaded,
                unloads_recent=(entry.count if entry else 0) if known or entry else None,
                ring_entries=drivers.ring_entries,
            )
        )
    rows.sort(key=lambda row: (-row.blocks, row.service, row.tag))
    return tuple(rows[:MOST_DRIVERS])


def _best_form(forms: Mapping[str, int]) -> tuple[str, int]:
    """The text that tells most: a service's registry path if it is about as common as any, else the
    commonest."""
    most = max(forms.values())
    common = [item for item in forms.items() if 2 * item[1] >= most]
    return max(common, key=lambda item: ("\\services\\" in item[0].lower(), item[1], len(item[0])))
