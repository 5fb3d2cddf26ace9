"""The kernel's debugger block by where the processor was: in the kernel, when it saved its own state.

From an instruction pointer down to the head of the image that it lies in, then through the image's
writable sections. Spares a scan of all memory where pages are dear, as in a hibernation file.
Witness: facts/kernel-location.md 1 (way 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

from dumpscan.kernel import kdbg
from dumpscan.kernel.kdbg import Kdbg
from dumpscan.kernel.peimage import PeHeaders, read_headers
from dumpscan.memory.virtual import PAGE, PagedMemory

_LARGEST_IMAGE = 32 << 20
_LARGEST_SECTION = 4 << 20
_STEP = 256 << 10
"""Bytes per step down from an address to the head of its image."""
_MOST_HEADS = 64
_MOST_HITS = 64
"""Bounds of a hostile image full of look-alikes. A kernel holds one block."""


def block_around(
    memory: PagedMemory, code: int, check: Callable[[PagedMemory, int], Kdbg | None]
) -> Kdbg | None:
    """The first block that passes ``check`` (address space, address) in the image around ``code``."""
    headers = _image_around(memory, code & memory.paging.va_mask)
    for section in headers.sections if headers else ():
        if not section.writable or not section.size:
            continue
        # XP and 2003 kernels align their sections to 0x80 bytes.
        first = section.va // PAGE * PAGE
        size = -(-(section.va + min(section.size, _LARGEST_SECTION) - first) // PAGE) * PAGE
        data, _ = memory.read_masked(first, size)
        pages = (first >> 12) + np.arange(size // PAGE, dtype=np.int64)
        for va in islice(kdbg.find_in(data.reshape(-1, PAGE), pages), _MOST_HITS):
            block = check(memory, va)
            if block:
                return block
    return None


def _image_around(memory: PagedMemory, code: int) -> PeHeaders | None:
    """Headers of the nearest PE image below ``code`` that reaches so far."""
    for base in islice(_heads_below(memory, code), _MOST_HEADS):
        headers = read_headers(memory, base)
        if headers and base + headers.size_of_image > code:
            return headers
    return None


def _heads_below(memory: PagedMemory, code: int) -> Iterator[int]:
    """Pages at and below ``code`` that begin with MZ, downwards."""
    lowest = max(code - _LARGEST_IMAGE, memory.paging.kernel_start) // PAGE * PAGE
    top = code // PAGE * PAGE + PAGE
    while top > lowest:
        start = max(top - _STEP, lowest)
        data, _ = memory.read_masked(start, top - start)
        heads = data.reshape(-1, PAGE)[:, :2]
        for row in np.flatnonzero((heads[:, 0] == ord("M")) & (heads[:, 1] == ord("Z")))[::-1]:
            yield start + int(row) * PAGE
        top = start
