"""Block contents counted: which are identical, which are nearly so.

Two contents are identical when the bytes that their structure claims are equal; they are nearly so
when they differ in kernel addresses, in the digits of a text, or in the slack behind the request
only. Batches are reduced to their different contents before anything is kept, so that memory stays
bounded: a leak of millions of clones is one row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dumpscan.attribution.kinds import OTHER, TEXT, classify
from dumpscan.pool.contents import Contents
from dumpscan.records import record

MOST_DIFFERENT = 20_000
"""Different contents kept for one tag, pool and size. What comes later is only counted."""
_PIECE = 8192
"""Rows classified at a time: their masks stay small."""

U8 = NDArray[np.uint8]


@record
class Clone:
    """One content. ``content`` is one block's bytes as they are; ``kind`` of
    :mod:`dumpscan.attribution.kinds`; ``va`` the address of that block."""

    kind: int
    content: bytes
    copies: int
    va: int


@record
class Family:
    """Nearly identical contents of blocks of one size, the commonest first."""

    size: int
    kind: int
    clones: tuple[Clone, ...]

    @property
    def copies(self) -> int:
        """Blocks in it."""
        return sum(clone.copies for clone in self.clones)


class Collector:
    """Takes batches of contents and counts clones. ``slack``: last bytes of a row that are nobody's."""

    def __init__(self, pointer_size: int, slack: int, most: int = MOST_DIFFERENT) -> None:
        self._pointer_size, self._slack, self._most = pointer_size, slack, most
        self._found: dict[tuple[int, bool, int], dict[bytes, list[Any]]] = {}
        self.blocks: dict[tuple[int, bool], int] = {}
        self.bytes: dict[tuple[int, bool], int] = {}

    def add(self, batch: Contents) -> None:
        """Count a batch."""
        pool = (batch.tag, batch.paged)
        self.blocks[pool] = self.blocks.get(pool, 0) + len(batch.rows)
        self.bytes[pool] = self.bytes.get(pool, 0) + len(batch.rows) * batch.size
        known = self._found.setdefault((batch.tag, batch.paged, batch.size), {})
        for at in range(0, len(batch.rows), _PIECE):
            self._add_rows(known, batch.rows[at : at + _PIECE], batch.va[at : at + _PIECE])

    def _add_rows(self, known: dict[bytes, list[Any]], rows: U8, vas: NDArray[np.uint64]) -> None:
        kinds, extent = classify(rows)
        width = rows.shape[1]
        # A text that ends well before the row may have another one behind it: keep that apart.
        extent[(kinds == TEXT) & (extent < width - 2 * self._slack - 2)] = width
        plain = rows.copy()
        cut = np.flatnonzero(extent < width)
        plain[cut] = np.where(np.arange(width) < extent[cut, None], plain[cut], 0)
        first, counts = distinct(plain)
        for index, count in zip(first.tolist(), counts.tolist(), strict=True):
            key = plain[index].tobytes()
            entry = known.get(key)
            if entry is not None:
                entry[0] += count
            elif len(known) < self._most:
                known[key] = [count, int(kinds[index]), int(vas[index]), rows[index].tobytes()]

    def families(self) -> Iterator[tuple[tuple[int, bool], list[Family]]]:
        """For each tag and pool its families of nearly identical contents, the largest first."""
        by_pool: dict[tuple[int, bool], list[Family]] = {pool: [] for pool in self.blocks}
        for (tag, paged, size), known in self._found.items():
            by_pool[tag, paged] += self._grouped(size, known)
        for pool, families in by_pool.items():
            families.sort(key=lambda family: (-family.copies, family.size, family.clones[0].va))
            yield pool, families

    def _grouped(self, size: int, known: dict[bytes, list[Any]]) -> Iterator[Family]:
        if not known:
            return
        contents, entries = list(known), list(known.values())
        kinds = np.array([entry[1] for entry in entries], np.uint8)
        width = len(contents[0])
        rows = np.frombuffer(b"".join(contents), np.uint8).reshape(len(contents), width).copy()
        self._blur(rows, kinds)
        groups: dict[tuple[int, bytes], list[Clone]] = {}
        for row, (count, kind, va, content) in zip(rows, entries, strict=True):
            groups.setdefault((kind, row.tobytes()), []).append(Clone(kind, content, count, va))
        for (kind, _), clones in groups.items():
            clones.sort(key=lambda clone: (-clone.copies, clone.va))
            yield Family(size, kind, tuple(clones))

    def _blur(self, rows: U8, kinds: NDArray[np.uint8]) -> None:
        """Blank what makes near-identical contents differ, in place."""
        texts = np.flatnonzero(kinds == TEXT)
        letters = rows[texts].view("<u2")
        letters[(letters >= 0x30) & (letters <= 0x39)] = ord("#")
        letters[np.cumsum(letters == 0, axis=1) > 0] = 0
        rows[texts] = letters.view(np.uint8)
        others = np.flatnonzero(kinds == OTHER)
        plain = rows[others]
        mask_addresses(plain, self._pointer_size)
        if self._slack:
            plain[:, plain.shape[1] - self._slack :] = 0
        rows[others] = plain


def mask_addresses(rows: U8, pointer_size: int) -> None:
    """Zero the aligned words that look like kernel addresses, in place. Rows: multiples of 8 bytes."""
    if pointer_size == 8:
        words = rows.view("<u8")
        words[words >= np.uint64(0xFFFF_0000_0000_0000)] = 0
    else:
        halves = rows.view("<u4")
        halves[halves >= np.uint32(0x8000_0000)] = 0


def distinct(rows: U8) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Index of one row of each different content, and how many rows have it.

    Rows are told apart by a 64-bit hash, which is then verified: where two contents share a hash,
    the bytes themselves are sorted.
    """
    hashes = hash_rows(rows)
    _, first, inverse, counts = np.unique(hashes, return_index=True, return_inverse=True, return_counts=True)
    if not bool((rows == rows[first[inverse]]).all()):
        whole = np.ascontiguousarray(rows).view(f"V{rows.shape[1]}").reshape(-1)
        _, first, counts = np.unique(whole, return_index=True, return_counts=True)
    return first, counts


def hash_rows(rows: U8) -> NDArray[np.uint64]:
    """A hash of each row (width a multiple of 8): words mixed, weighted by place, summed."""
    words = rows.view("<u8").astype(np.uint64)
    words ^= words >> np.uint64(29)
    words *= np.uint64(0x9E37_79B9_7F4A_7C15)
    words ^= words >> np.uint64(32)
    place = np.arange(1, words.shape[1] + 1, dtype=np.uint64) * np.uint64(0xD6E8_FEB8_6659_FD93)
    total: NDArray[np.uint64] = (words * (place | np.uint64(1))).sum(axis=1, dtype=np.uint64)
    return total
