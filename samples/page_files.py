"""Page files: the bytes of paged-out pool pages, and of everything else that lies between them.

Witness: facts/pte-formats.json (_MMPTE_SOFTWARE: PageFileLow is the file's number, PageFileHigh the page
in it), facts/kernel-location.md section 7. A page file has no header; its first page is never used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .ram import Bytes

MOST: Final = 16  # four bits of number
_ROOM: Final = 4  # pages of a file for each page that holds pool
_TEXT: Final = np.frombuffer(b"another process's page, no pool. ".ljust(64, b"."), dtype=np.uint8)


@dataclass
class PageFiles:
    """All files of a machine; `slot` numbers their pages one file after the other."""

    sizes: list[int]
    data: Bytes
    touched: NDArray[np.bool_]
    page: int
    taken: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def pages(self) -> NDArray[np.uint8]:
        return self.data.reshape(-1, self.page)

    def place(self, slots: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """(number of the file, page in it) of slots."""
        ends = np.cumsum(self.sizes)
        number = np.searchsorted(ends, slots, side="right")
        return number.astype(np.uint64), (slots - (ends - self.sizes)[number]).astype(np.uint64)

    def write(self, image: Path) -> list[Path]:
        """`IMAGE.pagefile0.sys` and so on, beside the image."""
        found = []
        ends = np.cumsum(self.sizes)
        for number, (end, size) in enumerate(zip(ends.tolist(), self.sizes, strict=True)):
            path = image.with_name(f"{image.name}.pagefile{number}.sys")
            path.write_bytes(self.data[(end - size) * self.page : end * self.page].data)
            found.append(path)
        return found


def page_files(count: int, wanted: int, page: int, rng: np.random.Generator) -> PageFiles:
    """`count` files with room for `wanted` pages of pool at random places; a third of the rest is text."""
    share = -(-wanted // count)
    sizes = [max(share * _ROOM, 64) + 1 + 8 * number for number in range(count)]
    total = sum(sizes)
    firsts = np.cumsum([0, *sizes[:-1]])
    free = np.setdiff1d(np.arange(total), firsts)
    # Each file gets its part of the pool, so that none of them is there for nothing.
    parts = []
    for number, (first, size) in enumerate(zip(firsts.tolist(), sizes, strict=True)):
        mine = free[(free >= first) & (free < first + size)]
        parts.append(rng.permutation(mine)[: max(0, min(share, wanted - number * share))])
    taken = np.concatenate(parts)
    files = PageFiles(sizes, np.zeros(total * page, dtype=np.uint8), np.zeros(total, dtype=bool), page, taken)
    others = np.setdiff1d(free, taken)
    text = others[rng.random(len(others)) < 0.34]
    files.pages[text] = np.tile(_TEXT, page // len(_TEXT))
    files.touched[text] = True
    return files
