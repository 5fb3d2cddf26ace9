"""Small (triage) dumps: no pool, but the drivers, those unloaded, and perhaps the pool totals.

Written by every Windows; 64 KB on 32-bit systems. Every offset in it is a file offset and checked
against the file. A count that the file cannot hold is cut to what it can, entries that cannot be
drivers are left out, and both are said. Source: facts/dump-formats.md 1, type 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dumpscan.errors import DamagedImage
from dumpscan.image import c_crash, c_triage
from dumpscan.image.crash_header import CrashHeader, header_hints
from dumpscan.image.layout import Layout
from dumpscan.image.opened import DataBlocks, Hints, OpenedImage, Triage
from dumpscan.image.source import Source
from dumpscan.model import ImageInfo, Module
from dumpscan.records import replace

# Windows keeps 50 unloaded drivers, loads a few hundred and adds some thousand data blocks at most;
# these bound the work of a lying count.
_MAX_DRIVERS = 4096
_MAX_UNLOADED = 50
_CUT_NAME = 12
_MAX_BLOCKS = 1 << 16
_MAX_NAME = 512
_MAX_DEBUGGER_DATA = 1 << 16
_MAX_MM_STORAGE = 0x400
_NOWHERE = (0, c_crash.FILLER)


def open_triage(header: CrashHeader, notes: list[str]) -> OpenedImage:
    """Open a dump of type 4. ``memory`` is None. ``notes`` come before those of what does not fit.

    :raises DamagedImage: the file ends inside the triage block.
    """
    source = header.source
    kind = c_triage.TRIAGE_DUMP64 if header.wide else c_triage.TRIAGE_DUMP32
    block = source.record(kind, header.size, "the small-dump block")
    whole = _has_end_mark(source, int(block["ValidOffset"]), notes)
    declared = int(block["SizeOfDump"])
    hints = _hints(header, block)
    triage = _triage(header, block, hints.kdbg or 0, notes)
    info = ImageInfo(
        path=str(source.path),
        format=f"triage{header.bits}",
        bytes=source.size,
        # Later Windows appends data of its own behind what SizeOfDump counts.
        bytes_expected=None if declared in _NOWHERE or declared < source.size else declared,
        page_size=header.page_size,
        truncated=not whole or (declared not in _NOWHERE and source.size < declared),
        description=f"{header.bits}-bit Windows small (triage) dump, type 4",
        comment=header.comment(),
        notes=tuple(notes),
    )
    return OpenedImage(source.path, info, hints, triage=triage)


def _has_end_mark(source: Source, at: int, notes: list[str]) -> bool:
    """Whether the mark stands where it should; where the dump names no place for it, that is all."""
    if source.take(at, 4) == c_triage.END_MARK:
        return True
    if at in _NOWHERE:
        notes.append("the small-dump block does not say where its end mark is")
        return True
    beyond = at + 4 > source.size
    why = "lies beyond the end of the file: it is cut off" if beyond else "is missing: not written to its end"
    notes.append(f"the end mark at file offset {at:#x} {why}")
    return False


def _hints(header: CrashHeader, block: np.void) -> Hints:
    pack = int(block["ServicePackBuild"])
    return replace(header_hints(header), service_pack_build=None if pack in _NOWHERE else pack)


def _triage(header: CrashHeader, block: np.void, kdbg: int, notes: list[str]) -> Triage:
    unloaded_at, mm_at = int(block["UnloadedDriversOffset"]), int(block["MmOffset"])
    drivers, complete = _drivers(header, block, notes)
    return Triage(
        drivers=drivers,
        drivers_complete=complete,
        unloaded=_unloaded(header, unloaded_at, notes),
        mm_storage=_mm_storage(header, mm_at, notes),
        blocks=_blocks(header, block, kdbg, notes),
        unloaded_at=unloaded_at,
        mm_at=mm_at,
    )


def _entries(
    source: Source, kind: Layout, at: int, count: int, limit: int, what: str, notes: list[str]
) -> np.ndarray[Any, Layout]:
    """``count`` entries, or as many as the file and ``limit`` allow."""
    room = max(source.size - at, 0) // kind.itemsize
    fitting = min(count, room, limit)
    if fitting < count:
        notes.append(f"the dump claims {count} {what} at file offset {at:#x}, {fitting} at most can be there")
    return source.table(kind, at, fitting, what) if fitting else np.zeros(0, kind)


def _are_images(header: CrashHeader, base: Any, end: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where drivers can be: whole pages of the upper half of the address space."""
    base, end = base.astype(np.uint64), end.astype(np.uint64)
    upper = np.uint64(1 << (63 if header.wide else 31))
    return (base >= upper) & (end > base) & (base & np.uint64(0xFFF) == 0)  # type: ignore[no-any-return]


def _kept(
    entries: np.ndarray[Any, Layout], sane: np.ndarray[Any, np.dtype[np.bool_]], what: str, notes: list[str]
) -> np.ndarray[Any, Layout]:
    if not bool(sane.all()):
        notes.append(f"{int((~sane).sum())} of {len(sane)} entries for {what} cannot be any: left out")
    kept: np.ndarray[Any, Layout] = entries[sane]
    return kept


