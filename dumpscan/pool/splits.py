"""How an Itanium kernel splits its pool headers: both ways are tried on a sample of pool pages.

9/7/9/7 bits are told of 5.2 and inferred for 6.0; x64 has 8/8/8/8 (facts/ia64.md 4). A page whose chain
holds from end to end under one split hardly ever does under the other.
"""

from __future__ import annotations

import numpy as np

from dumpscan.image.physical import U8, scattered_pages
from dumpscan.kernel.kernel import Kernel
from dumpscan.memory.c_pte import PageState
from dumpscan.pool.chains import ChainWalker
from dumpscan.pool.pagemap import evenly
from dumpscan.pool.ranges import pool_ranges
from dumpscan.records import replace

SPLITS = ("9/7/9/7", "8/8/8/8")


def settle_split(kernel: Kernel) -> Kernel:
    """``kernel`` with the split that more sampled pages are sound under; the first one in doubt."""
    if kernel.layout is None:
        return kernel
    rows = _sample(kernel)
    layouts = [replace(kernel.layout, header_split=split) for split in SPLITS]
    sound = [int(ChainWalker(layout, max(len(rows), 1)).walk(rows).accepted.sum()) for layout in layouts]
    best = int(np.argmax(sound))
    if not any(sound):
        note = f"pool headers: none of {len(rows)} sampled pages is sound, {SPLITS[best]} bits assumed"
    else:
        each = ", ".join(f"{count} as {split}" for split, count in zip(SPLITS, sound, strict=True))
        note = f"pool headers: of {len(rows)} sampled pool pages {each} bits are sound"
    info = replace(kernel.info, notes=(*kernel.info.notes, note))
    return replace(kernel, layout=layouts[best], info=info)


def _sample(kernel: Kernel) -> U8:
    """Pages of every pool range, evenly spread: ``(n, page_size)``; large allocations are among them."""
    found = [np.zeros((0, kernel.page_size), np.uint8)]
    for where in pool_ranges(kernel):
        pages = kernel.memory.pages_in(where.start, where.end)
        pfns = pages.pfn[evenly((pages.state == PageState.VALID) & (pages.pfn >= 0))]
        rows, present = scattered_pages(kernel.memory.physical, pfns)
        found.append(rows[present])
    return np.concatenate(found)
