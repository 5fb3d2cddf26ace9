"""Windows crash dumps: complete, kernel, bitmap and small ones, 32- and 64-bit.

The field DumpType says which; some writers leave filler in it, then the structure behind the
header decides. A dump that was cut short keeps what it holds and says so.
Sources: facts/dump-formats.md 1, facts/dump-headers.json.
"""

from __future__ import annotations

import numpy as np

from dumpscan.errors import DamagedImage, UnsupportedImage
from dumpscan.image import c_crash
from dumpscan.image.bitmap import MAX_PAGE, bitmap_runs, read_form
from dumpscan.image.crash_header import CrashHeader, header_hints, read_header
from dumpscan.image.opened import OpenedImage
from dumpscan.image.physical import I64, FileMemory
from dumpscan.image.source import Source
from dumpscan.model import ImageInfo

_KINDS = {
    c_crash.TYPE_FULL: ("full", "complete dump"),
    c_crash.TYPE_SUMMARY: ("kernel", "kernel (summary) dump"),
    c_crash.TYPE_BITMAP: ("bitmap", "complete dump with page bitmap"),
    c_crash.TYPE_ACTIVE: ("active", "active memory or kernel dump with page bitmap"),
}
# From 7 on they hold memory, and a debugger that reads them writes them anew.
_ADVICE = dict.fromkeys(range(7, 11), ": open it in WinDbg and write it again with '.dump /f'")
_KNOWN_TYPES = {*_KINDS, *c_crash.REFUSED_TYPES, c_crash.TYPE_TRIAGE}


def open_crash(source: Source, wide: bool) -> OpenedImage:
    """Open a file that begins with PAGEDUMP, or PAGEDU64 (``wide``).

    :raises UnsupportedImage: a dump type or machine that dumpscan does not read.
    :raises DamagedImage: header, runs or bitmap contradict the file.
    """
    header = read_header(source, wide)
    kind, notes = dump_type(header)
    if kind in c_crash.REFUSED_TYPES:
        raise UnsupportedImage(
            f"{source.path.name}: a Windows crash dump, but {c_crash.REFUSED_TYPES[kind]}; dumpscan reads "
            "complete, kernel, bitmap and small dumps (types 1, 2, 4, 5, 6)" + _ADVICE.get(kind, "")
        )
    if kind == c_crash.TYPE_TRIAGE:
        from dumpscan.image.triage import open_triage

        return open_triage(header, notes)
    if kind == c_crash.TYPE_FULL:
        return _opened(header, kind, *_full_runs(header, notes), notes)
    return _opened(header, kind, *_bitmap_runs(header, kind, notes), notes)


def dump_type(header: CrashHeader) -> tuple[int, list[str]]:
    """DumpType, or what the structure shows when the field is unusable; with notes about that.

    :raises DamagedImage: neither the field nor the structure says what the dump is.
    """
    claimed = header.value("DumpType")
    mark = header.source.take(header.size, 8)
    has_bitmap = mark in (b"SDMPDUMP", b"FDMPDUMP")
    if claimed in _KNOWN_TYPES and not (claimed == c_crash.TYPE_FULL and has_bitmap):
        return claimed, []
    found = _structural_type(header, has_bitmap)
    if found is None:
        raise DamagedImage(
            f"{header.source.path.name}: DumpType at file offset {header.offset_of('DumpType'):#x} is "
            f"{int(header.fields['DumpType']):#x} and no page bitmap, run list or small-dump block follows "
            "the header; the header is damaged, copy it again"
        )
    said = "absent" if claimed is None else f"{claimed:#x}"
    return found, [f"DumpType in the header is {said}; the structure shows type {found}"]


def _structural_type(header: CrashHeader, has_bitmap: bool) -> int | None:
    source, at = header.source, header.size
    if has_bitmap:
        bits_at = at + (c_crash.SUMMARY_DUMP64 if header.wide else c_crash.SUMMARY_DUMP32).itemsize
        older = bits_at <= int.from_bytes(source.take(at + 0xC, 4), "little")
        filler = source.take(at + 0xC, 4) == c_crash.FILLER.to_bytes(4, "little")
        return c_crash.TYPE_SUMMARY if older and not filler else c_crash.TYPE_BITMAP
    if source.take(at + 4, 8) == c_crash.RDMP_MARK:
        return 8
    valid_at = int.from_bytes(source.take(at + 8, 4), "little")
    if source.take(valid_at, 4) == b"TRGD":
        return c_crash.TYPE_TRIAGE
    limit = c_crash.MAX_RUNS64 if header.wide else c_crash.MAX_RUNS32
    runs = header.nonzero("NumberOfRuns")
    return c_crash.TYPE_FULL if runs is not None and runs <= limit else None


