"""Hibernation files (hiberfil.sys) of Windows XP to 7, x86 and x64: memory as it was at hibernation.

The header says which Windows wrote it and where the first range table is. On resume Windows zeroes
the header or marks it ``wake``; the body stays, and the first Xpress block tells where it begins.
Each form is tried against the blocks: a header is only a claim. Source: facts/dump-formats.md 5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache, partial

import numpy as np

from dumpscan.errors import DamagedImage, UnsupportedImage
from dumpscan.image import c_hibernation as c
from dumpscan.image.hibernation_index import build_index, fit
from dumpscan.image.hibernation_memory import HibernationMemory
from dumpscan.image.opened import Hints, OpenedImage
from dumpscan.image.source import Source
from dumpscan.model import ImageInfo
from dumpscan.records import record, replace

# A resumed file's first block lies within these pages (volatility v2).
_FIRST_PAGES = 10
# FILETIMEs of 2001 and 2101: XP was not there before.
_TIMES = range(126_227_808_000_000_000, 157_784_544_000_000_000)
_TEN_YEARS = 10 * 366 * 86_400 * 10_000_000

_GUESS = (
    "the first range table and the blocks behind it do not agree: the layout is a guess, and pages may lie "
    "at other addresses"
)


@record
class _Read:
    """A form of file, its first range table, and what the header says where there is one.

    ``exact``: the first table's blocks hold just the pages that it lists; ``named``: LengthSelf is that of
    the form.
    """

    form: c.Form
    table: int
    header: np.void | None
    exact: bool = False
    named: bool = False


def open_hibernation(source: Source) -> OpenedImage:
    """Open a hibernation file.

    :raises UnsupportedImage: written by Windows 8 or later, or not on this machine's disks.
    :raises DamagedImage: no range table with Xpress blocks behind it, in any form.
    """
    name = source.path.name
    if not isinstance(source.data, np.ndarray):
        raise UnsupportedImage(
            f"{source.path}: a hibernation file, which is not read in place; download it first"
        )
    signature = source.take(0, 4)
    read = _recognised(source, zeroed=not any(signature))
    if read is None:
        _refuse_newer(source)
        raise DamagedImage(
            f"{name}: a hibernation file without a readable range table behind its header (Windows XP to 7 "
            "were tried); it is cut off, overwritten or of another Windows"
        )
    index = build_index(source, read.table, read.form.ranges)
    certain = read.exact or (read.named and index.truncated)
    present = int(index.places.length.sum())
    memory = HibernationMemory(source.data, index.places)
    info = ImageInfo(
        path=str(source.path),
        format="hiberfil",
        bytes=source.size,
        bytes_expected=None if index.truncated else source.size,
        pages_present=present,
        pages_expected=index.pages_listed,
        truncated=index.truncated,
        description=_described(read, index.tables, len(index.places.first)),
        notes=(*_state_notes(signature), *(() if certain else (_GUESS,)), *index.notes),
    )
    return OpenedImage(source.path, info, _hints(source, read), memory)


def refuse_link(source: Source) -> UnsupportedImage:
    """What to say of a ``link`` file, which only names another one."""
    text = source.take(c.LINK_NAME, 1024).decode("utf-16-le", "replace").partition("\0")[0]
    target = "".join(letter for letter in text if letter.isprintable())
    return UnsupportedImage(
        f"{source.path.name}: a hibernation link, without memory; the hibernation file is "
        f"{target or 'not named in it'}; give that file"
    )


def _described(read: _Read, tables: int, blocks: int) -> str:
    form = read.form
    words = f"{tables} range table{'s' if tables != 1 else ''}, {blocks:,} Xpress blocks"
    return f"hibernation file in the layout of {form.windows} {form.arch}, {words}"


def _state_notes(signature: bytes) -> tuple[str, ...]:
    if signature in c.RESUMED:
        return ("the machine was resumed from this file: memory is as it was at hibernation",)
    if signature in c.RESTORING:
        return ("the file was being restored: memory is as it was at hibernation",)
    if not any(signature):
        return ("the header is zeroed, so the machine was resumed: memory is as it was at hibernation",)
    return ()


def _recognised(source: Source, zeroed: bool) -> _Read | None:
    """The form whose first table is borne out best by the blocks, the header and the processor state."""
    best: tuple[tuple[bool, bool, int, bool], _Read] | None = None
    # Forms share their tables: a first table that lists all of memory is to be followed once, not for each.
    fit_once = cache(partial(fit, source))
    for read in _possible(source, zeroed):
        form = read.form
        exact, found = fit_once(read.table, form.ranges)
        if not found:
            continue
        named = read.header is not None and int(read.header["LengthSelf"]) == form.length_self
        score = (exact, named, found, _registers(source, form) is not None)
        if best is None or score > best[0]:
            best = score, replace(read, exact=exact, named=named)
    return best[1] if best else None


def _possible(source: Source, zeroed: bool) -> Iterator[_Read]:
    """Each form with the first table where its header says, or else before the first block."""
    before = _page_before_first_block(source)
    for form in c.FORMS:
        head = source.data[: form.header.itemsize]
        header = head.view(form.header)[0] if len(head) == form.header.itemsize and not zeroed else None
        if header is not None:
            yield _Read(form, int(header["FirstTablePage"]), header)
        yield _Read(form, before, header)


def _page_before_first_block(source: Source) -> int:
    for page in range(1, _FIRST_PAGES):
        if source.take(page * c.PAGE, len(c.BLOCK_MARK)) == c.BLOCK_MARK:
            return page - 1
    return 0


def _refuse_newer(source: Source) -> None:
    length = int.from_bytes(source.take(0xC, 4), "little")
    if c.NEWER_HEADER <= length < c.PAGE:
        raise UnsupportedImage(
            f"{source.path.name}: a hibernation file of Windows 8 or later (header of {length:#x} bytes), "
            "whose layout is not read; convert it to a raw image first, for instance with Hibr2Bin"
        )


def _registers(source: Source, form: c.Form) -> tuple[int, int, int] | None:
    """Cr3, Cr4 and the instruction pointer of the saved processor state; None where it is none."""
    state = c.STATES[form.arch]
    raw = source.take(form.state_page * c.PAGE, c.PAGE)
    if len(raw) < c.PAGE:
        return None
    word = "<I" if state.width == 4 else "<Q"
    cr0, cr3, cr4, code = (
        struct.unpack_from(word, raw, at)[0] for at in (state.cr0, state.cr3, state.cr4, state.code)
    )
    running = cr0 & c.CR0_RUNNING == c.CR0_RUNNING and cr0 < 1 << 32
    return (cr3, cr4, code) if running and cr3 & ~0x1F and not cr4 & ~c.CR4_KNOWN else None


def _hints(source: Source, read: _Read) -> Hints:
    form, registers, header = read.form, _registers(source, read.form), read.header
    cr3, cr4, code = registers or (0, 0, 0)
    system_time = int(header["SystemTime"]) if header is not None else 0
    uptime = int(header["InterruptTime"]) if header is not None else 0
    return Hints(
        arch=form.arch,
        dtbs=(cr3 & ~0x1F,) if registers else (),
        pae=bool(cr4 & c.CR4_PAE) if registers and form.arch == "x86" else None,
        code=code or None,
        system_time=system_time if system_time in _TIMES else None,
        uptime=uptime if 0 < uptime < _TEN_YEARS else None,
    )
