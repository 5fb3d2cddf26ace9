"""Physical memory over the Xpress blocks of a hibernation file. Source: facts/dump-formats.md 5."""

from __future__ import annotations

import numpy as np

from dumpscan.image import c_hibernation as c
from dumpscan.image.packed import PackedMemory
from dumpscan.image.physical import U8
from dumpscan.image.xpress import XpressError, decompress


class HibernationMemory(PackedMemory):
    """Pages in Xpress blocks."""

    def _decompressed(self, number: int) -> U8 | None:
        places = self._places
        at, size, pages = (int(x[number]) for x in (places.offset, places.size, places.pages))
        raw = self._data[at : at + size]
        length = pages * c.PAGE
        # Stored: 64 KB as they are; a shorter last block that did not shrink likewise.
        if size == c.BLOCK_STORED or size == length:
            return raw[:length].reshape(pages, c.PAGE)
        try:
            plain = decompress(raw.tobytes(), length)
        except XpressError:
            return None
        return np.frombuffer(plain, np.uint8).reshape(pages, c.PAGE)
