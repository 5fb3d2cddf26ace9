"""A compressor for Plain LZ77 (Xpress): few Python steps per block, real matches.

Witness: MS-XCA, as in facts/dump-formats.md section 5. Three kinds of repetition are looked for at once,
over the whole block: the same byte pattern at a few small distances, the page before, and any aligned
eight bytes that occurred before. Not what Windows would write, but what a decompressor must take.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

_REACH: Final = 8192
_DISTANCES: Final = (4, 4096)
_LEAST: Final = 5
_LONGEST: Final = 0xFFFF
_WORD: Final = 8

Ints = NDArray[np.int64]


def compress(data: bytes) -> bytes:
    """`data` as a stream of flags, literals and matches."""
    length, distance, jump = _matches(np.frombuffer(data, np.uint8))
    out = _Stream()
    at, size = 0, len(data)
    while at < size:
        start = jump[at]
        if start > at:
            out.literals(data[at:start])
            at = start
        if at < size:
            run = min(length[at], _LONGEST)
            out.match(distance[at], run)
            at += run
    return out.finish()


def _matches(data: NDArray[np.uint8]) -> tuple[list[int], list[int], list[int]]:
    """At each byte: the longest match, its distance, and the next byte at which there is one."""
    size = len(data)
    length, distance = np.zeros(size, np.int64), np.ones(size, np.int64)
    for step in _DISTANCES:
        if step < size:
            same = np.zeros(size, bool)
            same[step:] = data[step:] == data[:-step]
            _keep_longer(length, distance, _run_lengths(same), np.full(size, step, np.int64))
    if size >= 2 * _WORD:
        _keep_longer(length, distance, *_words(data[: size // _WORD * _WORD], size))
    good = length >= _LEAST
    position = np.where(good, np.arange(size), size)
    jump = np.minimum.accumulate(position[::-1])[::-1]
    return length.tolist(), distance.tolist(), jump.tolist()


def _keep_longer(length: Ints, distance: Ints, other: Ints, at: Ints) -> None:
    longer = other > length
    length[longer] = other[longer]
    distance[longer] = at[longer]


def _run_lengths(same: NDArray[np.bool_]) -> Ints:
    """How many true values follow from each place on."""
    size = len(same)
    false = np.where(same, size, np.arange(size))
    return np.minimum.accumulate(false[::-1])[::-1] - np.arange(size)


def _words(data: NDArray[np.uint8], size: int) -> tuple[Ints, Ints]:
    """Matches of aligned eight-byte words with their last occurrence; neighbours in step join."""
    words = data.view("<u8")
    order = np.argsort(words, kind="stable")
    before = np.full(len(words), -1, np.int64)
    twin = words[order[1:]] == words[order[:-1]]
    before[order[1:][twin]] = order[:-1][twin]
    back = (np.arange(len(words)) - before) * _WORD
    known = (before >= 0) & (back <= _REACH)
    carries_on = np.zeros(len(words), bool)
    carries_on[:-1] = known[:-1] & known[1:] & (back[:-1] == back[1:])
    runs = np.where(known, (_run_lengths(carries_on) + 1) * _WORD, 0)
    length, distance = np.zeros(size, np.int64), np.ones(size, np.int64)
    length[: len(data) : _WORD] = runs
    distance[: len(data) : _WORD] = back
    return length, distance


class _Stream:
    """Output with a flag word before every 32 things, and half-bytes shared by two lengths."""

    def __init__(self) -> None:
        self.out = bytearray(4)
        self.flags = self.used = self.word_at = 0
        self.half_at: int | None = None

    def _room(self) -> int:
        if self.used == 32:
            struct.pack_into("<I", self.out, self.word_at, self.flags)
            self.word_at = len(self.out)
            self.out += bytes(4)
            self.flags = self.used = 0
        return 32 - self.used

    def literals(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            count = min(self._room(), len(data) - at)
            self.out += data[at : at + count]
            self.flags <<= count
            self.used += count
            at += count

    def match(self, distance: int, length: int) -> None:
        self._room()
        self.flags = self.flags << 1 | 1
        self.used += 1
        rest = length - 3
        self.out += struct.pack("<H", (distance - 1) << 3 | min(rest, 7))
        if rest < 7:
            return
        half = min(rest - 7, 15)
        if self.half_at is None:
            self.half_at = len(self.out)
            self.out.append(half)
        else:
            self.out[self.half_at] |= half << 4
            self.half_at = None
        if half == 15:
            self.out += bytes([rest - 22]) if rest - 22 < 255 else b"\xff" + struct.pack("<H", rest)

    def finish(self) -> bytes:
        """The stream ends where a match would begin: the flags left over are set."""
        left = self._room()
        self.flags = self.flags << left | (1 << left) - 1
        struct.pack_into("<I", self.out, self.word_at, self.flags)
        return bytes(self.out)
