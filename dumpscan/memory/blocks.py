"""Memory that a file carries in stretches by virtual address, without page tables (small dumps).

What no stretch holds is absent. Where stretches overlap, what begins later hides what began before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from dumpscan.errors import AbsentMemory
from dumpscan.image.opened import DataBlocks
from dumpscan.image.physical import U8, Mask


class Readable(Protocol):
    """The least that an address space offers: bytes by virtual address."""

    def read(self, va: int, n: int) -> bytes:
        """``n`` bytes at ``va``. :raises AbsentMemory: not all of them are in the image."""
        ...

    def read_masked(self, va: int, n: int) -> tuple[U8, Mask]:
        """``n`` bytes and a mask, byte by byte, of those known; unknown bytes are zero."""
        ...


class BlockMemory:
    """:class:`Readable` over the data blocks of a file."""

    def __init__(self, blocks: DataBlocks) -> None:
        self._blocks = blocks

    def read(self, va: int, n: int) -> bytes:
        """See :class:`Readable`."""
        data, known = self.read_masked(va, n)
        if not bool(known.all()):
            raise AbsentMemory(va + int(np.argmin(known)), n, why="in none of the dump's data blocks")
        return data.tobytes()

    def read_masked(self, va: int, n: int) -> tuple[U8, Mask]:
        """See :class:`Readable`."""
        data, known = np.zeros(n, np.uint8), np.zeros(n, bool)
        for at, offset, size in self._pieces(va, n):
            data[at : at + size] = self._blocks.data[offset : offset + size]
            known[at : at + size] = True
        return data, known

    def _pieces(self, va: int, n: int) -> Iterator[tuple[int, int, int]]:
        """(place in the answer, file offset, bytes) of every stretch that overlaps ``[va, va + n)``."""
        blocks = self._blocks
        first = int(np.searchsorted(blocks.va, np.uint64(va), "right")) - 1
        last = int(np.searchsorted(blocks.va, np.uint64(min(va + n, 2**64 - 1))))
        for k in range(max(first, 0), last):
            start, size = int(blocks.va[k]), int(blocks.size[k])
            begin, end = max(start, va), min(start + size, va + n)
            if begin < end:
                yield begin - va, int(blocks.offset[k]) + begin - start, end - begin
