"""Where every page of a hibernation file lies: range tables and Xpress blocks, read once.

A table lists page ranges; the blocks that follow it hold those pages in that order, 16 to a block.
So a damaged block or range shifts everything behind it in its table: from there on to the next
table pages are unknown, never guessed. Every walk is bounded by the file or by a number.
Source: facts/dump-formats.md 5.
"""

from __future__ import annotations

import struct
from array import array
from typing import NamedTuple

import numpy as np

from dumpscan.image import c_hibernation as c
from dumpscan.image.bitmap import MAX_PAGE
from dumpscan.image.packed import Places
from dumpscan.image.physical import I64, U64
from dumpscan.image.source import Source

# Bounds of a crafted file. 64 GB of RAM in pieces of four pages are 4 M ranges; a block holds 64 KB.
_MAX_TABLES = 1 << 15
_MAX_RANGES = 1 << 22
_MAX_BLOCKS = 1 << 21
_FIT_BLOCKS = 1 << 18
_HEAD = struct.Struct("<8sI")


class Table(NamedTuple):
    """One range table, checked: page frames [start, end), and the next table's page or 0."""

    page: int
    start: I64
    end: I64
    next: int
    full: bool

    @property
    def pages(self) -> int:
        """Pages that it lists."""
        return int((self.end - self.start).sum())


class Index(NamedTuple):
    """The places, and how complete they are."""

    places: Places
    pages_listed: int
    tables: int
    end: int
    truncated: bool
    notes: tuple[str, ...]


