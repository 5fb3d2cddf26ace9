"""AVML images, version 2: ranges of memory as snappy frames, decompressed when a page is asked for.

A Linux tool's format, like LiME (which version 1 is); Windows guests come in it as converted images.
A frame holds 64 KB; its headers are walked once. The traps: a range's last address is inclusive, as
the tool writes it, though descriptions say otherwise; both ends are understood. Layout:
facts/dump-headers.json AVML, microsoft/avml src/image.rs, and snappy's framing_format.txt.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np

from dumpscan.errors import DamagedImage, UnsupportedImage
from dumpscan.image import c_lime
from dumpscan.image.bitmap import MAX_PAGE
from dumpscan.image.opened import Hints, OpenedImage
from dumpscan.image.packed import PackedMemory, Places
from dumpscan.image.physical import I64, U8, run_heads
from dumpscan.image.source import PAGE, Source
from dumpscan.model import ImageInfo

_COMPRESSED, _STORED, _STREAM_ID = 0x00, 0x01, 0xFF
_FIRST_SKIPPABLE = 0x80
_CRC = 4
_LARGEST = 1 << 16
# Frames of 64 KB: 256 GB.
_MAX_FRAMES = 1 << 22
_HEAD, _TRAILER = struct.Struct("<I"), struct.Struct("<Q")


def open_avml(source: Source) -> OpenedImage:
    """Open an image of version 2; every frame's header is visited once.

    :raises UnsupportedImage: another version, frames that hold no whole pages, a remote file, or the
        library for snappy is not installed.
    :raises DamagedImage: blocks or frames contradict each other, or there is no memory.
    """
    if not isinstance(source.data, np.ndarray):
        raise UnsupportedImage(f"{source.path}: an AVML image, which is not read in place; download it first")
    inflate = _snappy(source)
    walk = _Walk(source)
    whole = walk.all()
    places, stored = walk.places()
    memory = AvmlMemory(source.data, places, stored, inflate)
    present = int(places.length.sum())
    if not present:
        raise DamagedImage(
            f"{source.path.name}: an AVML image without memory; it is cut off or damaged, copy it again"
        )
    cut = () if whole else ("the image ends inside a range of memory",)
    info = ImageInfo(
        path=str(source.path),
        format="avml",
        bytes=source.size,
        pages_present=present,
        pages_expected=walk.claimed // PAGE,
        truncated=not whole,
        description="AVML image (snappy)",
        notes=cut,
    )
    return OpenedImage(source.path, info, Hints(), memory)


class AvmlMemory(PackedMemory):
    """Pages in snappy frames."""

    def __init__(self, data: U8, places: Places, stored: I64, inflate: Callable[[Any, Any], int]) -> None:
        super().__init__(data, places)
        self._stored = stored
        self._inflate = inflate

    def _decompressed(self, number: int, raw: U8, length: int) -> U8 | bytearray | None:
        if self._stored[number]:
            return raw
        out = bytearray(length)
        try:
            n = self._inflate(raw.tobytes(), out)
        except Exception:
            # The library has an error of its own that cannot be named without importing it.
            return None
        return out if n == len(out) else None


class _Walk:
    """Headers of blocks and frames, front to back."""

    def __init__(self, source: Source) -> None:
        self.claimed = 0
        self._source = source
        self._view = np.asarray(source.data).data
        self._seen = 0
        # Page frame, pages, file offset, bytes in the file, whether stored: one entry a frame.
        self._frames = [array("q") for _ in range(5)]

    def all(self) -> bool:
        """Whether the last block is whole."""
        at = 0
        while at + c_lime.CHUNK.itemsize <= self._source.size:
            head = self._source.record(c_lime.CHUNK, at, "an AVML block header")
            first, last = int(head["s_addr"]), int(head["e_addr"])
            if int(head["magic"]) != c_lime.AVML_MAGIC:
                raise self._damaged(at, "has no AVML mark")
            if int(head["version"]) != c_lime.AVML_VERSION:
                raise UnsupportedImage(
                    f"{self._source.path.name}: AVML version {int(head['version'])}; version 2 is read"
                )
            if last < first or last > MAX_PAGE * PAGE or first % PAGE:
                raise self._damaged(at, f"claims memory from {first:#x} to {last:#x}")
            self.claimed += -(-(last - first) // PAGE) * PAGE
            following = self._frames_of(at, first, last - first)
            if following is None:
                return False
            at = following
        return True

    def _frames_of(self, block: int, address: int, span: int) -> int | None:
        """The frames of the block at ``block``: the offset behind it, or None where the file ends first.

        ``span`` bytes, or one more: the block ends with the length of its frames in eight bytes.
        """
        start = at = block + c_lime.CHUNK.itemsize
        done = 0
        while at + 8 <= len(self._view):
            enough = done > span or (done == span and _TRAILER.unpack_from(self._view, at)[0] == at - start)
            if enough:
                return at + 8
            word = _HEAD.unpack_from(self._view, at)[0]
            kind, size = word & 0xFF, word >> 8
            if at + 4 + size > len(self._view):
                return None
            self._seen += 1
            if self._seen > _MAX_FRAMES:
                raise self._damaged(block, f"has more than {_MAX_FRAMES} frames before its end")
            if kind in (_COMPRESSED, _STORED):
                done += self._frame(block, at, kind, size, address + done)
            elif kind != _STREAM_ID and kind < _FIRST_SKIPPABLE:
                raise self._damaged(block, f"has an unknown frame {kind:#x} at file offset {at:#x}")
            at += 4 + size
        return None

    def _frame(self, block: int, at: int, kind: int, size: int, address: int) -> int:
        """Note the frame whose header is at ``at``; its bytes of memory."""
        data_at, packed = at + 4 + _CRC, size - _CRC
        plain = packed if kind == _STORED else _varint(self._source.take(data_at, 5))
        if packed < 1 or not 0 < plain <= _LARGEST:
            raise self._damaged(block, f"has a frame of {size} for {plain} bytes at file offset {at:#x}")
        if plain % PAGE:
            raise UnsupportedImage(
                f"{self._source.path.name}: AVML frames that hold no whole pages ({plain} bytes at file "
                f"offset {at:#x}); convert it with 'avml-convert'"
            )
        row = (address // PAGE, plain // PAGE, data_at, packed, int(kind == _STORED))
        for column, value in zip(self._frames, row, strict=True):
            column.append(value)
        return plain

    def places(self) -> tuple[Places, I64]:
        """Where each page is, and which frames are stored as they are."""
        columns = (np.array(column, np.int64) for column in self._frames)
        pfn, pages, offset, size, stored = columns
        order = np.argsort(pfn, kind="stable")
        pfn, pages, offset, size, stored = (each[order] for each in (pfn, pages, offset, size, stored))
        twice = np.flatnonzero(pfn[1:] < pfn[:-1] + pages[:-1])
        if len(twice):
            raise self._damaged(int(offset[twice[0] + 1]), "claims memory that another one has")
        first = np.cumsum(pages) - pages
        start = run_heads(pfn, pages)
        length = np.add.reduceat(pages, start) if len(start) else pages
        return Places(pfn[start], length, first[start], first, pages, offset, size), stored

    def _damaged(self, at: int, what: str) -> DamagedImage:
        return DamagedImage(
            f"{self._source.path.name}: the AVML block at file offset {at:#x} {what}; the image is damaged, "
            "convert it with 'avml-convert' or capture it again"
        )


def _varint(raw: bytes) -> int:
    """Length of the decompressed data, which opens a snappy block: seven bits per byte, low first."""
    value = 0
    for position, byte in enumerate(raw):
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            break
    return value


def _snappy(source: Source) -> Callable[[Any, Any], int]:
    """Decompress into a buffer; returns the bytes written."""
    try:
        from cramjam import snappy
    except ImportError:
        raise UnsupportedImage(
            f"{source.path.name}: an AVML image, whose compression needs a library; install the extra: "
            "pip install 'dumpscan[avml]'"
        ) from None
    inflate: Callable[[Any, Any], int] = snappy.decompress_raw_into
    return inflate
