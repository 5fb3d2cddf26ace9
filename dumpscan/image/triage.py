"""Small (triage) dumps: no memory, but the drivers, those unloaded, and perhaps the pool figures.

Written by every Windows; 64 KB on 32-bit systems. Every offset in it is a file offset and checked
against the file; a count that the file cannot hold is cut to what it can, and said so.
Source: facts/dump-formats.md 1, type 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dumpscan.errors import DamagedImage
from dumpscan.image import c_crash, c_triage
from dumpscan.image.crash_header import CrashHeader, header_hints
from dumpscan.image.layout import Layout
from dumpscan.image.opened import OpenedImage, Triage
from dumpscan.image.source import Source
from dumpscan.model import ImageInfo, Module
from dumpscan.records import replace

# Windows keeps 50 unloaded drivers and loads a few hundred; these bound the work of a lying count.
_MAX_DRIVERS = 4096
_MAX_UNLOADED = 1024
_MAX_NAME = 512


def open_triage(header: CrashHeader, notes: list[str]) -> OpenedImage:
    """Open a dump of type 4. ``memory`` is None.

    :raises DamagedImage: the file ends inside the triage block.
    """
    source = header.source
    kind = c_triage.TRIAGE_DUMP64 if header.wide else c_triage.TRIAGE_DUMP32
    block = source.record(kind, header.size, "the small-dump block")
    valid_at = int(block["ValidOffset"])
    complete = source.take(valid_at, 4) == c_triage.END_MARK
    if not complete:
        notes.append(f"the end mark at file offset {valid_at:#x} is missing; the dump is cut off or damaged")
    declared = int(block["SizeOfDump"])
    info = ImageInfo(
        path=str(source.path),
        format=f"triage{header.bits}",
        bytes=source.size,
        bytes_expected=None if declared in (0, c_crash.FILLER) else declared,
        page_size=header.page_size,
        truncated=declared not in (0, c_crash.FILLER) and source.size < declared,
        description=f"{header.bits}-bit Windows small (triage) dump, type 4",
        comment=header.comment(),
        notes=tuple(notes),
    )
    service_pack = int(block["ServicePackBuild"])
    hints = replace(
        header_hints(header),
        service_pack_build=service_pack if service_pack not in (0, c_crash.FILLER) else None,
    )
    return OpenedImage(source.path, info, hints, triage=_triage(header, block))


def _triage(header: CrashHeader, block: np.void) -> Triage:
    notes: list[str] = []
    kdbg = int(block["DebuggerDataSize"])
    return Triage(
        drivers=_drivers(header, block, notes),
        unloaded=_unloaded(header, int(block["UnloadedDriversOffset"]), notes),
        mm_storage=_mm_storage(header, int(block["MmOffset"]), notes),
        kdbg_size=kdbg if kdbg not in (0, c_crash.FILLER) else None,
        notes=tuple(notes),
    )


def _entries(
    source: Source, kind: Layout, at: int, count: int, limit: int, what: str, notes: list[str]
) -> np.ndarray[Any, Layout]:
    """``count`` entries, or as many as the file and ``limit`` allow."""
    room = max(source.size - at, 0) // kind.itemsize
    fitting = min(count, room, limit)
    if fitting < count:
        notes.append(f"the dump claims {count} {what}, {fitting} of them could be read")
    return source.table(kind, at, fitting, what) if fitting else np.zeros(0, kind)


def _drivers(header: CrashHeader, block: np.void, notes: list[str]) -> tuple[Module, ...]:
    at, count = int(block["DriverListOffset"]), int(block["DriverCount"])
    if at in (0, c_crash.FILLER) or count == c_crash.FILLER:
        return ()
    kind = c_triage.DRIVER_ENTRY64 if header.wide else c_triage.DRIVER_ENTRY32
    table = _entries(header.source, kind, at, count, _MAX_DRIVERS, "loaded drivers", notes)
    return tuple(_module(header.source, entry) for entry in table)


def _module(source: Source, entry: np.void) -> Module:
    path = _string(source, int(entry["DriverNameOffset"]))
    return Module(
        name=path.rpartition("\\")[2] or path,
        base=hex(int(entry["DllBase"])),
        size=int(entry["SizeOfImage"]),
        path=path if "\\" in path else None,
    )


def _string(source: Source, at: int) -> str:
    """A DUMP_STRING; '?' where its offset or length makes no sense."""
    units = int.from_bytes(source.take(at, 4), "little") if at else 0
    if not 0 < units <= _MAX_NAME:
        return "?"
    return _utf16(source.take(at + 4, 2 * units)) or "?"


def _utf16(raw: bytes) -> str:
    text = raw.decode("utf-16-le", errors="replace").split("\0")[0]
    return "".join(char if char.isprintable() else "?" for char in text)


def _unloaded(header: CrashHeader, at: int, notes: list[str]) -> tuple[str, ...]:
    if at in (0, c_crash.FILLER) or at + 8 > header.source.size:
        return ()
    kind = c_triage.UNLOADED64 if header.wide else c_triage.UNLOADED32
    count = int.from_bytes(header.source.take(at, 4), "little")
    entries_at = at + (8 if header.wide else 4)
    table = _entries(header.source, kind, entries_at, count, _MAX_UNLOADED, "unloaded drivers", notes)
    return tuple(_unloaded_name(entry) for entry in table)


def _unloaded_name(entry: np.void) -> str:
    raw = bytes(entry["DriverName"])
    length = int(entry["Length"])
    # The text is not always terminated; Length counts the uncut name.
    return _utf16(raw[:length] if 0 < length < len(raw) and length % 2 == 0 else raw) or "?"


def _mm_storage(header: CrashHeader, at: int, notes: list[str]) -> dict[str, int]:
    kind = c_triage.MM_STORAGE64 if header.wide else c_triage.MM_STORAGE32
    if at in (0, c_crash.FILLER):
        return {}
    try:
        record = header.source.record(kind, at, "the pool figures")
    except DamagedImage:
        notes.append(f"the pool figures at file offset {at:#x} lie beyond the end of the file")
        return {}
    values = {name: int(record[name]) for name in c_triage.MM_PAGES}
    # Recent Windows leaves the block zero: that is no figure, not an empty pool.
    if int(record["Size"]) < kind.itemsize or not any(values.values()):
        return {}
    return values
