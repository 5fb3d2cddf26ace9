"""Page records of a savevm stream: an index in runs, built with array steps where records repeat.

A record is a big-endian word (address in its RAM block | flags), the block's name unless it is the same
as before, and 4096 bytes or one fill byte. A record tells where the next one begins, so records are
followed one by one, but where the same kind repeats its distance is fixed, and thousands are checked
at once. Nothing is allocated by what the stream claims; only by the records that it has.
"""

from __future__ import annotations

import struct
from array import array

import numpy as np

from dumpscan.errors import DamagedImage, UnsupportedImage
from dumpscan.image import c_qemu
from dumpscan.image.bitmap import MAX_PAGE
from dumpscan.image.physical import I64, U8, U64
from dumpscan.image.source import PAGE
from dumpscan.image.strided import STORED, StridedRuns

STRIDE = PAGE + 8
# So many of one kind in a row before arrays are worth it; and how many records a step looks at.
_PATIENCE = 48
_LEAST, _MOST = 256, 1 << 15
# 32 bytes each. A 512 MB guest in shreds has 2**17, one of 64 GB in pieces of four pages has so many.
_MAX_RUNS = 1 << 22
_MAX_BLOCKS = 1 << 12

_WORD = struct.Struct(">Q")
_MORE = (c_qemu.STORED | c_qemu.SAME_BLOCK, c_qemu.ZERO | c_qemu.SAME_BLOCK)


class CutOff(Exception):
    """The stream ends inside a record or section."""


