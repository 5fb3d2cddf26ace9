"""Pool descriptors and MmPagedPoolInfo with its bitmaps.

Witness: facts/pool-structures.md (_POOL_DESCRIPTOR, _MM_PAGED_POOL_INFO), facts/pool-algorithms.md
sections 7 and 8.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from .layouts import Layout
from .pool_pages import FreeLists
from .work import Pool, Work

_FREES_PER_LIVE = 7  # RunningDeAllocs has no witness of its own: lookaside traffic never reaches it


def paged_pool_count(work: Work) -> int:
    """ExpNumberOfPagedPools: 2 on UP kernels, 4 on MP."""
    return 4 if work.profile.mp else 2


def descriptor_addresses(work: Work) -> dict[str, list[int]]:
    """Nonpaged: a kernel variable; paged: N + 1 structures in one large nonpaged allocation."""
    first = work.named_big("paged descriptors")
    size = work.layout.descriptor.size
    return {
        "nonpaged": [work.address("NonPagedPoolDescriptor")],
        "paged": [first + number * size for number in range(paged_pool_count(work) + 1)],
    }


def list_heads(work: Work, pool: str) -> dict[int, int]:
    """Address of ListHeads by PoolIndex."""
    heads = work.layout.descriptor.list_heads
    return {index: address + heads for index, address in enumerate(descriptor_addresses(work)[pool])}


def _counts(pool: Pool, index: int, primary: bool, layout: Layout) -> tuple[int, int, int, int]:
    """(live blocks, pages of small blocks, pages of large ones, bytes) under one descriptor."""
    mine = pool.index == index
    blocks = mine[pool.chains.page] & (pool.chains.kind != 1)
    big_pages = int((pool.placed.big >= 0).sum()) if primary else 0
    allocated = int(pool.chains.units[blocks].sum()) * layout.unit + big_pages * layout.page
    bigs = len(np.unique(pool.placed.big[pool.placed.big >= 0])) if primary else 0
    return int(blocks.sum()) + bigs, int(mine.sum()), big_pages, allocated


def descriptor_bytes(
    work: Work, pool: Pool, index: int, address: int, links: FreeLists, primary: bool
) -> bytes:
    """One _POOL_DESCRIPTOR; empty list heads point at themselves."""
    layout = work.layout
    fields, pointer = layout.descriptor, layout.pointer
    live, small, big, allocated = _counts(pool, index, primary, layout)
    block = bytearray(fields.size)
    kind = int(pool.name == "paged")
    values = {0: kind, fields.index: index, fields.pages: small, fields.big_pages: big}
    if not layout.modern or layout.nt == "6.0":
        values[0x18] = 4  # Threshold
    values[fields.running] = live * (_FREES_PER_LIVE + 1)
    values[fields.running + 4] = live * _FREES_PER_LIVE
    for at, value in values.items():
        struct.pack_into("<I", block, at, value)
    if fields.total_bytes is not None:
        struct.pack_into("<I" if pointer == 4 else "<Q", block, fields.total_bytes, allocated)
    heads = (
        address
        + fields.list_heads
        + np.arange(layout.units_per_page, dtype=np.uint64) * np.uint64(2 * pointer)
    )
    pairs = np.repeat(heads, 2)
    for (owner, units), (forward, backward) in links.heads.items():
        if owner == index:
            pairs[2 * units - 2], pairs[2 * units - 1] = forward, backward
    raw = pairs.astype("<u4" if pointer == 4 else "<u8").tobytes()
    block[fields.list_heads :] = raw[: fields.size - fields.list_heads]
    return bytes(block)


def write_descriptors(work: Work, links: dict[str, FreeLists]) -> None:
    """All descriptors and the variables that lead to them."""
    if work.layout.segment_heap:
        return
    addresses = descriptor_addresses(work)
    for name, where in addresses.items():
        for index, address in enumerate(where):
            primary = index == (1 if name == "paged" else 0)
            work.poke(address, descriptor_bytes(work, work.pools[name], index, address, links[name], primary))
    pointer = work.layout.pointer
    table = b"".join(address.to_bytes(pointer, "little") for address in addresses["paged"])
    work.poke(work.address("ExpPagedPoolDescriptor"), table)
    vector = addresses["nonpaged"][0].to_bytes(pointer, "little") + addresses["paged"][0].to_bytes(
        pointer, "little"
    )
    work.poke(work.address("PoolVector"), vector)
    work.set("ExpNumberOfPagedPools", paged_pool_count(work), 4)
    work.set("ExpNumberOfNonPagedPools", 1, 4)


def bitmap_bytes(pages: int, bits: NDArray[np.int64]) -> bytes:
    """One bit a page, bit 0 of byte 0 first."""
    flags = np.zeros((pages + 31) // 32 * 32, dtype=np.uint8)
    flags[bits] = 1
    return np.packbits(flags, bitorder="little").tobytes()


def _bitmap(pages: int, address: int, pointer: int) -> bytes:
    """RTL_BITMAP: SizeOfBitMap, Buffer."""
    return struct.pack("<II" if pointer == 4 else "<IxxxxQ", pages, address)


def write_paged_info(work: Work) -> None:
    """MmPagedPoolInfo: two bitmaps on XP and 2003, only the allocation map from Vista on."""
    pool, layout = work.pools["paged"], work.layout
    pointer, placed = layout.pointer, pool.placed
    pages = pool.limit // work.page
    header = 2 * pointer
    where = {name: work.named_big(f"bitmap {name}") for name in ("allocation", "end")}
    for name, slots in (("allocation", placed.slot), ("end", placed.slot[placed.last])):
        data = bitmap_bytes(pages, slots)
        work.poke(where[name], _bitmap(pages, where[name] + header, pointer) + data)
    allocated = len(placed.slot)
    arch = work.profile.arch
    first = int(arch.pte_address(pool.start))
    last = int(arch.pte_address(pool.end))
    form = "I" if pointer == 4 else "Q"
    block = bytearray(layout.paged_info_size)
    if layout.nt == "10.0":
        block[layout.paged_info_size - pointer :] = allocated.to_bytes(pointer, "little")
    elif layout.nt == "6.3":
        struct.pack_into("<QQQ", block, 0x50, pages, 0, allocated)
    elif layout.modern:
        at = 0x20 if pointer == 4 else 0x38
        block[at : at + header] = _bitmap(pages, where["allocation"] + header, pointer)
        tail = struct.pack(
            f"<{form}I{form}{form}" if pointer == 4 else "<QIxxxxQQ", first, 0, allocated, allocated
        )
        block[at + header : at + header + len(tail)] = tail
    else:
        maps = [where["allocation"], where["end"]] + ([0] if layout.nt == "5.1" else [])
        head = struct.pack(f"<{len(maps)}{form}", *maps)
        tail = struct.pack(
            "<IIIIII" if pointer == 4 else "<QQQIxxxxQQ", first, last, last, 0, allocated, allocated
        )
        block[: len(head) + len(tail)] = head + tail
    work.poke(work.address("MmPagedPoolInfo"), bytes(block))