def _full_runs(header: CrashHeader, notes: list[str]) -> tuple[I64, I64, int, int]:
    """Runs of a complete dump: (pfn, count, file offset of the first page, pages expected)."""
    base, count = _run_table(header)
    total = int(count.sum())
    declared = header.nonzero("NumberOfPages")
    if declared is not None and declared != total:
        if header.size + total * header.page_size > header.source.size:
            raise DamagedImage(
                f"{header.source.path.name}: NumberOfPages at file offset "
                f"{header.offset_of('NumberOfPages'):#x} is {declared:#x}, but the runs hold {total:#x} "
                "pages and the file fewer; the run list is damaged, copy it again"
            )
        notes.append(f"NumberOfPages in the header is {declared:#x}, the runs hold {total:#x} pages")
    return base, count, header.size, total


def _run_table(header: CrashHeader) -> tuple[I64, I64]:
    runs_at = c_crash.RUNS_AT64 if header.wide else c_crash.RUNS_AT32
    limit = c_crash.MAX_RUNS64 if header.wide else c_crash.MAX_RUNS32
    number = header.value("NumberOfRuns")
    where = f"{header.source.path.name}: NumberOfRuns at file offset {header.offset_of('NumberOfRuns'):#x}"
    if number is None or number == 0:
        raise DamagedImage(f"{where} is absent; without the run list no page of a complete dump can be found")
    if number > limit:
        raise DamagedImage(
            f"{where} is {number:#x}, but at most {limit} fit; the header is damaged, copy it again"
        )
    layout = c_crash.RUN64 if header.wide else c_crash.RUN32
    table = header.source.table(layout, runs_at, number, "the run list")
    base, count = table["BasePage"].astype(np.uint64), table["PageCount"].astype(np.uint64)
    bad = (base > MAX_PAGE) | (count > MAX_PAGE)
    bad[1:] |= base[1:] < base[:-1] + count[:-1]
    if bad.any():
        k = int(np.argmax(bad))
        raise DamagedImage(
            f"{header.source.path.name}: run {k} at file offset {runs_at + k * layout.itemsize:#x} (page "
            f"{int(base[k]):#x}, {int(count[k]):#x} pages) is impossible or overlaps the run before it; "
            "the header is damaged, copy it again"
        )
    return base.astype(np.int64), count.astype(np.int64)


def _bitmap_runs(header: CrashHeader, kind: int, notes: list[str]) -> tuple[I64, I64, int, int]:
    """Runs of a dump with page bitmap, as :func:`_full_runs`."""
    source, at = header.source, header.size
    mark = source.take(at, 8)
    if mark not in (b"SDMPDUMP", b"FDMPDUMP"):
        raise DamagedImage(
            f"{source.path.name}: dump type {kind} needs a page bitmap at file offset {at:#x}, which holds "
            f"{mark!r}; the dump is damaged or cut off, copy it again"
        )
    older = kind == c_crash.TYPE_SUMMARY
    form = read_form(source, at, header.wide, prefer_older=older)
    if form.older != older:
        notes.append(f"dump type {kind} with the {'older' if form.older else 'later'} form of page bitmap")
    room = max(source.size - form.first_page, 0) // header.page_size
    runs = bitmap_runs(source.data[form.bits_at : form.bits_at + (form.bits + 7) // 8], form.bits, room)
    if runs.total != form.declared:
        notes.append(f"the bitmap holds {runs.total} pages, its header says {form.declared}")
    return runs.pfn, runs.pages, form.first_page, runs.total


def _opened(
    header: CrashHeader, kind: int, pfn: I64, count: I64, first: int, expected: int, notes: list[str]
) -> OpenedImage:
    source, page = header.source, header.page_size
    offset = first + page * (np.cumsum(count) - count)
    memory = FileMemory(source.data, pfn, count, offset, page)
    present = int(memory.runs().page_count.sum())
    name, words = _KINDS[kind]
    machine = ", IA64" if header.arch == "ia64" else ""
    info = ImageInfo(
        path=str(source.path),
        format=f"crash{header.bits}-{name}",
        bytes=source.size,
        bytes_expected=first + expected * page,
        page_size=page,
        pages_present=present,
        pages_expected=expected,
        truncated=present < expected,
        description=f"{header.bits}-bit Windows {words}, type {kind}{machine}",
        comment=header.comment(),
        notes=tuple(notes),
    )
    return OpenedImage(source.path, info, header_hints(header), memory)
