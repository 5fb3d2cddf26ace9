"""Hibernation files of Windows XP to 7: header page, saved processor state, range tables, Xpress blocks.

Witness: facts/os-structures.json PO_MEMORY_IMAGE ([PDB] XP SP3 and Windows 7, volatility v2's types for
the others), facts/dump-headers.json HIBERFIL (range tables: [PDB] XP; two sources 5.2 x64 and 7; one
source Vista SP2), facts/dump-formats.md 5. Processor state: KPROCESSOR_STATE, x86 [PDB], x64 [2S]
(public dumps of the Windows 7 x64 types: CONTEXT at +0xe0).
"""

from __future__ import annotations

from typing import NamedTuple

from dumpscan.image.c_magic import XPRESS_MARK
from dumpscan.image.layout import Layout, layout

PAGE = 4096

RESUMED = (b"wake", b"WAKE")
RESTORING = (b"RSTR",)

BLOCK_MARK = XPRESS_MARK
BLOCK_HEADER = 32
BLOCK_WORD = 8
"""u32: pages less one in the low 10 bits, bytes of compressed data less one above them."""
BLOCK_PAGES = 16
"""Pages of every block of a table but its last, which may hold fewer."""
BLOCK_STORED = 0x10000
"""This many bytes of data are 16 pages without compression."""
BLOCK_SEARCH = 10 * 1024
"""How far behind a block's data the next mark may lie."""

LINK_NAME = 4
"""A ``link`` file: UTF-16 name of the real file, zero-terminated, behind the signature."""

NEWER_HEADER = 0x200
"""LengthSelf from here on is Windows 8 or later (0x360 in 8.1), whose files hold other structures."""


class Ranges(NamedTuple):
    """A range table: one page, a link, then entries [StartPage, EndPage) of page frames."""

    link: Layout
    entry: Layout
    entries_at: int
    capacity: int


class State(NamedTuple):
    """Offsets in the saved processor state, all of one width: ``code`` is the instruction pointer."""

    width: int
    cr0: int
    cr3: int
    cr4: int
    code: int


class Form(NamedTuple):
    """What tells one Windows version's file from another's. ``state_page`` is a page of the file."""

    windows: str
    arch: str
    length_self: int
    header: Layout
    ranges: Ranges
    state_page: int


def _header(size: int, first_table: int, system_time: int, interrupt_time: int, word: str) -> Layout:
    return layout(
        size,
        {
            "Signature": (0x0, "S4"),
            "LengthSelf": (0xC, "<u4"),
            "SystemTime": (system_time, "<u8"),
            "InterruptTime": (interrupt_time, "<u8"),
            "FirstTablePage": (first_table, word),
        },
    )


def _ranges(
    link: tuple[int, int], entry: tuple[int, int, int], entries_at: int, capacity: int, word: str
) -> Ranges:
    next_table, count = link
    start, end, size = entry
    return Ranges(
        layout(entries_at, {"NextTable": (next_table, word), "EntryCount": (count, "<u4")}),
        layout(size, {"StartPage": (start, word), "EndPage": (end, word)}),
        entries_at,
        capacity,
    )


_X86_CHECKED = _ranges((4, 12), (4, 8, 16), 16, 255, "<u4")
_X64_CHECKED = _ranges((8, 20), (8, 16, 32), 32, 127, "<u8")
_X86_SP2 = _ranges((4, 8), (0, 4, 8), 12, 510, "<u4")
_X64_SP2 = _ranges((8, 16), (0, 8, 16), 24, 254, "<u8")
_X86_7 = _ranges((0, 4), (0, 4, 8), 8, 511, "<u4")
_X64_7 = _ranges((0, 8), (0, 8, 16), 16, 255, "<u8")

_XP_X86 = _header(0xA8, 0x58, 0x20, 0x28, "<u4")
_XP_X64 = _header(0xC0, 0x68, 0x20, 0x28, "<u8")
_VISTA_X86 = _header(0xE0, 0x50, 0x18, 0x20, "<u4")
_VISTA_X64 = _header(0x128, 0x68, 0x20, 0x28, "<u8")
_7_X86 = _header(0xE0, 0x4C, 0x18, 0x20, "<u4")
_7_X64 = _header(0x128, 0x60, 0x20, 0x28, "<u8")

FORMS = (
    Form("Windows XP or Server 2003", "x86", 0xA8, _XP_X86, _X86_CHECKED, 2),
    Form("Windows XP or Server 2003", "x64", 0xC0, _XP_X64, _X64_CHECKED, 2),
    Form("Windows Vista", "x86", 0xE0, _VISTA_X86, _X86_CHECKED, 4),
    Form("Windows Vista", "x64", 0x128, _VISTA_X64, _X64_CHECKED, 4),
    Form("Windows Vista SP1 or Server 2008", "x86", 0xF0, _VISTA_X86, _X86_CHECKED, 1),
    Form("Windows Vista SP1 or Server 2008", "x64", 0x140, _VISTA_X64, _X64_CHECKED, 1),
    Form("Windows Vista SP2 or Server 2008 SP2", "x86", 0xF0, _VISTA_X86, _X86_SP2, 1),
    Form("Windows Vista SP2 or Server 2008 SP2", "x64", 0x138, _VISTA_X64, _X64_SP2, 1),
    Form("Windows 7 or Server 2008 R2", "x86", 0xE0, _7_X86, _X86_7, 1),
    Form("Windows 7 or Server 2008 R2", "x64", 0x128, _7_X64, _X64_7, 1),
)

STATES = {
    "x86": State(4, cr0=0x2CC, cr3=0x2D4, cr4=0x2D8, code=0xB8),
    "x64": State(8, cr0=0x0, cr3=0x10, cr4=0x18, code=0x1D8),
}

CR0_RUNNING = 0x80000001
"""Paging (31) and protection (0): set on any machine that ran Windows."""
CR4_PAE = 1 << 5
CR4_KNOWN = (1 << 24) - 1
