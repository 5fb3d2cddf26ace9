"""Self-relative security descriptors and access lists, decoded and put in words.

IoSe blocks hold them (facts/tags.md section 1): a whole descriptor, or the ACL alone. Layouts:
:mod:`dumpscan.attribution.c_security`. The trap of the area: bytes come from memory that may be
torn; whatever contradicts itself is no descriptor (None), never half of one.
"""

from __future__ import annotations

import struct

from dumpscan.attribution import c_security as c
from dumpscan.records import record


@record
class Entry:
    """One access entry: its kind (allow, deny, audit, alarm), access mask, SID text, flags."""

    kind: str
    mask: int
    sid: str
    flags: int


@record
class Acl:
    """An access list. ``size`` in bytes, header included."""

    entries: tuple[Entry, ...]
    size: int


@record
class Descriptor:
    """A security descriptor. SIDs as text (``S-1-5-18``); None where it names none.

    ``dacl`` None with ``dacl_present`` set grants everybody everything. ``size``: bytes it takes.
    """

    owner: str | None
    group: str | None
    dacl: Acl | None
    sacl: Acl | None
    control: int
    size: int

    @property
    def dacl_present(self) -> bool:
        """Does it carry a DACL at all (a null one included)?"""
        return bool(self.control & c.DACL_PRESENT)


def parse_sid(data: bytes, at: int = 0) -> tuple[str, int] | None:
    """The SID at ``at`` as text, and its bytes; None when there is none."""
    if at < 0 or at + c.SID_SIZE > len(data) or data[at] != 1 or data[at + 1] > c.MOST_SUBAUTHORITIES:
        return None
    count = data[at + 1]
    size = c.SID_SIZE + 4 * count
    if at + size > len(data):
        return None
    authority = int.from_bytes(data[at + 2 : at + 8], "big")
    parts = struct.unpack_from(f"<{count}I", data, at + c.SID_SIZE)
    return "-".join(["S-1", str(authority), *map(str, parts)]), size


def parse_acl(data: bytes, at: int = 0) -> Acl | None:
    """The ACL at ``at``; None when there is none."""
    if at < 0 or at + c.ACL_SIZE > len(data):
        return None
    revision, zero, size, count, zeros = struct.unpack_from("<BBHHH", data, at)
    if revision not in c.ACL_REVISIONS or zero or zeros or size < c.ACL_SIZE or at + size > len(data):
        return None
    entries, place = [], at + c.ACL_SIZE
    for _ in range(count):
        if place + c.ACE_SIZE > at + size:
            return None
        kind, flags, length = struct.unpack_from("<BBH", data, place)
        if length < c.ACE_SIZE or length % 4 or place + length > at + size:
            return None
        entries.append(_entry(data[place : place + length], kind, flags))
        place += length
    return Acl(tuple(entries), size)


def _entry(data: bytes, kind: int, flags: int) -> Entry:
    sid = parse_sid(data, 8) if len(data) >= 8 and kind in c.ACE_TYPES else None
    mask = struct.unpack_from("<I", data, 4)[0] if len(data) >= 8 else 0
    return Entry(c.ACE_TYPES.get(kind, f"entry of type {kind}"), mask, sid[0] if sid else "?", flags)


def parse_descriptor(data: bytes) -> Descriptor | None:
    """The self-relative security descriptor at the start of ``data``; None when there is none."""
    if len(data) < c.DESCRIPTOR_SIZE or data[0] != 1:
        return None
    control, owner_at, group_at, sacl_at, dacl_at = struct.unpack_from("<HIIII", data, 2)
    if not control & c.SELF_RELATIVE or any(0 < at < c.DESCRIPTOR_SIZE for at in _offsets(data)):
        return None
    owner, group = (parse_sid(data, at) if at else None for at in (owner_at, group_at))
    sacl, dacl = (parse_acl(data, at) if at else None for at in (sacl_at, dacl_at))
    pairs = ((owner_at, owner), (group_at, group), (sacl_at, sacl), (dacl_at, dacl))
    if any(at and found is None for at, found in pairs):
        return None
    ends = [c.DESCRIPTOR_SIZE]
    ends += [at + found[1] for at, found in ((owner_at, owner), (group_at, group)) if found]
    ends += [at + found.size for at, found in ((sacl_at, sacl), (dacl_at, dacl)) if found]
    return Descriptor(
        owner[0] if owner else None, group[0] if group else None, dacl, sacl, control, max(ends)
    )


def _offsets(data: bytes) -> tuple[int, ...]:
    return struct.unpack_from("<4I", data, c.OWNER)


# -- in words ----------------------------------------------------------------------------------------


def sid_words(sid: str | None) -> str:
    """``S-1-5-18`` as ``SYSTEM``; accounts of a domain by their well-known number, else the SID."""
    if sid is None:
        return "nobody"
    if sid in c.SIDS:
        return c.SIDS[sid]
    parts = sid.split("-")
    if len(parts) == 8 and sid.startswith("S-1-5-21-") and int(parts[-1]) in c.DOMAIN_ACCOUNTS:
        return f"{c.DOMAIN_ACCOUNTS[int(parts[-1])]} ({sid})"
    return sid


def mask_words(mask: int) -> str:
    """An access mask in words; bits without a name in hexadecimal."""
    if mask in c.ACCESS_MASKS:
        return c.ACCESS_MASKS[mask]
    named = [word for bit, word in c.ACCESS_BITS.items() if mask & bit]
    rest = mask & ~sum(c.ACCESS_BITS)
    return ", ".join(named + ([f"{rest:#x}"] if rest else [])) or "nothing"


def entry_words(entry: Entry) -> str:
    """``allow SYSTEM: full control``."""
    inherit = " (for children only)" if entry.flags & c.INHERIT_ONLY else ""
    return f"{entry.kind} {sid_words(entry.sid)}: {mask_words(entry.mask)}{inherit}"


def acl_words(acl: Acl) -> tuple[str, ...]:
    """One line for each entry; an empty list denies everybody everything."""
    return tuple(entry_words(entry) for entry in acl.entries) or ("no entry: nobody may do anything",)


def descriptor_words(found: Descriptor) -> tuple[str, tuple[str, ...]]:
    """One line on a descriptor, and a line for each access entry."""
    text = f"security descriptor, owner {sid_words(found.owner)}, group {sid_words(found.group)}"
    lines = list(acl_words(found.dacl)) if found.dacl is not None else []
    if found.dacl is None:
        lines = ["no access list: everybody may do everything"]
    else:
        text += f", {len(found.dacl.entries)} access entries"
    if found.sacl is not None:
        lines += acl_words(found.sacl)
    return text, tuple(lines)
