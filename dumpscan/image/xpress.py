"""Xpress, the Plain LZ77 of MS-XCA, as hibernation files of XP to Windows 7 use it.

A stream of 32 flags in a 32-bit word, highest bit first, then what they stand for: a literal byte
(0) or a match (1), a distance of up to 8 KB back and a length of at least 3. Long lengths take a
half-byte; two matches share the byte it lies in. Source: facts/dump-formats.md 5 (MS-XCA, public;
[2S] volatility v2's xpress.py).

With libfwnt (the extra ``hibernation``) a block costs a tenth of a millisecond instead of two to
six. It refuses matches above 32,771 bytes, which MS-XCA allows, so the loop here has the last word.
"""

from __future__ import annotations

from collections.abc import Callable

Decompressor = Callable[[bytes, int], bytes]
"""From a stream and the size of what it stands for to that."""

_LONG = 7
_HALF_BYTE = 15
_BYTE = 255
_SHORTEST = 3


class XpressError(ValueError):
    """A stream that contradicts itself; the text says where in it."""


def decompress(data: bytes, size: int) -> bytes:
    """The ``size`` bytes that ``data`` stands for. :raises XpressError: it does not yield them."""
    native = _native()
    if native is not None:
        try:
            plain = native(data, size)
        except OSError:
            plain = b""  # Damaged, or a match longer than that library knows.
        if len(plain) == size:
            return plain
    return decompress_plainly(data, size)


def decompress_plainly(data: bytes, size: int) -> bytes:
    """As :func:`decompress`, without a library."""
    out = bytearray()
    try:
        at = _run(data, size, out)
    except IndexError:
        raise XpressError(f"ends after {len(out):#x} of {size:#x} bytes") from None
    if len(out) != size:
        raise XpressError(f"yields {len(out):#x} bytes instead of {size:#x} up to {at:#x}")
    return bytes(out)


def _run(data: bytes, size: int, out: bytearray) -> int:
    """Append to ``out`` until it holds ``size`` bytes or the input ends where a match may start.

    The hot loop of a page walk: runs of literals go over in one slice, told by the flags' highest bit.
    """
    at, half, end = 0, -1, len(data)
    while len(out) < size and at < end:
        flags = int.from_bytes(data[at : at + 4], "little")
        at += 4
        left = 32
        while flags:
            literals = left - flags.bit_length()
            if literals:
                out += data[at : at + literals]
                at += literals
            left -= literals + 1
            flags &= (1 << left) - 1
            if at >= end or len(out) >= size:
                return at
            word = data[at] | data[at + 1] << 8
            at += 2
            length = word & 7
            if length == _LONG:
                if half < 0:
                    length, half = data[at] & _HALF_BYTE, data[at] >> 4
                    at += 1
                else:
                    length, half = half, -1
                if length == _HALF_BYTE:
                    length, at = _long_length(data, at)
                else:
                    length += _LONG
            length += _SHORTEST
            start = len(out) - (word >> 3) - 1
            if start < 0 or len(out) + length > size:
                raise XpressError(f"has a match of {length:#x} bytes to {start:#x} at {len(out):#x}")
            if start + length <= len(out):
                out += out[start : start + length]
            else:
                # What is copied overlaps what is written: the pattern repeats.
                pattern = out[start:]
                out += (pattern * (length // len(pattern) + 1))[:length]
        out += data[at : at + min(left, size - len(out))]
        at += left
    return at


def _long_length(data: bytes, at: int) -> tuple[int, int]:
    """A length of 22 and more, less the 3 that every match has, and where the input goes on."""
    length = data[at]
    if length < _BYTE:
        return length + _HALF_BYTE + _LONG, at + 1
    length, step = data[at + 1] | data[at + 2] << 8, 3
    if not length:
        length, step = int.from_bytes(data[at + 3 : at + 7], "little"), 7
    if length < _HALF_BYTE + _LONG:
        raise XpressError(f"has a length of {length} at {at:#x} that should have been written shorter")
    return length, at + step


def has_library() -> bool:
    """Whether libfwnt is installed."""
    return _native() is not None


_found: list[Decompressor | None] = []


def _native() -> Decompressor | None:
    """libfwnt's decompressor, where it is installed; looked for once."""
    if not _found:
        try:
            from pyfwnt import lzxpress_decompress
        except ImportError:
            _found.append(None)
        else:
            _found.append(lzxpress_decompress)
    return _found[0]