class _Blocks:
    """Blocks found so far, as growing arrays of 64-bit numbers."""

    def __init__(self, source: Source, most: int = _MAX_BLOCKS) -> None:
        self.source = source
        self.most = most
        self.view = memoryview(source.data)  # type: ignore[arg-type]
        self.first, self.pages, self.offset, self.size = (array("q") for _ in range(4))

    def follow(self, at: int, stop: int, wanted: int, base: int) -> tuple[int, int, str]:
        """Blocks from file offset ``at`` on that hold ``wanted`` pages; they are numbered from ``base``.

        Returns the pages found, the offset behind the last block and what ended the walk early.
        """
        found = 0
        last = min(stop, self.source.size) - c.BLOCK_HEADER
        while found < wanted:
            mark, word = at, _word(self.view, at) if at <= last else -1
            if word < 0:
                ahead = self._mark(at, stop)
                if ahead is None:
                    return found, at, f"no Xpress block at file offset {at:#x}"
                mark, word = ahead, _word(self.view, ahead)
            pages, size = (word & 0x3FF) + 1, (word >> 10) + 1
            short = pages < c.BLOCK_PAGES and found + pages < wanted
            if pages > c.BLOCK_PAGES or size > c.BLOCK_STORED or short:
                return found, at, f"the Xpress block at file offset {mark:#x} claims {pages} pages"
            end = mark + c.BLOCK_HEADER + size
            if end > self.source.size:
                return found, at, _ENDS
            if len(self.first) >= self.most:
                return found, at, f"more than {self.most:,} Xpress blocks"
            self.first.append(base + found)
            self.pages.append(pages)
            self.offset.append(mark + c.BLOCK_HEADER)
            self.size.append(size)
            found += pages
            at = mark + c.BLOCK_HEADER + -(-size // 8) * 8
        return found, at, ""

    def follow_table(self, table: Table, form: c.Ranges, base: int) -> tuple[int, int, str]:
        """As :meth:`follow`, for a table's blocks; more than it lists is a fault too.

        They end before the next table. Behind the last one lies what an earlier hibernation left.
        """
        later = table.next > table.page and read_table(self.source, table.next, form) is not None
        stop = table.next * c.PAGE if later else self.source.size
        found, end, why = self.follow((table.page + 1) * c.PAGE, stop, table.pages, base)
        more = found > table.pages or (later and self._mark(end, stop) is not None)
        if more and not why:
            why = "its blocks hold more pages than it lists, so that pages may lie at other addresses"
        return found, end, why

    def _mark(self, at: int, stop: int) -> int | None:
        """The next block header at or behind ``at``."""
        last = min(stop, self.source.size) - c.BLOCK_HEADER
        window = self.source.take(at, min(c.BLOCK_SEARCH, max(last - at + len(c.BLOCK_MARK), 0)))
        ahead = window.find(c.BLOCK_MARK)
        return None if ahead < 0 else at + ahead


def _word(view: memoryview, at: int) -> int:
    """Pages and size of the block whose header is at ``at``; -1 where there is none."""
    mark, word = _HEAD.unpack_from(view, at)
    return int(word) if mark == c.BLOCK_MARK else -1


def read_table(source: Source, page: int, form: c.Ranges) -> Table | None:
    """The range table in page ``page`` of the file, or None where none can be."""
    at = page * c.PAGE
    raw = source.data[at : at + c.PAGE] if 0 < page < MAX_PAGE else source.data[:0]
    if len(raw) < c.PAGE:
        return None
    link = raw[: form.entries_at].view(form.link)[0]
    count = int(link["EntryCount"])
    if not 0 < count <= form.capacity:
        return None
    entries = raw[form.entries_at : form.entries_at + count * form.entry.itemsize].view(form.entry)
    start: U64 = entries["StartPage"].astype(np.uint64)
    end: U64 = entries["EndPage"].astype(np.uint64)
    if bool((start >= end).any()) or int(end.max()) > MAX_PAGE:
        return None
    following = int(link["NextTable"])
    return Table(page, start.astype(np.int64), end.astype(np.int64), following, count == form.capacity)


def fit(source: Source, page: int, form: c.Ranges) -> tuple[bool, int]:
    """How well the blocks behind a first table bear out this form: do they hold just what it lists, and
    how many pages they hold."""
    table = read_table(source, page, form)
    if table is None:
        return False, 0
    found, _, why = _Blocks(source, _FIT_BLOCKS).follow_table(table, form, 0)
    return found == table.pages and not why, found


def build_index(source: Source, page: int, form: c.Ranges) -> Index:
    """Follow the tables from ``page`` on, which :func:`fit` has seen to be one."""
    blocks = _Blocks(source)
    tables: list[Table] = []
    seen: set[int] = set()
    notes: list[str] = []
    base = listed = end = 0
    bases: list[int] = []
    founds: list[int] = []
    truncated = False
    ranges = 0
    table = read_table(source, page, form)
    while table is not None:
        seen.add(table.page)
        found, end, why = blocks.follow_table(table, form, base)
        if why:
            truncated |= why == _ENDS or end + c.BLOCK_SEARCH >= source.size
            notes.append(f"range table at file offset {table.page * c.PAGE:#x}: {why}")
        tables.append(_covered(table, found))
        bases.append(base)
        pages = table.pages
        founds.append(min(found, pages))
        base += found
        listed += pages
        ranges += len(tables[-1].start)
        if ranges > _MAX_RANGES:
            notes.append(f"more than {_MAX_RANGES:,} page ranges: the rest is left out")
            break
        table, over = _next(source, table, form, seen, end)
        if over:
            truncated |= over == _CUT
            notes.append(over)
    places = _places(blocks, tables, bases, founds, notes)
    return Index(places, listed, len(tables), end, truncated, _summed(notes))


def _covered(table: Table, found: int) -> Table:
    """The table with those ranges that begin in ``found`` pages: the others cost nothing."""
    size = table.end - table.start
    some = int(np.searchsorted(np.cumsum(size) - size, found))
    if some == len(table.start):
        return table
    return table._replace(start=table.start[:some].copy(), end=table.end[:some].copy())


_ENDS = "the file ends inside an Xpress block"
_FULL = "the last range table is full and names no next one: were there more, their pages are unknown"
_CUT = "the next range table lies beyond the end of the file: the pages that it lists are unknown"


def _next(source: Source, table: Table, form: c.Ranges, seen: set[int], end: int) -> tuple[Table | None, str]:
    """The table after this one, whose blocks end at ``end``; and, where the chain breaks, in what way."""
    if table.next in seen:
        return None, f"the range table at file offset {table.page * c.PAGE:#x} leads back to an earlier one"
    if not table.next:
        return None, _FULL if table.full else ""
    # A table that is not full is the last one, whatever its link says (volatility v2), unless the link
    # leads to where the next one would be written (libhibr).
    if not table.full and not 0 <= table.next * c.PAGE - end < c.BLOCK_SEARCH:
        return None, ""
    if len(seen) >= _MAX_TABLES:
        return None, f"more than {_MAX_TABLES} range tables: the rest is left out"
    following = read_table(source, table.next, form)
    if following is not None or not table.full:
        return following, ""
    if (table.next + 1) * c.PAGE > source.size:
        return None, _CUT
    return None, f"no range table at file offset {table.next * c.PAGE:#x}, where the chain of tables leads"


def _summed(notes: list[str]) -> tuple[str, ...]:
    shown = 3
    more = len(notes) - shown
    return (*notes[:shown], f"{more} more faults of this kind") if more > 0 else tuple(notes)


def _places(
    blocks: _Blocks, tables: list[Table], bases: list[int], founds: list[int], notes: list[str]
) -> Places:
    start = np.concatenate([table.start for table in tables])
    count = np.concatenate([table.end - table.start for table in tables])
    inside = np.concatenate([np.cumsum(table.end - table.start) for table in tables]) - count
    lengths = [len(table.start) for table in tables]
    # A table whose blocks ran out: the pages behind the last block are not in the file.
    count = np.clip(np.repeat(founds, lengths) - inside, 0, count)
    ordinal = np.repeat(bases, lengths) + inside
    keep = count > 0
    order = np.argsort(start[keep], kind="stable")
    ranges = (start[keep][order], count[keep][order], ordinal[keep][order])
    if bool((ranges[0][1:] < (ranges[0] + ranges[1])[:-1]).any()):
        ranges, twice = _claimed_once(*ranges)
        notes.append(f"{twice:,} pages are listed more than once and taken as unknown")
    columns = (blocks.first, blocks.pages, blocks.offset, blocks.size)
    return Places(*ranges, *(np.array(column, np.int64) for column in columns))


def _claimed_once(start: I64, count: I64, ordinal: I64) -> tuple[tuple[I64, I64, I64], int]:
    """The parts of overlapping ranges that one range alone claims, and the pages in the others."""
    cuts = np.unique(np.concatenate([start, start + count]))
    opens, shuts = np.searchsorted(cuts, start), np.searchsorted(cuts, start + count)
    claims = np.zeros(len(cuts), np.int64)
    owner = np.zeros(len(cuts), np.int64)
    number = np.arange(len(start))
    for at, sign in ((opens, 1), (shuts, -1)):
        np.add.at(claims, at, sign)
        np.add.at(owner, at, sign * number)
    claims, owner = np.cumsum(claims)[:-1], np.cumsum(owner)[:-1]
    length = np.diff(cuts)
    once = claims == 1
    mine, first = owner[once], cuts[:-1][once]
    return (first, length[once], ordinal[mine] + first - start[mine]), int(length[claims > 1].sum())
