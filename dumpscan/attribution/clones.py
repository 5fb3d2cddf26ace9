"""Block contents counted: which are identical, which are nearly so.

Two contents are identical when the bytes that their structure claims are equal, what may be slack
behind the request left out; they are nearly so when they differ in kernel addresses or in the digits
of a text only. The trap of the area: counted strings have no terminator, and what is left over
behind them may look like one letter more. Batches are reduced to their different contents before
anything is kept, so that memory stays bounded: a leak of millions of clones is one row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dumpscan.attribution.kinds import OTHER, TEXT, classify
from dumpscan.attribution.strings import wide_text
from dumpscan.pool.contents import Contents
from dumpscan.records import record, replace

MOST_DIFFERENT = 20_000
"""Different contents kept for one tag, pool and size. What comes later is only counted."""
_PIECE = 8192
"""Rows classified at a time: their masks stay small."""

U8 = NDArray[np.uint8]


@record
class Clone:
    """One content. ``content`` is one block's bytes as they are; ``kind`` of
    :mod:`dumpscan.attribution.kinds`; ``va`` the address of that block; ``text`` what a text says."""

    kind: int
    content: bytes
    copies: int
    va: int
    text: str = ""


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
        self.left_out = 0
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
        extent[(kinds == TEXT) & (extent < width - 2 * self._slack - 4)] = width
        extent[kinds == OTHER] = width - self._slack
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
            else:
                self.left_out += count

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
        left_over = (self._slack + 2) // 2
        texts = _true_texts(contents, entries, left_over)
        rows = np.frombuffer(b"".join(contents), np.uint8).reshape(len(contents), -1).copy()
        others = np.flatnonzero(kinds == OTHER)
        blurred = rows[others]
        mask_addresses(blurred, self._pointer_size)
        rows[others] = blurred
        groups: dict[tuple[int, bytes | str], dict[bytes, Clone]] = {}
        for index, (count, kind, va, content) in enumerate(entries):
            text = texts.get(index, "")
            key = _DIGITS.sub("#", text) if kind == TEXT else rows[index].tobytes()
            same = _said(contents[index], text, left_over) if kind == TEXT else contents[index]
            group = groups.setdefault((kind, key), {})
            group[same] = _joined(group.get(same), Clone(kind, content, count, va, text))
        for (kind, _), found in groups.items():
            clones = sorted(found.values(), key=lambda clone: (-clone.copies, clone.va))
            yield Family(size, kind, tuple(clones))


def _said(content: bytes, text: str, left_over: int) -> bytes:
    """What makes a text content itself: the text, and what stands behind it unless that is slack."""
    letters = len(content) // 2 - len(text)
    return content[: 2 * len(text)] if letters <= left_over else content


def _joined(old: Clone | None, new: Clone) -> Clone:
    """Two clones of one text as one, the commoner one's bytes standing for both."""
    if old is None:
        return new
    first, second = (old, new) if old.copies >= new.copies else (new, old)
    return replace(first, copies=first.copies + second.copies)


_DIGITS = re.compile(r"\d")
_COMMONER = 10


def _true_texts(contents: list[bytes], entries: list[list[Any]], most: int) -> dict[int, str]:
    """The text of each text content. One that is a far commoner text and a letter or a few more, in
    the last ``most`` letters of its block (two bytes of request and the slack), is taken for that
    text with something left over behind it."""
    texts = {i: wide_text(contents[i]) for i, entry in enumerate(entries) if entry[1] == TEXT}
    counts: dict[str, int] = {}
    for index, text in texts.items():
        counts[text] = counts.get(text, 0) + entries[index][0]
    for index, text in texts.items():
        room = len(contents[index]) // 2 - len(text)
        for cut in range(1, most + 1 - min(room, most)):
            if counts.get(text[:-cut], 0) >= _COMMONER * counts[text]:
                texts[index] = text[:-cut]
                break
    return texts


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
