"""The chain of blocks in small-block pool pages, stepped through for many pages at once.

A page of small blocks is a gapless chain from offset 0 to the page's end; every block's header
names its own size and that of the block before. Rules: facts/pool-algorithms.md section 6; header
bits: :mod:`dumpscan.pool.c_pool`. A page is accepted whole or not at all: a chain that breaks is
reported with how far it went, and never resynchronised.

How it is fast: header and tag are one u64, so a step of all chains is one gather, one shift, one
mask and one addition; a chain that has ended runs on into foreign data, and is sorted out later,
sixteen steps at a time. What is left of a u64 after the shift, tag, type and size, is the key by
which blocks are counted. Arrays stay small enough for the processor's cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dumpscan.image.physical import I64, U8, U64, Mask
from dumpscan.kernel.layouts import Layout
from dumpscan.pool.c_pool import HeaderFormat, TypeRules, header_format, type_rules

STEPS = 16
"""Steps between two looks at which chains have ended."""

_WORD = 8
_ILLEGAL, _PAGED, _NONPAGED, _IN_USE = 1, 2, 4, 8

U32 = NDArray[np.uint32]


class Chains(NamedTuple):
    """What a batch of pages holds.

    ``accepted`` (bool) and ``reach`` (int32, bytes from the page's start whose chain is sound) have
    one element per page; ``paged`` is 1 or 0 by the page's blocks in use, -1 without any. ``keys``
    (uint64, see :class:`KeyFormat`) are the blocks in use of accepted pages; ``page`` (int64, index
    of the page) and ``offset`` (int64, bytes) locate them, and are empty unless asked for.
    """

    accepted: Mask
    reach: NDArray[np.int32]
    paged: NDArray[np.int8]
    keys: U64
    page: I64
    offset: I64


class KeyFormat:
    """Takes a block's key apart: tag, PoolType and size in bytes."""

    def __init__(self, layout: Layout) -> None:
        self.header = header_format(layout)
        self.rules = type_rules(layout)

    def tag(self, keys: U64) -> U32:
        """Tags as stored (the protected bit may be set)."""
        return (keys >> np.uint64(16)).astype(np.uint32)

    def pool_type(self, keys: U64) -> U8:
        """PoolType values."""
        form = self.header
        shift = np.uint64(form.type_shift - 16)
        return ((keys >> shift) & np.uint64(form.type_mask)).astype(np.uint8)

    def size(self, keys: U64) -> I64:
        """Block sizes in bytes, header included."""
        return (keys & np.uint64(self.header.size_mask)).astype(np.int64) * self.header.unit


class ChainWalker:
    """Walks batches of at most ``batch`` pages; buffers are allocated once and reused."""

    def __init__(self, layout: Layout, batch: int = 2048) -> None:
        self.layout = layout
        self.form = header_format(layout)
        self.page_size = layout.page_size
        self.batch = batch
        self._flags = _flag_table(self.form, type_rules(layout))
        self._words = self.page_size // _WORD
        # A step in words: the size field, shifted so that units become words of eight bytes.
        self._unit_bits = (self.form.unit // _WORD).bit_length() - 1
        self._step_shift = self.form.size_shift - self._unit_bits
        self._step_mask = self.form.size_mask << self._unit_bits
        self._head = np.empty((STEPS, batch), np.int64)
        self._at = np.empty((STEPS + 1, batch), np.int64)
        self._size = np.empty((STEPS, batch), np.int64)

    def walk(self, pages: U8, locate: bool = False) -> Chains:
        """Walk ``pages``: uint8, ``(n, page_size)``, contiguous, at most ``batch`` rows."""
        start = np.arange(len(pages), dtype=np.int64) * self._words
        return self.walk_in_place(pages.reshape(-1).view("<i8"), start, locate)

    def walk_in_place(self, words: I64, start: I64, locate: bool = False) -> Chains:
        """Walk pages where they lie: ``start`` (int64) indexes the first 64-bit word of each page in
        ``words``. Only headers are touched, which is a fraction of the bytes that copying would."""
        state = _State(start, self._words)
        while len(state.page):
            self._segment(words, state, locate)
        accepted = state.reach == self.page_size
        mixed = (state.seen & (_PAGED | _NONPAGED)) == (_PAGED | _NONPAGED)
        accepted &= ~mixed
        keys, page, offset = self._collect(state, accepted, locate)
        paged = np.where((state.seen & (_PAGED | _NONPAGED)) == 0, -1, (state.seen & _PAGED) != 0)
        return Chains(accepted, state.reach, paged.astype(np.int8), keys, page, offset)

    def _segment(self, words: I64, state: _State, locate: bool) -> None:
        """Sixteen steps of every chain still going, then their bulk checks."""
        live = len(state.page)
        head, at, size = self._head[:, :live], self._at[:, :live], self._size[:, :live]
        at[0] = state.at
        shift, mask = self._step_shift, self._step_mask
        for step in range(STEPS):
            words.take(at[step], out=head[step], mode="clip")
            np.right_shift(head[step], shift, out=size[step])
            np.bitwise_and(size[step], mask, out=size[step])
            np.add(at[step], size[step], out=at[step + 1])
        self._judge(state, head, at, size, locate)

    def _judge(self, state: _State, head: I64, at: I64, size: I64, locate: bool) -> None:
        form = self.form
        inside = at[:-1] < state.end
        types = (head >> form.type_shift) & form.type_mask
        flags = self._flags.take(types)
        if state.first is None:
            state.first = head[0] & (form.index_mask << form.index_shift)
        # Previous sizes and the pool index in one comparison: expected low 16 bits of each header.
        expected = np.empty_like(size)
        expected[0] = state.previous
        expected[1:] = size[:-1]
        expected >>= self._unit_bits
        expected += state.first
        low = (form.index_mask << form.index_shift) | form.previous_mask
        bad = ((head ^ expected) & low) != 0
        bad |= size == 0
        bad |= at[1:] > state.end
        bad |= (flags & _ILLEGAL) != 0
        bad &= inside
        broken = bad.any(axis=0)
        use = inside & ((flags & _IN_USE) != 0)
        state.note(flags, inside, use, head, at, locate)
        state.advance(at, size, bad, broken, self._words)

    def _collect(self, state: _State, accepted: Mask, locate: bool) -> tuple[U64, I64, I64]:
        if not state.keys:
            empty = np.zeros(0, np.int64)
            return np.zeros(0, np.uint64), empty, empty
        keys = np.concatenate(state.keys).view(np.uint64)
        keys >>= np.uint64(16)
        empty = np.zeros(0, np.int64)
        whole = bool(accepted.all())
        if whole and not locate:
            return keys, empty, empty
        page = np.concatenate([_columns(use, columns) for use, columns in state.uses])
        keep = slice(None) if whole else accepted[page]
        if not locate:
            return keys[keep], empty, empty
        page, word = page[keep], np.concatenate(state.places)[keep]
        return keys[keep], page, (word - state.start[page]) * _WORD


class _State:
    """Chains that still go, and what has been found so far."""

    def __init__(self, start: I64, words: int) -> None:
        count = len(start)
        self.start = start
        self.page = np.arange(count, dtype=np.int64)
        self.at = start
        self.end = start + words
        self.previous: Any = np.zeros(count, np.int64)
        self.first: Any = None
        self.reach = np.zeros(count, np.int32)
        self.seen = np.zeros(count, np.uint8)
        self.keys: list[I64] = []
        self.uses: list[tuple[Mask, I64]] = []
        self.places: list[I64] = []

    def note(self, flags: U8, inside: Mask, use: Mask, head: I64, at: I64, locate: bool) -> None:
        """Keep the blocks in use, and which kinds of block each page has."""
        self.seen[self.page] |= np.bitwise_or.reduce(np.where(inside, flags, 0), axis=0)
        self.keys.append(head[use])
        self.uses.append((use, self.page))
        if locate:
            self.places.append(at[:-1][use])

    def advance(self, at: I64, size: I64, bad: Mask, broken: Mask, words: int) -> None:
        """Settle the chains that ended or broke; go on with the others."""
        ended = at[-1] >= self.end
        done = ended | broken
        if bool(broken.any()):
            columns = np.flatnonzero(broken)
            stop = at[bad[:, columns].argmax(axis=0), columns]
            pages = self.page[columns]
            self.reach[pages] = (stop - self.start[pages]) * _WORD
        whole = self.page[ended & ~broken]
        self.reach[whole] = words * _WORD
        go = np.flatnonzero(~done)
        self.page, self.end = self.page[go], self.end[go]
        self.at, self.previous, self.first = at[-1][go], size[-1][go], self.first[go]


def _columns(use: Mask, columns: I64) -> I64:
    """``columns`` of the set elements of ``use``, in row order."""
    index = np.flatnonzero(use)
    return columns[index % len(columns)]


def _flag_table(form: HeaderFormat, rules: TypeRules) -> U8:
    table = np.zeros(form.type_mask + 1, np.uint8)
    legal, in_use, paged = (a[: len(table)] for a in (rules.legal, rules.in_use, rules.paged))
    table[~legal] |= _ILLEGAL
    table[in_use] |= _IN_USE
    table[in_use & paged] |= _PAGED
    table[in_use & ~paged] |= _NONPAGED
    return table
