"""LiME images: chunks of physical memory, each behind its own header, one after the other.

A Linux tool's format; Windows guests come in it as converted images. The trap: the last address is
inclusive, and chunks of PC memory begin and end inside pages. Source: facts/dump-formats.md 9.
"""

from __future__ import annotations

import numpy as np

from dumpscan.errors import DamagedImage, UnsupportedImage
from dumpscan.image import c_lime
from dumpscan.image.bitmap import MAX_PAGE
from dumpscan.image.opened import Hints, OpenedImage
from dumpscan.image.segments import Extents, memory_of
from dumpscan.image.source import Source
from dumpscan.model import ImageInfo

# A chunk is a range of RAM of the memory map: a machine has tens. Bounds the walk of a crafted file.
_MAX_CHUNKS = 1 << 16


def open_lime(source: Source) -> OpenedImage:
    """Open a LiME image.

    :raises UnsupportedImage: another version than 1. :raises DamagedImage: a chunk header is wrong.
    """
    chunks, rest = _chunks(source)
    extents = Extents(*(np.array(column, np.uint64) for column in zip(*chunks, strict=True)))
    found = memory_of(source, extents, 4096, "LiME chunk")
    info = ImageInfo(
        path=str(source.path),
        format="lime",
        bytes=source.size,
        bytes_expected=found.bytes_expected,
        pages_present=found.pages_present,
        pages_expected=found.pages_expected,
        truncated=found.bytes_expected > source.size,
        description=f"LiME image with {len(chunks)} memory range{'s' if len(chunks) > 1 else ''}",
        notes=found.notes + ((f"{rest} bytes behind the last chunk are ignored",) if rest else ()),
    )
    return OpenedImage(source.path, info, Hints(), found.memory)


def _chunks(source: Source) -> tuple[list[tuple[int, int, int]], int]:
    """(physical address, bytes, file offset) of every chunk, and the bytes of padding behind them."""
    chunks: list[tuple[int, int, int]] = []
    at = 0
    while at + c_lime.CHUNK.itemsize <= source.size:
        head = source.record(c_lime.CHUNK, at, "a LiME chunk header")
        if chunks and not any(source.take(at, c_lime.CHUNK.itemsize)):
            break
        first, last = int(head["s_addr"]), int(head["e_addr"])
        if int(head["magic"]) != c_lime.LIME_MAGIC:
            raise _damaged(source, at, f"holds {int(head['magic']):#x} instead of the mark EMiL")
        if int(head["version"]) != c_lime.LIME_VERSION:
            raise UnsupportedImage(
                f"{source.path.name}: LiME version {int(head['version'])}; dumpscan reads version 1"
            )
        if last < first:
            raise _damaged(source, at, f"ends at {last:#x} before it starts at {first:#x}")
        if last >= MAX_PAGE * 4096:
            raise _damaged(source, at, f"ends at {last:#x}, beyond any machine's memory")
        if len(chunks) == _MAX_CHUNKS:
            raise _damaged(source, at, f"is chunk number {_MAX_CHUNKS + 1}; no machine has so many ranges")
        chunks.append((first, last - first + 1, at + c_lime.CHUNK.itemsize))
        at += c_lime.CHUNK.itemsize + last - first + 1
    if not chunks:
        raise _damaged(source, 0, "is cut off")
    return chunks, max(source.size - at, 0)


def _damaged(source: Source, at: int, what: str) -> DamagedImage:
    return DamagedImage(
        f"{source.path.name}: the LiME chunk at file offset {at:#x} {what}; "
        "the image is damaged, copy it again"
    )
