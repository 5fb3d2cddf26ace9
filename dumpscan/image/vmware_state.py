"""The groups and tags of a VMware state file: a map of memory regions, inline memory, CR3.

Every walk is bounded by the file: tags move forward by at least two bytes, and counts are checked
before anything is allocated for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dumpscan.errors import DamagedImage
from dumpscan.image import c_vmware
from dumpscan.image.source import Source

_MAX_GROUPS = 4096
_MAX_TAGS = 1 << 16
_MAX_REGIONS = 1 << 12


class Tag(NamedTuple):
    """A named value: its file offset and its bytes on disk and in memory (they differ if packed)."""

    name: bytes
    indices: tuple[int, ...]
    at: int
    size: int
    full_size: int


class Region(NamedTuple):
    """``pages`` guest pages from ``ppn`` on lie in the memory file from page ``page_num`` on."""

    ppn: int
    page_num: int
    pages: int


class State(NamedTuple):
    """What dumpscan uses of a state file.

    ``inline`` is (file offset, bytes) of memory in it; ``packed``: there is some, compressed.
    """

    regions: tuple[Region, ...]
    inline: tuple[int, int] | None
    packed: bool
    cr3: tuple[int, ...]
    cr4: int | None


def is_state(source: Source) -> bool:
    """Whether the file begins with one of the four magics."""
    return int.from_bytes(source.take(0, 4), "little") in c_vmware.MAGICS


def read_state(source: Source) -> State:
    """Parse a state file. :raises DamagedImage: counts or offsets contradict the file."""
    groups = _groups(source)
    numbers: dict[tuple[bytes, tuple[int, ...]], int] = {}
    inline, packed = None, False
    for tag in _tags(source, groups.get(b"memory")):
        if tag.name == b"Memory" and tag.size > 8:
            packed = tag.size != tag.full_size
            inline = None if packed else (tag.at, tag.size)
        elif tag.size <= 8:
            numbers[tag.name, tag.indices] = int.from_bytes(source.take(tag.at, tag.size), "little")
    cr = {
        tag.indices: int.from_bytes(source.take(tag.at, tag.size), "little")
        for tag in _tags(source, groups.get(b"cpu"))
        if tag.name in (b"CR", b"CR64") and len(tag.indices) == 2 and tag.size <= 8
    }
    cr3 = tuple(value for (_, number), value in sorted(cr.items()) if number == 3 and value)
    return State(_regions(source, numbers), inline, packed, cr3, cr.get((0, 4)))


def _groups(source: Source) -> dict[bytes, int]:
    head = source.record(c_vmware.HEADER, 0, "the VMware state header")
    count = int(head["GroupCount"])
    if count > _MAX_GROUPS:
        raise DamagedImage(
            f"{source.path.name}: the VMware state header claims {count:#x} groups (file offset 0x8); "
            "the file is damaged, copy it again"
        )
    table = source.table(c_vmware.GROUP, c_vmware.HEADER.itemsize, count, "the VMware group table")
    return {bytes(group["Name"]): int(group["Offset"]) for group in table}


def _tags(source: Source, start: int | None) -> Iterator[Tag]:
    """Tags of the group at ``start``, up to its end mark."""
    at = start
    for _ in range(_MAX_TAGS):
        if at is None:
            return
        head = source.take(at, 2)
        if len(head) < 2:
            raise DamagedImage(
                f"{source.path.name}: a VMware tag at file offset {at:#x} lies beyond the end of the file "
                f"({source.size:#x}); the file is damaged or cut off, copy it again"
            )
        if head == b"\0\0":
            return
        tag = _tag(source, at, flags=head[0], name_size=head[1])
        yield tag
        at = tag.at + tag.size
    raise DamagedImage(f"{source.path.name}: the VMware group at file offset {start:#x} has no end")


def _tag(source: Source, at: int, flags: int, name_size: int) -> Tag:
    name = source.take(at + 2, name_size)
    at += 2 + name_size
    count = (flags >> 6) & 3
    indices = tuple(_u(source, at + 4 * i, 4) for i in range(count))
    at += 4 * count
    size = flags & 0x3F
    if size not in c_vmware.LONG_VALUES:
        return Tag(name, indices, at, size, size)
    # Storage version 0 is in the low four bits of the magic.
    width = 4 if source.take(0, 1)[0] & 0xF == 0 else 8
    on_disk, in_memory = _u(source, at, width), _u(source, at + width, width)
    padding = _u(source, at + 2 * width, 2)
    return Tag(name, indices, at + 2 * width + 2 + padding, on_disk, in_memory)


def _u(source: Source, at: int, width: int) -> int:
    return int.from_bytes(source.take(at, width), "little")


def _regions(source: Source, numbers: dict[tuple[bytes, tuple[int, ...]], int]) -> tuple[Region, ...]:
    count = numbers.get((b"regionsCount", ()), 0)
    if count > _MAX_REGIONS:
        raise DamagedImage(
            f"{source.path.name}: the VMware state claims {count:#x} memory regions; "
            "it is damaged, copy it again"
        )
    regions = []
    for index in range(count):
        keys = [(name, (index,)) for name in (b"regionPPN", b"regionPageNum", b"regionSize")]
        if not all(key in numbers for key in keys):
            raise DamagedImage(
                f"{source.path.name}: the VMware state names {count} memory regions, but region {index} is "
                "missing; the file is damaged, copy it again"
            )
        regions.append(Region(*(numbers[key] for key in keys)))
    return tuple(regions)
