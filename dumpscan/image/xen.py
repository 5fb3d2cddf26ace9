"""Xen cores ('xl dump-core'): ELF files with sections for the pages and for the list of their numbers.

Section .xen_pages holds the pages in any order; .xen_pfn (fully virtualised guests, as Windows is)
or .xen_p2m (others) says which is which. Layout: Xen's docs/misc/dump-core-format.txt, and
volatility3 layers/xen.py.
"""

from __future__ import annotations

import numpy as np

from dumpscan.errors import DamagedImage
from dumpscan.image import c_elf
from dumpscan.image.opened import Hints, OpenedImage
from dumpscan.image.segments import Extents, memory_of
from dumpscan.image.source import PAGE, Source
from dumpscan.model import ImageInfo


def open_xen(source: Source, sections: dict[bytes, tuple[int, int]]) -> OpenedImage:
    """Open a core by its ``sections`` (file offset and bytes of each).

    :raises DamagedImage: the list of page numbers is missing, lies, or names a page twice.
    """
    listed = next((name for name in (b".xen_pfn", b".xen_p2m") if name in sections), None)
    if listed is None:
        raise DamagedImage(
            f"{source.path.name}: a Xen core without a list of its pages; dump the domain again"
        )
    at, size = sections[listed]
    entry = c_elf.XEN_PFN if listed == b".xen_pfn" else c_elf.XEN_P2M
    numbers = source.table(entry, at, size // entry.itemsize, f"the Xen section {listed.decode()}")["pfn"]
    first, room = sections[b".xen_pages"]
    # What a section claims may be more than there is; pages beyond the end of the file are absent.
    numbers = numbers[: room // PAGE].astype(np.uint64)
    used = np.flatnonzero(~np.isin(numbers, c_elf.XEN_NO_PAGE))
    address = np.minimum(numbers[used], np.uint64(1 << 51)) * np.uint64(PAGE)
    offset = np.minimum(np.uint64(first), np.uint64(1 << 62)) + used.astype(np.uint64) * np.uint64(PAGE)
    extents = Extents(address, np.full(len(used), PAGE, np.uint64), offset)
    found = memory_of(source, extents, PAGE, "Xen page")
    if not found.pages_present:
        raise DamagedImage(f"{source.path.name}: a Xen core without pages; dump the domain again")
    info = ImageInfo(
        path=str(source.path),
        format="xen",
        bytes=source.size,
        bytes_expected=found.bytes_expected,
        pages_present=found.pages_present,
        pages_expected=found.pages_expected,
        truncated=found.truncated,
        description="Xen core of a domain (xl dump-core)",
        notes=found.notes,
    )
    return OpenedImage(source.path, info, Hints(), found.memory)
