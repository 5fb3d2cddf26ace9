"""Walk an AVML image before volatility3 does: its reader (2.28) never returns from a cut-off one.

volatility3 decodes frames until it has more bytes than ``end - start``; when the frames run out
before that, it loops. The walk follows the frame headers only, with the same arithmetic.
Layout: facts/dump-headers.json AVML; microsoft/avml src/image.rs; the snappy framing format.
"""

from __future__ import annotations

from dumpscan.errors import DamagedImage, UnsupportedImage
from dumpscan.image import c_lime
from dumpscan.image.source import Source

_COMPRESSED, _STORED, _STREAM_ID = 0x00, 0x01, 0xFF
_FIRST_SKIPPABLE = 0x80
_CRC = 4


def check_avml(source: Source) -> None:
    """:raises DamagedImage: frames end early. :raises UnsupportedImage: another version than 2."""
    at = 0
    while at + 4 < source.size - 1:
        head = source.record(c_lime.CHUNK, at, "an AVML block header")
        if int(head["magic"]) != c_lime.AVML_MAGIC:
            raise _damaged(source, at, "has no AVML mark")
        if int(head["version"]) != c_lime.AVML_VERSION:
            raise UnsupportedImage(
                f"{source.path.name}: AVML version {int(head['version'])}; version 2 is read"
            )
        wanted = int(head["e_addr"]) - int(head["s_addr"])
        if wanted < 0:
            raise _damaged(source, at, "ends before it starts")
        at = _after_frames(source, at, wanted) + 8


def _after_frames(source: Source, block: int, wanted: int) -> int:
    """File offset behind the frames of the block at ``block``."""
    at = block + c_lime.CHUNK.itemsize
    end = min(at + wanted, source.size - 1)
    decoded = 0
    while decoded <= wanted:
        if at + 4 >= end:
            raise _damaged(source, block, f"holds {decoded:#x} of {wanted + 1:#x} bytes")
        kind, size = source.take(at, 1)[0], int.from_bytes(source.take(at + 1, 3), "little")
        if kind == _COMPRESSED:
            decoded += _varint(source.take(at + 4 + _CRC, 5))
        elif kind == _STORED:
            decoded += max(size - _CRC, 0)
        elif kind != _STREAM_ID and kind < _FIRST_SKIPPABLE:
            raise _damaged(source, block, f"has an unknown frame {kind:#x} at file offset {at:#x}")
        at += 4 + size
    return at


def _varint(raw: bytes) -> int:
    """Length of the decompressed data, which opens a snappy block: seven bits per byte, low first."""
    value = 0
    for position, byte in enumerate(raw):
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            break
    return value


def _damaged(source: Source, at: int, what: str) -> DamagedImage:
    return DamagedImage(
        f"{source.path.name}: the AVML block at file offset {at:#x} {what}; the image is cut off or damaged, "
        "convert it with 'avml-convert' or capture it again"
    )
