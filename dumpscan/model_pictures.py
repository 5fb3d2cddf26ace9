"""Records of what only a picture needs: sizes of blocks, and a pool's pages by address.

Part of the result documents, see :mod:`dumpscan.model`.
"""

from __future__ import annotations

from collections.abc import Mapping

from dumpscan.records import field, record


@record
class SizeCount:
    """``count`` allocations of ``size`` bytes (small blocks with their header)."""

    size: int
    count: int


@record
class Histogram:
    """Resident allocations of one tag in one pool by size, ascending."""

    tag: str
    pool: str
    sizes: tuple[SizeCount, ...] = ()


@record
class MapSegment:
    """A stretch of address space without large gaps: one letter for each cell from ``start`` on."""

    start: str
    cells: str


@record
class PoolMap:
    """One pool by address. A cell stands for ``pages_per_cell`` pages and shows what most of them are.

    Letters A, B ... are the ``tags``, the signature's first; ``&`` is several of the signature's tags
    together, ``o`` other tags, ``-`` free blocks only, ``x`` not in the image, ``p`` paged out, ``?``
    in the image but neither small blocks nor a listed large allocation, ``.`` not in use. ``pages``
    counts pages by such a sign. ``omitted`` pages are in segments too small to be listed. A page has
    ``page_size`` bytes.
    """

    pool: str
    pages_per_cell: int
    tags: Mapping[str, str] = field(default_factory=dict)
    pages: Mapping[str, int] = field(default_factory=dict)
    segments: tuple[MapSegment, ...] = ()
    omitted: int = 0
    page_size: int = 4096


@record
class Pictures:
    """``share`` (0..1) of the resident small-block pages was walked for these figures."""

    histograms: tuple[Histogram, ...] = ()
    maps: tuple[PoolMap, ...] = ()
    share: float | None = None
