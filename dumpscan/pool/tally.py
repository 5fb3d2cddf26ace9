"""Counts equal 64-bit keys in a stream of arrays, fast and in bounded memory.

Keys go to slots of a small table by a multiplicative hash; a whole batch is counted by one gather,
one comparison and one bincount. Keys whose slot another key holds are counted by sorting; they are
few, because pools hold thousands of different (tag, type, size) and not millions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dumpscan.image.physical import I64, U64

_BITS = 15
_SPREAD = np.uint64(0x9E37_79B9_7F4A_7C15)
_SHIFT = np.uint64(64 - _BITS)
_MERGE_AT = 1 << 18


class Tally:
    """Counts keys. Key 2**64 - 1 cannot be counted (it marks free slots)."""

    def __init__(self) -> None:
        self._keys = np.full(1 << _BITS, ~np.uint64(0), np.uint64)
        self._counts = np.zeros(1 << _BITS, np.int64)
        self._others: list[tuple[U64, I64]] = []
        self._pending = 0

    def add(self, keys: U64) -> None:
        """Count every element of ``keys``."""
        slots = ((keys * _SPREAD) >> _SHIFT).astype(np.intp)
        fits = self._keys.take(slots) == keys
        if not bool(fits.all()):
            keys, slots, fits = self._claim(keys, slots, fits)
        self._counts += np.bincount(slots[fits] if len(fits) else slots, minlength=len(self._counts))

    def _claim(
        self, keys: U64, slots: NDArray[np.intp], fits: NDArray[np.bool_]
    ) -> tuple[U64, NDArray[np.intp], NDArray[np.bool_]]:
        """Give free slots to new keys; count those that find theirs taken by sorting."""
        free = ~fits & (self._keys.take(slots) == ~np.uint64(0))
        self._keys[slots[free]] = keys[free]
        fits = self._keys.take(slots) == keys
        rest = keys[~fits]
        if len(rest):
            unique, counts = np.unique(rest, return_counts=True)
            self._others.append((unique, counts))
            self._pending += len(unique)
            if self._pending > _MERGE_AT:
                self._others = [self._merged(self._others)]
                self._pending = len(self._others[0][0]) // 2
        return keys, slots, fits

    def result(self) -> tuple[U64, I64]:
        """Different keys, ascending, and their counts."""
        used = self._counts > 0
        return self._merged([*self._others, (self._keys[used], self._counts[used])])

    @staticmethod
    def _merged(parts: list[tuple[U64, I64]]) -> tuple[U64, I64]:
        keys, inverse = np.unique(np.concatenate([k for k, _ in parts]), return_inverse=True)
        counts = np.zeros(len(keys), np.int64)
        np.add.at(counts, inverse, np.concatenate([c for _, c in parts]))
        return keys, counts
