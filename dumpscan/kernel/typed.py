"""Structure layouts out of a symbol table: exact for its build, and the only ones for builds between.

Only for kernels after the article's (6.1 and later, x64), and only what the counters need: entries of
the tracker and of the big page table, links and page tables of a process. What the table does not
describe stays as the facts have it for the nearest family.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dumpscan.kernel.layouts import (
    FIRST_SEGMENT_HEAP,
    NO_RANGES,
    SEGMENT_HEAP,
    WIN10_17763_X64,
    Layout,
    Names,
)
from dumpscan.records import replace

_FIRST = 7600
_LARGEST = 0x2000
"""Bytes of a structure: more than any _EPROCESS."""
_WIDTH = 8
"""No field read here is longer, and behind the shorter ones others follow."""
_TRACKER = {
    "key": "Key", "np_allocs": "NonPagedAllocs", "np_frees": "NonPagedFrees", "np_bytes": "NonPagedBytes",
    "paged_allocs": "PagedAllocs", "paged_frees": "PagedFrees", "paged_bytes": "PagedBytes",
}  # fmt: skip
_BIG = {"va": "Va", "key": "Key", "pool_type": "PoolType", "size": "NumberOfBytes"}


def layout_with(types: Mapping[str, Any], build: int, arch: str, known: Layout | None) -> Layout | None:
    """``known`` (the facts' layout, if there is one) with what ``types`` say. None where nothing fits."""
    if arch != "x64" or build < _FIRST:
        return known
    try:
        return _layout(types, build, known)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return known  # A table without these types, or not in the usual form.


def _layout(types: Mapping[str, Any], build: int, known: Layout | None) -> Layout:
    tracker, big = types["_POOL_TRACKER_TABLE"], types["_POOL_TRACKER_BIG_PAGES"]
    shift = int(big["fields"]["PoolType"]["type"].get("bit_position", 0))
    if not 0 <= shift < 32:
        raise ValueError("a bit field outside its word")
    family = known or _nearest(build)
    return replace(
        family,
        tracker_size=int(tracker["size"]),
        tracker_fields=_offsets(tracker, _TRACKER),
        wide_counts=_is_wide(tracker["fields"]["PagedAllocs"]["type"]),
        big_entry_size=int(big["size"]),
        big_fields=_offsets(big, _BIG),
        big_type_shift=shift,
        process_links=_offsets(types["_EPROCESS"], {"links": "ActiveProcessLinks"})[0][1],
        process_dtb=_offsets(types["_KPROCESS"], {"dtb": "DirectoryTableBase"})[0][1],
    )


def _nearest(build: int) -> Layout:
    """The family of a build that the facts do not have: none of its own sizes and places is believed."""
    refused = SEGMENT_HEAP if build >= FIRST_SEGMENT_HEAP else NO_RANGES
    return replace(
        WIN10_17763_X64, name=f"build {build} x64", unwalkable=refused, descriptor_fields=(),
        paged_info_fields=(),
    )  # fmt: skip


def _offsets(kind: Mapping[str, Any], names: Mapping[str, str]) -> Names:
    """(our name, offset) pairs.

    :raises ValueError: a field lies outside its structure.
    """
    found = tuple((ours, int(kind["fields"][theirs]["offset"])) for ours, theirs in names.items())
    if not all(0 <= at <= int(kind["size"]) - _WIDTH for _, at in found) or int(kind["size"]) > _LARGEST:
        raise ValueError("fields outside their structure")
    return found


def _is_wide(kind: Mapping[str, Any]) -> bool:
    return "long long" in str(kind.get("name", ""))
