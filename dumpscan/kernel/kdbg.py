"""The kernel's debugger data block: read it at an address, or find it in physical memory.

Several hits of a scan are normal: file cache pages of ntoskrnl hold copies whose KernBase is that
of the link time, or 0. Every block is therefore verified against the address space: its KernBase
must lead to an MZ image, its module list must link back, and its own page must be mapped inside
that image. Witness: facts/kernel-location.md section 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dumpscan.errors import AbsentMemory, WrongMemory
from dumpscan.image.physical import I64, U8
from dumpscan.kernel import c_kdbg
from dumpscan.memory.blocks import Readable
from dumpscan.memory.virtual import VirtualMemory
from dumpscan.records import record

_TAG_WORD = int.from_bytes(c_kdbg.TAG, "little")


@record
class Kdbg:
    """A parsed block: ``addresses`` name kernel variables, zero ones left out."""

    va: int
    size: int
    kern_base: int
    pae: bool
    addresses: dict[str, int]


def read_kdbg(memory: VirtualMemory, va: int) -> Kdbg:
    """The block at ``va``. :raises WrongMemory: no block there. :raises AbsentMemory: not readable."""
    return read_block(memory, va, memory.paging.va_mask)


def read_block(memory: Readable, va: int, va_mask: int) -> Kdbg:
    """As :func:`read_kdbg`, from memory that has no page tables; ``va_mask``: the bits of an address."""
    head = memory.read(va, c_kdbg.MIN_SIZE)
    if head[c_kdbg.TAG_OFFSET : c_kdbg.TAG_OFFSET + 4] != c_kdbg.TAG:
        raise WrongMemory(f"no KDBG tag at {va:#x}; the debugger data address is stale")
    size = int.from_bytes(head[c_kdbg.SIZE_OFFSET : c_kdbg.SIZE_OFFSET + 4], "little")
    if not c_kdbg.MIN_SIZE <= size <= c_kdbg.MAX_SIZE:
        raise WrongMemory(f"KDBG at {va:#x} claims {size:#x} bytes; it is damaged or encoded")
    return parse_kdbg(memory.read(va, size), va, va_mask)


def parse_kdbg(block: bytes, va: int, va_mask: int) -> Kdbg:
    """Fields of a block's bytes. On x86 the upper halves are ignored."""

    def address(offset: int) -> int:
        return int.from_bytes(block[offset : offset + 8], "little") & va_mask

    fields = {name: address(at) for name, at in c_kdbg.ADDRESSES.items() if at + 8 <= len(block)}
    return Kdbg(
        va=va,
        size=len(block),
        kern_base=address(c_kdbg.KERN_BASE),
        pae=bool(block[c_kdbg.PAE_ENABLED] & 1),
        addresses={name: value for name, value in fields.items() if value},
    )


def via_kpcr(memory: VirtualMemory, kpcr: int) -> int | None:
    """Address of the block by KPCR.KdVersionBlock, or None where this processor does not tell."""
    try:
        version = memory.pointer(kpcr + c_kdbg.KPCR_VERSION_BLOCK[memory.paging.arch])
        if not version:
            return None
        head = memory.u64(version + c_kdbg.VERSION_DATA_LIST) & memory.paging.va_mask
        return memory.pointer(head)
    except AbsentMemory:
        return None


def find_in(rows: U8, pfns: I64) -> Iterator[int]:
    """Physical addresses of block starts among gathered pages (blocks are 8-byte aligned)."""
    words, page = rows.reshape(-1).view("<u4"), rows.shape[1]
    at = np.flatnonzero(words[:-1] == _TAG_WORD)
    start, size = at * 4 % page - c_kdbg.TAG_OFFSET, words[at + 1]
    # Filtered as arrays: a hostile image may be full of the tag.
    good = (start >= 0) & (size >= c_kdbg.MIN_SIZE) & (size <= c_kdbg.MAX_SIZE)
    for row, inside in zip((at[good] * 4 // page).tolist(), start[good].tolist(), strict=True):
        yield int(pfns[row]) * page + inside