class Records:
    """Collects the runs of the guest's RAM; ``size`` bytes of it are in the list of blocks.

    ``base`` gives the place of each block in RAM in bytes; blocks that are no RAM are not in it.
    """

    def __init__(self, data: U8, name: str) -> None:
        self.blocks: dict[bytes, int] = {}
        self.base: dict[bytes, int] = {}
        self._data = data
        self._view = data.data
        self._name = name
        self._runs = [array("q") for _ in range(4)]
        self._bytes = self._first = 0
        # Page frame, file offset and fill byte that make the next record more of the last run.
        self._next = (-1, 0, 0)

    def runs(self) -> StridedRuns:
        """What was collected, in stored order; page frames count from the start of RAM."""
        return StridedRuns(*(np.asarray(column, np.int64) for column in self._runs))

    def read(self, at: int) -> int:
        """Follow records from file offset ``at`` to the end mark; the offset behind it.

        :raises CutOff: the stream ends before. :raises DamagedImage, UnsupportedImage: unknown flags.
        """
        kind, alike = 0, 0
        # Short runs are followed record by record: this loop is where opening a stream spends its time.
        view, end, unpack = self._view, len(self._view), _WORD.unpack_from
        while True:
            if at + 8 > end:
                raise CutOff
            word = unpack(view, at)[0]
            flags = word & c_qemu.FLAG_BITS
            alike = alike + 1 if flags == kind else 0
            kind = flags
            if flags in _MORE:
                if alike >= _PATIENCE:
                    at, alike = self._many(at, flags), 0
                else:
                    at = self._one(at, at + 8, word)
            elif flags in (c_qemu.STORED, c_qemu.ZERO):
                block, data_at = self.text(at + 8)
                self._enter(block)
                at = self._one(at, data_at, word)
            elif flags == c_qemu.END:
                return at + 8
            elif flags == c_qemu.SIZES:
                at = self._sizes(at + 8, word & ~c_qemu.FLAG_BITS)
            else:
                raise self._refused(at, flags)

    def number(self, at: int) -> int:
        """The u64 at ``at``. :raises CutOff: the file ends before."""
        if at + 8 > len(self._view):
            raise CutOff
        return int(_WORD.unpack_from(self._view, at)[0])

    def text(self, at: int) -> tuple[bytes, int]:
        """A name behind its length byte, and the offset behind it."""
        if at >= len(self._view) or at + 1 + self._view[at] > len(self._view):
            raise CutOff
        end = at + 1 + self._view[at]
        return self._view[at + 1 : end].tobytes(), end

    def _sizes(self, at: int, total: int) -> int:
        """The list of blocks: it ends when their sizes add up to ``total``."""
        while total > 0 and len(self.blocks) < _MAX_BLOCKS:
            block, size_at = self.text(at)
            size = self.number(size_at)
            if not block or size > total or not size or block in self.blocks:
                raise DamagedImage(
                    f"{self._name}: the list of RAM blocks holds {size:#x} bytes of {block!r} at file offset "
                    f"{at:#x}; the stream is damaged, or of a kind that is not read; save the machine again"
                )
            self.blocks[block] = size
            total -= size
            at = size_at + 8
        self._place()
        return at

    def _place(self) -> None:
        """RAM blocks one after the other: the only one, or one per node in the order of the nodes."""
        found = {block: c_qemu.RAM_BLOCK.fullmatch(block) for block in self.blocks}
        ram = sorted((int(match[1] or -1), block) for block, match in found.items() if match)
        at = 0
        for _, block in ram:
            self.base[block] = at
            at += self.blocks[block]
        if at > MAX_PAGE * PAGE or any(offset % PAGE for offset in (at, *self.base.values())):
            raise DamagedImage(
                f"{self._name}: the stream claims {at:#x} bytes of RAM, which no machine has; "
                "it is damaged, copy it again"
            )

    @property
    def size(self) -> int:
        """Bytes of the guest's RAM."""
        return sum(self.blocks[block] for block in self.base)

    def _enter(self, block: bytes) -> None:
        """The block that the next records are of; one that is no RAM has no bytes here."""
        self._bytes = self.blocks[block] if block in self.base else 0
        self._first = self.base.get(block, 0) // PAGE

    def _one(self, at: int, data_at: int, word: int) -> int:
        """The record at ``at`` whose content is at ``data_at``; the offset behind it."""
        is_stored = word & c_qemu.STORED
        end = data_at + (PAGE if is_stored else 1)
        if end > len(self._view):
            raise CutOff
        if self._bytes:
            address = word & ~c_qemu.FLAG_BITS
            self._check(at, address)
            fill = STORED if is_stored else self._view[data_at]
            self._add(self._first + (address >> 12), 1, data_at, fill)
        return end

    def _check(self, at: int, highest: int) -> None:
        if highest >= self._bytes:
            raise DamagedImage(
                f"{self._name}: a page record near file offset {at:#x} lies outside its RAM block of "
                f"{self._bytes:#x} bytes; the stream is damaged, copy it again"
            )

    def _add(self, pfn: int, count: int, offset: int, fill: int) -> None:
        """One more run, or more of the last one."""
        expected_pfn, expected_offset, expected_fill = self._next
        self._next = (pfn + count, offset + count * STRIDE, fill)
        if pfn == expected_pfn and fill == expected_fill and (fill != STORED or offset == expected_offset):
            self._runs[1][-1] += count
            return
        self._room(1, offset)
        for column, value in zip(self._runs, (pfn, count, offset, fill), strict=True):
            column.append(value)

    def _room(self, more: int, offset: int) -> None:
        if len(self._runs[0]) + more > _MAX_RUNS:
            raise DamagedImage(
                f"{self._name}: the pages before file offset {offset:#x} are in more than {_MAX_RUNS} "
                "pieces; save the machine again, paused"
            )

    def _many(self, at: int, flags: int) -> int:
        """All whole records of this kind from ``at`` on; the offset of the first other one."""
        stride = STRIDE if flags & c_qemu.STORED else 9
        step = _LEAST
        while True:
            room = min(step, (len(self._data) - at) // stride)
            if not room:
                return at
            rows = np.lib.stride_tricks.as_strided(self._data[at:], (room, 9), (stride, 1), writeable=False)
            words = np.ascontiguousarray(rows[:, :8]).view(">u8")[:, 0].astype(np.uint64)
            other = np.flatnonzero((words & np.uint64(c_qemu.FLAG_BITS)) != flags)
            n = int(other[0]) if len(other) else room
            if n and self._bytes:
                self._keep(at, words[:n], rows[:n, 8], stride)
            at += n * stride
            if n < step:
                return at
            step = min(2 * step, _MOST)

    def _keep(self, at: int, words: U64, byte: U8, stride: int) -> None:
        """Records of one kind from ``at`` on as runs; ``byte`` is the ninth byte of each."""
        self._check(at, int(words.max()) & ~c_qemu.FLAG_BITS)
        pfn: I64 = (words >> np.uint64(12)).astype(np.int64) + self._first
        offset = at + 8 + stride * np.arange(len(pfn))
        fill = np.full(len(pfn), STORED) if stride == STRIDE else byte.astype(np.int64)
        fresh = np.ones(len(pfn), np.bool_)
        fresh[1:] = (pfn[1:] != pfn[:-1] + 1) | (fill[1:] != fill[:-1])
        first = np.flatnonzero(fresh)
        count = np.append(first[1:], len(pfn)) - first
        columns = (pfn[first], count, offset[first], fill[first])
        # The first run may be more of the last one; the others are not.
        self._add(*(int(column[0]) for column in columns))
        if len(first) > 1:
            self._room(len(first) - 1, at)
            for column, values in zip(self._runs, columns, strict=True):
                column.frombytes(values[1:].astype(np.int64).tobytes())
            last = [int(column[-1]) for column in columns]
            self._next = (last[0] + last[1], last[2] + last[1] * STRIDE, last[3])

    def _refused(self, at: int, flags: int) -> Exception:
        for flag, what in c_qemu.REFUSED_FLAGS.items():
            if flags & flag:
                return UnsupportedImage(
                    f"{self._name}: a QEMU stream with {what} at file offset {at:#x}; save the machine again "
                    "without that, or use 'dump-guest-memory'"
                )
        return DamagedImage(
            f"{self._name}: a page record with unknown flags {flags:#x} at file offset {at:#x}; the stream "
            "is damaged, copy it again"
        )
