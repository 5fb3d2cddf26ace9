"""Physical memory over the Xpress blocks of a hibernation file. Source: facts/dump-formats.md 5."""

from __future__ import annotations

from dumpscan.image import c_hibernation as c
from dumpscan.image.packed import PackedMemory
from dumpscan.image.physical import U8
from dumpscan.image.xpress import XpressError, decompress


class HibernationMemory(PackedMemory):
    """Pages in Xpress blocks."""

    def _decompressed(self, number: int, raw: U8, length: int) -> U8 | bytes | None:
        # Stored: 64 KB as they are; a shorter last block that did not shrink likewise.
        if len(raw) in (c.BLOCK_STORED, length):
            return raw[:length]
        try:
            return decompress(raw.tobytes(), length)
        except XpressError:
            return None
