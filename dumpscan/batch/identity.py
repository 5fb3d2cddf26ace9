"""Who a file is, cheaply: a hash over its size, both ends and blocks spread over it.

Two copies of a dump have the same content id, however large they are; 32 reads decide. Files that
differ only between the blocks looked at would be taken for the same, so nothing is left out of the
analysis because of it: the id is for people and for finding duplicates.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

_ENDS = 1 << 16
_BLOCK = 1 << 12
_SAMPLES = 30
_WHOLE = 2 * _ENDS + _SAMPLES * _BLOCK


class Readable(Protocol):
    """What :class:`dumpscan.image.source.Source` offers."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    def take(self, offset: int, n: int) -> bytes:
        """Up to ``n`` bytes."""


def content_id(source: Readable) -> str:
    """``s1:`` and 32 hexadecimal digits. Small files are hashed whole.

    The hash (BLAKE2b, 16 bytes) is over the size as 8 little-endian bytes, then the blocks in order
    of their offset: 64 KB at each end, and between them 30 blocks of 4 KB at equal distances.
    """
    digest = hashlib.blake2b(source.size.to_bytes(8, "little"), digest_size=16)
    if source.size <= _WHOLE:
        digest.update(source.take(0, source.size))
        return f"s1:{digest.hexdigest()}"
    digest.update(source.take(0, _ENDS))
    step = (source.size - 2 * _ENDS) // _SAMPLES
    for index in range(_SAMPLES):
        digest.update(source.take(_ENDS + index * step, _BLOCK))
    digest.update(source.take(source.size - _ENDS, _ENDS))
    return f"s1:{digest.hexdigest()}"