def _drivers(header: CrashHeader, block: np.void, notes: list[str]) -> tuple[tuple[Module, ...], bool]:
    """The loaded drivers, and whether these are all that the dump claims."""
    at, count = int(block["DriverListOffset"]), int(block["DriverCount"])
    if at in _NOWHERE or count in _NOWHERE:
        return (), False
    kind = c_triage.DRIVER_ENTRY64 if header.wide else c_triage.DRIVER_ENTRY32
    table = _entries(header.source, kind, at, count, _MAX_DRIVERS, "loaded drivers", notes)
    size = table["SizeOfImage"].astype(np.uint64)
    base = table["DllBase"].astype(np.uint64)
    sane = _are_images(header, base, base + size) & (size < 1 << 31)
    found = tuple(_module(header.source, entry) for entry in _kept(table, sane, "loaded drivers", notes))
    return found, len(found) == count


def _module(source: Source, entry: np.void) -> Module:
    path = _string(source, int(entry["DriverNameOffset"]))
    return Module(
        name=path.rpartition("\\")[2] or path,
        base=hex(int(entry["DllBase"])),
        size=int(entry["SizeOfImage"]),
        path=path if "\\" in path else None,
        timestamp=int(entry["TimeDateStamp"]) or None,
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


def _unloaded(header: CrashHeader, at: int, notes: list[str]) -> tuple[str, ...] | None:
    if at in _NOWHERE:
        return None
    if at + 8 > header.source.size:
        notes.append(f"the list of unloaded drivers at file offset {at:#x} lies beyond the end of the file")
        return None
    kind = c_triage.UNLOADED64 if header.wide else c_triage.UNLOADED32
    count = int.from_bytes(header.source.take(at, 4), "little")
    if count == c_crash.FILLER:
        return None
    entries_at = at + (8 if header.wide else 4)
    table = _entries(header.source, kind, entries_at, count, _MAX_UNLOADED, "unloaded drivers", notes)
    sane = _are_images(header, table["StartAddress"], table["EndAddress"])
    sane &= (table["Length"] > 0) & (table["Length"] % 2 == 0)
    found = tuple(_unloaded_name(entry) for entry in _kept(table, sane, "unloaded drivers", notes))
    cut = sorted({name for name in found if len(name) == _CUT_NAME and name[-4] != "."})
    if cut:
        notes.append(f"a small dump cuts names of unloaded drivers to 12 characters: {', '.join(cut)}")
    return found


def _unloaded_name(entry: np.void) -> str:
    # The text is not always terminated, and stale behind its end.
    return _utf16(bytes(entry["DriverName"])[: int(entry["Length"])]) or "?"


def _mm_storage(header: CrashHeader, at: int, notes: list[str]) -> dict[str, int]:
    """Figures in pages by name; those that are zero, filler or no count of pages are left out."""
    kind = c_triage.MM_STORAGE64 if header.wide else c_triage.MM_STORAGE32
    if at in _NOWHERE:
        return {}
    try:
        record = header.source.record(kind, at, "the pool figures")
    except DamagedImage:
        notes.append(f"the pool figures at file offset {at:#x} lie beyond the end of the file")
        return {}
    size = int(record["Size"])
    if size in _NOWHERE:
        return {}
    if not kind.itemsize <= size <= _MAX_MM_STORAGE:
        notes.append(
            f"the pool figures at file offset {at:#x} claim {size} bytes, not {kind.itemsize}: not read"
        )
        return {}
    # Recent Windows leaves zeros: that is no figure, not an empty pool.
    values = {
        name: value for name in c_triage.MM_PAGES if (value := int(record[name])) not in _filler(header)
    }
    space = 1 << (36 if header.wide else 20)
    strange = [name for name, value in values.items() if value > space]
    if strange:
        notes.append(f"no count of pages, left out: {', '.join(f'{n} {values[n]:#x}' for n in strange)}")
    return {name: value for name, value in values.items() if name not in strange}


def _filler(header: CrashHeader) -> tuple[int, int]:
    return (0, c_crash.FILLER << 32 | c_crash.FILLER) if header.wide else _NOWHERE


def _blocks(header: CrashHeader, block: np.void, kdbg: int, notes: list[str]) -> DataBlocks:
    """The data blocks in the file, with the debugger data as one more at ``kdbg``."""
    at, count = int(block["DataBlocksOffset"]), int(block["DataBlocksCount"])
    kind = c_triage.DATA_BLOCK64 if header.wide else c_triage.DATA_BLOCK32
    table = np.zeros(0, kind)
    if at not in _NOWHERE and count not in _NOWHERE:
        table = _entries(header.source, kind, at, count, _MAX_BLOCKS, "data blocks", notes)
    va, offset = table["VirtualAddress"].astype(np.uint64), table["Offset"].astype(np.int64)
    size = table["Size"].astype(np.int64)
    inside = (offset > 0) & (offset + size <= header.source.size)
    if not bool(inside.all()):
        notes.append(f"{int((~inside).sum())} of {len(table)} data blocks lie beyond the end of the file")
    data_at, data_size = int(block["DebuggerDataOffset"]), int(block["DebuggerDataSize"])
    data_size = min(data_size, _MAX_DEBUGGER_DATA, max(header.source.size - data_at, 0))
    if data_at not in _NOWHERE and data_size:
        va, inside = np.append(va, np.uint64(kdbg)), np.append(inside, True)
        offset, size = np.append(offset, data_at), np.append(size, data_size)
    order = np.argsort(va[inside], kind="stable")
    return DataBlocks(header.source.data, va[inside][order], offset[inside][order], size[inside][order])
