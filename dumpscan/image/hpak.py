"""HBGary HPAK containers: a raw image (and perhaps the page file) behind section headers.

Compressed memory is unpacked into the temporary folder once. Layout: c_hpak.py.
"""

from __future__ import annotations

import numpy as np

from dumpscan.errors import DamagedImage
from dumpscan.image import c_hpak
from dumpscan.image.bitmap import MAX_PAGE
from dumpscan.image.opened import Hints, OpenedImage
from dumpscan.image.raw import flat_memory
from dumpscan.image.segments import Extents, memory_of
from dumpscan.image.source import PAGE, Source
from dumpscan.image.unpacked import unpacked
from dumpscan.model import ImageInfo

# FastDump writes two; a chain can only go forward.
_MAX_SECTIONS = 64


def open_hpak(source: Source) -> OpenedImage:
    """Open a container.

    :raises DamagedImage: no memory in it, or its headers contradict the file.
    :raises UnsupportedImage: compressed, on a server. :raises UnreadableFile: no room to unpack it.
    """
    sections = _sections(source)
    memory = sections.get(c_hpak.MEMORY)
    if memory is None:
        raise DamagedImage(
            f"{source.path.name}: an HPAK container without a memory section; "
            "it is cut off or damaged, copy it again"
        )
    size, at = int(memory["Length"]), int(memory["Offset"])
    if memory["Compressed"]:
        plain = unpacked(source, at, "zlib")
        found = flat_memory(plain.data)
        present = expected = plain.size // PAGE
    else:
        column = (np.array([value], np.uint64) for value in (0, size, at))
        mapped = memory_of(source, Extents(*column), PAGE, "HPAK memory section")
        found, present, expected = mapped.memory, mapped.pages_present, mapped.pages_expected
    if not present or expected > MAX_PAGE:
        raise DamagedImage(
            f"{source.path.name}: the HPAK memory section claims {size:#x} bytes at file offset {at:#x} "
            f"of a file of {source.size:#x}; it is cut off or damaged, copy it again"
        )
    has_page_file = c_hpak.PAGE_FILE in sections
    info = ImageInfo(
        path=str(source.path),
        format="hpak",
        bytes=source.size,
        bytes_expected=None if memory["Compressed"] else at + size,
        pages_present=present,
        pages_expected=expected,
        truncated=present < expected,
        description=f"HPAK container{', compressed' if memory['Compressed'] else ''}",
        notes=("the page file in the container is not read",) if has_page_file else (),
    )
    return OpenedImage(source.path, info, Hints(), found)


def _sections(source: Source) -> dict[bytes, np.void]:
    """The section headers by name, the first of each."""
    found: dict[bytes, np.void] = {}
    at = c_hpak.FIRST_SECTION
    for _ in range(_MAX_SECTIONS):
        if source.take(at, len(c_hpak.MARK)) != c_hpak.MARK or at + c_hpak.SECTION.itemsize > source.size:
            break
        section = source.record(c_hpak.SECTION, at, "an HPAK section header")
        found.setdefault(bytes(section["Header"]), section)
        following = int(section["NextSection"])
        if following <= at:
            break
        at = following
    return found
