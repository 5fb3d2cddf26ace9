"""Pool header formats and the values that PoolType may take: data, by architecture and version.

Witness: facts/pool-structures.md, "_POOL_HEADER" ([PDB] XP SP3; [2S] x86; [1S] x64, IA64) and
"PoolType" ([1S] WRK for the stored form; [2S] and [WD] for the in-use bits).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from dumpscan.kernel.layouts import Layout
from dumpscan.records import record


@record
class HeaderFormat:
    """Bit fields of a header's first u32 (all formats keep the tag in the u32 behind it).

    ``unit`` is the block unit in bytes; sizes in the header count units, header included.
    """

    name: str
    header: int
    unit: int
    previous_mask: int
    index_shift: int
    index_mask: int
    size_shift: int
    size_mask: int
    type_shift: int
    type_mask: int


X86 = HeaderFormat("x86", 8, 8, 0x1FF, 9, 0x7F, 16, 0x1FF, 25, 0x7F)
X64 = HeaderFormat("x64", 16, 16, 0xFF, 8, 0xFF, 16, 0xFF, 24, 0xFF)
IA64 = HeaderFormat("ia64", 16, 16, 0x1FF, 9, 0x7F, 16, 0x1FF, 25, 0x7F)

PAGED_TYPE = 1
QUOTA = 8
SESSION = 32
VERIFIER = 64
_STORED = (0, QUOTA, SESSION, VERIFIER)


_FORMATS = {(4, "9/7/9/7"): X86, (8, "8/8/8/8"): X64, (8, "9/7/9/7"): IA64}


def header_format(layout: Layout) -> HeaderFormat:
    """The header format of a kernel family."""
    return _FORMATS[layout.pointer_size, layout.header_split]


def table_dtype(
    fields: Iterable[tuple[str, int]], formats: Mapping[str, str], size: int
) -> np.dtype[np.void]:
    """numpy type of a table's entries: ``fields`` are (name, offset), u32 where ``formats`` has nothing."""
    named = tuple(fields)
    return np.dtype(
        {
            "names": [name for name, _ in named],
            "formats": [formats.get(name, "<u4") for name, _ in named],
            "offsets": [offset for _, offset in named],
            "itemsize": size,
        }
    )


@record
class TypeRules:
    """What each PoolType value of a header says: boolean tables of 256, indexed by the value."""

    legal: NDArray[np.bool_]
    in_use: NDArray[np.bool_]
    paged: NDArray[np.bool_]
    quota: NDArray[np.bool_]


def type_rules(layout: Layout) -> TypeRules:
    """Tables for a family. Before 6.0 the stored value is the caller's type plus one, bit 4 in use;
    from 6.0 on it is the caller's type, bit 2 in use; 0 is a free block everywhere."""
    base = 1 if layout.in_use_bit == 4 else 0
    legal, in_use, paged, quota = (np.zeros(256, np.bool_) for _ in range(4))
    legal[0] = True
    for value in range(128):
        kind = value & ~layout.in_use_bit
        caller = kind - base
        if caller < 0 or caller & ~(PAGED_TYPE | QUOTA | SESSION | VERIFIER):
            continue
        legal[value] = True
        in_use[value] = bool(value & layout.in_use_bit)
        paged[value] = bool(caller & PAGED_TYPE)
        quota[value] = bool(caller & QUOTA)
    return TypeRules(legal, in_use, paged, quota)


def quota_replaces_tag(layout: Layout) -> bool:
    """XP only: a quota-charged block may hold the process where others hold the tag ([PDB])."""
    return not layout.tagging_always
