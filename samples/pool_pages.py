"""Bytes of small-block pool pages: headers, links of free blocks, quota pointers, contents.

Witness: facts/pool-structures.md (_POOL_HEADER, PoolType by version, Quota), facts/pool-algorithms.md
section 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .blocks import CACHED, FREE, QUOTA, USED, Chains
from .layouts import Layout
from .page_files import PageFiles
from .ram import Ram

U64 = NDArray[np.uint64]
_CHUNK = 4096  # pages composed at a time


@dataclass(frozen=True)
class PageStyle:
    """What the bytes of a page depend on apart from the chain itself."""

    layout: Layout
    paged: bool
    tagging: bool
    keys: NDArray[np.uint32]
    contents: list[bytes]
    filler: NDArray[np.uint8]
    processes: U64  # EPROCESS addresses for quota-charged blocks


def tag_hidden(layout: Layout, tagging: bool) -> bool:
    """XP without tagging: a quota-charged block has the process where its tag would be."""
    return layout.nt == "5.1" and not tagging


def _pool_types(chains: Chains, style: PageStyle) -> NDArray[np.uint32]:
    layout = style.layout
    used = layout.used_paged if style.paged else layout.used_nonpaged
    cached = layout.cached_paged if style.paged else layout.cached_nonpaged
    types = np.zeros(len(chains.units), dtype=np.uint32)
    types[chains.kind == USED] = used
    types[chains.kind == CACHED] = cached
    types[(chains.kind == USED) & chains.quota] |= QUOTA
    return types


def headers(chains: Chains, index: NDArray[np.int64], style: PageStyle) -> NDArray[np.uint32]:
    """First dword of every block: PreviousSize, PoolIndex, BlockSize, PoolType."""
    types = _pool_types(chains, style)
    pool_index = index[chains.page].astype(np.uint32)
    previous, units = chains.previous.astype(np.uint32), chains.units.astype(np.uint32)
    if not style.layout.wide_index:
        word = previous | (pool_index << np.uint32(9)) | (units << np.uint32(16)) | (types << np.uint32(25))
    else:
        word = previous | (pool_index << np.uint32(8)) | (units << np.uint32(16)) | (types << np.uint32(24))
    result: NDArray[np.uint32] = word
    return result


def tag_words(chains: Chains, owners: U64, style: PageStyle) -> NDArray[np.uint32]:
    """Second dword: the tag with its protected bit, or the process on XP without tagging."""
    words = style.keys[chains.tag] | (chains.protected.astype(np.uint32) << np.uint32(31))
    if tag_hidden(style.layout, style.tagging):
        hidden = (chains.kind == USED) & chains.quota
        words[hidden] = owners[hidden].astype(np.uint32)
    return words


@dataclass(frozen=True)
class FreeLists:
    """Links of the blocks on ListHeads: per block, and per (pool index, size) the head's own two."""

    forward: U64
    backward: U64
    heads: dict[tuple[int, int], tuple[int, int]]


def link_free(
    chains: Chains, va: U64, index: NDArray[np.int64], heads_at: dict[int, int], layout: Layout
) -> FreeLists:
    """Chain free blocks by descriptor and size; `heads_at` maps a pool index to its ListHeads address."""
    forward, backward = np.zeros(len(va), dtype=np.uint64), np.zeros(len(va), dtype=np.uint64)
    free = np.flatnonzero((chains.kind == FREE) & (chains.units > 1))
    if not len(free):
        return FreeLists(forward, backward, {})
    owner, units = index[chains.page[free]], chains.units[free]
    order = np.lexsort((units, owner))
    free, owner, units = free[order], owner[order], units[order]
    entry = va[free] + np.uint64(layout.unit)
    starts = np.flatnonzero(np.r_[True, (owner[1:] != owner[:-1]) | (units[1:] != units[:-1])])
    ends = np.append(starts[1:], len(free)) - 1
    head = np.array(
        [heads_at[int(owner[s])] + int(units[s] - 1) * 2 * layout.pointer for s in starts], dtype=np.uint64
    )
    following, before = np.r_[entry[1:], entry[:1]], np.r_[entry[:1], entry[:-1]]
    following[ends], before[starts] = head, head
    forward[free], backward[free] = following, before
    heads = {
        (int(owner[s]), int(units[s])): (int(entry[s]), int(entry[e]))
        for s, e in zip(starts, ends, strict=True)
    }
    return FreeLists(forward, backward, heads)


def write_pages(
    ram: Ram | PageFiles,
    chains: Chains,
    frames: NDArray[np.int64],
    index: NDArray[np.int64],
    links: FreeLists | None,
    style: PageStyle,
    rng: np.random.Generator,
) -> None:
    """Compose every page that has a frame (frames[page] >= 0), some thousand at a time."""
    owners = style.processes[rng.integers(0, len(style.processes), len(chains.units))]
    words, tags = headers(chains, index, style), tag_words(chains, owners, style)
    bounds = np.searchsorted(chains.page, np.arange(0, chains.pages + _CHUNK, _CHUNK))
    for number in range(len(bounds) - 1):
        first, last = int(bounds[number]), int(bounds[number + 1])
        base = number * _CHUNK
        mine = frames[base : base + _CHUNK]
        resident = mine >= 0
        if not resident.any():
            continue
        local = np.cumsum(resident) - 1  # page -> row in the buffer
        rows = slice(first, last)
        keep = np.flatnonzero(resident[chains.page[rows] - base]) + first
        buffer = style.filler[rng.integers(0, len(style.filler), int(resident.sum()))]
        start = local[chains.page[keep] - base] * style.layout.page + chains.offset[keep] * style.layout.unit
        _compose(buffer.reshape(-1), keep, start, chains, words, tags, owners, links, style)
        ram.pages[mine[resident]] = buffer
        ram.touched[mine[resident]] = True


def _compose(
    flat: NDArray[np.uint8],
    keep: NDArray[np.int64],
    start: NDArray[np.int64],
    chains: Chains,
    words: NDArray[np.uint32],
    tags: NDArray[np.uint32],
    owners: U64,
    links: FreeLists | None,
    style: PageStyle,
) -> None:
    layout = style.layout
    dwords = flat.view(np.uint32)
    dwords[start // 4], dwords[start // 4 + 1] = words[keep], tags[keep]
    pointers = flat.view(np.uint32 if layout.pointer == 4 else np.uint64)
    body = (start + layout.unit) // layout.pointer
    if links is not None:
        free = links.forward[keep] != 0
        pointers[body[free]] = links.forward[keep][free]
        pointers[body[free] + 1] = links.backward[keep][free]
    pointers[body[chains.kind[keep] == CACHED]] = 0  # end of the lookaside's single list
    charged = (chains.kind[keep] == USED) & chains.quota[keep]
    if layout.pointer == 8:
        pointers[start[charged] // 8 + 1] = owners[keep][charged]
    elif layout.nt != "5.1":
        ends = start[charged] + chains.units[keep][charged] * layout.unit
        pointers[ends // 4 - 1] = owners[keep][charged].astype(np.uint32)
    _fill_contents(flat, start + layout.unit, chains.content[keep], style.contents)


def _fill_contents(
    flat: NDArray[np.uint8], body: NDArray[np.int64], content: NDArray[np.int64], contents: list[bytes]
) -> None:
    """Known contents of leaked blocks, written in 16-bit pieces (block bodies are aligned)."""
    words = flat.view(np.uint16)
    for number, data in enumerate(contents):
        at = body[content == number] // 2
        if len(at):
            text = np.frombuffer(data, dtype=np.uint16)
            words[at[:, None] + np.arange(len(text))] = text
