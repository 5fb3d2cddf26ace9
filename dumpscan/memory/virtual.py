"""Virtual memory over page tables: scalar reads, vectorised translation, range enumeration.

Reads :class:`~dumpscan.image.physical.PhysicalMemory` only. Works for x86, x86 PAE and x64 by the
tables of :mod:`dumpscan.memory.c_pte`. The trap of the area: a page may be valid in the page table
and still not be in the image (kernel dumps leave pages out), and a page in *transition* is not
valid but its content is still in RAM. Addresses are uint64 arrays (x64 does not fit int64), page
frames int64.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dumpscan.errors import AbsentMemory
from dumpscan.image.physical import I64, U8, U64, Mask, PhysicalMemory, scattered_pages
from dumpscan.memory.c_pte import PAGE_FILE_BITS, PAGE_FILE_FRAMES, VALID, Level, PageState, Paging

PAGE = 4096


class PageSet(NamedTuple):
    """Pages of a virtual range that are not empty: arrays of one length, ascending by address.

    ``va`` uint64, ``pfn`` int64 (-1 unless the state is VALID or TRANSITION, or PAGEFILE beside page
    files), ``state`` uint8 of :class:`PageState`. ``looped`` counts page tables met a second time and
    not followed.
    """

    va: U64
    pfn: I64
    state: U8
    looped: int = 0

    def where(self, *states: PageState) -> PageSet:
        """The pages in one of ``states``."""
        keep = np.isin(self.state, np.array(states, np.uint8))
        return PageSet(self.va[keep], self.pfn[keep], self.state[keep], self.looped)


class VirtualMemory(Protocol):
    """What the rooms above need of an address space."""

    physical: PhysicalMemory
    paging: Paging
    pointer_size: int
    dtb: int

    def read(self, va: int, n: int) -> bytes:
        """``n`` bytes at ``va``. :raises AbsentMemory: a page is not mapped or not in the image."""
        ...

    def read_masked(self, va: int, n: int) -> tuple[U8, Mask]:
        """``n`` bytes and a mask, byte by byte, of those known; unknown bytes are zero."""
        ...

    def readable(self, vas: NDArray[Any]) -> Mask:
        """Which addresses lie in pages that are mapped (or in transition) and in the image."""
        ...

    def translate(self, vas: NDArray[Any]) -> tuple[U64, U8]:
        """Physical addresses (0 where none) and :class:`PageState` of each address."""
        ...

    def pages_in(self, start: int, end: int) -> PageSet:
        """Every non-empty page of ``[start, end)``, by its page table entry."""
        ...

    def u32(self, va: int) -> int:
        """Unsigned 32-bit value. :raises AbsentMemory: not readable."""
        ...

    def u64(self, va: int) -> int:
        """Unsigned 64-bit value. :raises AbsentMemory: not readable."""
        ...

    def pointer(self, va: int) -> int:
        """Pointer-sized value. :raises AbsentMemory: not readable."""
        ...


class PagedMemory:
    """:class:`VirtualMemory` by walking page tables from ``dtb``.

    ``roots`` replaces the table that ``dtb`` names by four given entries: a PAE address space whose
    page directory pointer table has not been found yet, only the directories it points to.
    Over :class:`~dumpscan.memory.pagefiles.PageFiles` pages that are out have frames there.
    """

    def __init__(
        self, physical: PhysicalMemory, paging: Paging, dtb: int, roots: tuple[int, ...] = ()
    ) -> None:
        self.physical = physical
        self.paging = paging
        self.pointer_size = paging.pointer_size
        self.page_size = paging.page_size
        self._shift = np.uint64(paging.page_shift)
        self.dtb = dtb & ~(paging.root_align - 1)
        self._roots = np.array(roots, np.uint64)
        self._entry = np.dtype("<u4" if paging.entry_size == 4 else "<u8")
        self._known: dict[int, int] = {}
        self._beside = hasattr(physical, "admitted")  # page files

    # -- scalar reads ---------------------------------------------------------------------------

    def page_address(self, va: int) -> int:
        """Physical address of the page that holds ``va``. :raises AbsentMemory: no such page."""
        page = va & self.paging.va_mask & ~(self.page_size - 1)
        found = self._known.get(page)
        if found is None:
            pas, states = self.translate(np.array([page], np.uint64))
            state = PageState(int(states[0]))
            if not bool(self._placed(states)[0]):
                raise AbsentMemory(va, why=state.name.lower().replace("_", " "))
            found = self._known[page] = int(pas[0])
        return found

    def read(self, va: int, n: int) -> bytes:
        """See :class:`VirtualMemory`."""
        offset = va & (self.page_size - 1)
        if offset + n <= self.page_size:
            return self._read_page(va, offset, n)
        data, known = self.read_masked(va, n)
        if not bool(known.all()):
            raise AbsentMemory(va + int(np.argmin(known)), n)
        return data.tobytes()

    def _read_page(self, va: int, offset: int, n: int) -> bytes:
        try:
            return self.physical.read(self.page_address(va) + offset, n)
        except AbsentMemory as error:
            raise AbsentMemory(va, n, why="page not in the image") if error.physical else error from None

    def u32(self, va: int) -> int:
        """See :class:`VirtualMemory`."""
        return int.from_bytes(self.read(va, 4), "little")

    def u64(self, va: int) -> int:
        """See :class:`VirtualMemory`."""
        return int.from_bytes(self.read(va, 8), "little")

    def pointer(self, va: int) -> int:
        """See :class:`VirtualMemory`."""
        return int.from_bytes(self.read(va, self.pointer_size), "little")

    # -- arrays ---------------------------------------------------------------------------------

    def read_masked(self, va: int, n: int) -> tuple[U8, Mask]:
        """See :class:`VirtualMemory`."""
        first = va & ~(self.page_size - 1)
        count = (va + n - 1 - first) // self.page_size + 1 if n > 0 else 0
        vas = np.uint64(first) + np.arange(count, dtype=np.uint64) * np.uint64(self.page_size)
        pas, states = self.translate(vas)
        rows, present = self.physical.pages((pas >> self._shift).astype(np.int64))
        good = present & self._placed(states)
        rows[~good] = 0
        cut = slice(va - first, va - first + n)
        return rows.reshape(-1)[cut], np.repeat(good, self.page_size)[cut]

    def readable(self, vas: NDArray[Any]) -> Mask:
        """See :class:`VirtualMemory`."""
        pas, states = self.translate(np.asarray(vas, np.uint64))
        return self._placed(states) & self.physical.present((pas >> self._shift).astype(np.int64))

    def translate(self, vas: NDArray[Any]) -> tuple[U64, U8]:
        """See :class:`VirtualMemory`."""
        vas = np.asarray(vas, np.uint64) & np.uint64(self.paging.va_mask)
        pas = np.zeros(len(vas), np.uint64)
        states = np.zeros(len(vas), np.uint8)
        todo = np.arange(len(vas))
        tables = np.full(len(vas), self.dtb, np.uint64)
        for depth, level in enumerate(self.paging.levels):
            index = (vas[todo] >> np.uint64(level.shift)) % np.uint64(level.entries)
            entries, known = self._entries(tables, index, depth)
            states[todo[~known]] = PageState.ABSENT
            todo, entries = todo[known], entries[known]
            last = depth == len(self.paging.levels) - 1
            frame, state, large = self._decode(entries, level, last)
            final = large | last | ~_resident(state)
            done = todo[final]
            states[done] = state[final]
            within = np.where(large, np.uint64((1 << level.shift) - 1), np.uint64(self.page_size - 1))[final]
            # A table that is out: what it says of its pages is unknown.
            states[done[(state[final] == PageState.PAGEFILE) & (not last)]] = PageState.ABSENT
            address = frame[final] | (vas[done] & within)
            pas[done] = np.where(self._placed(states[done]), address, np.uint64(0))
            todo, tables = todo[~final], frame[~final]
            if not len(todo):
                break
        return pas, states

    def _entries(self, tables: U64, index: U64, depth: int) -> tuple[U64, Mask]:
        """Page table entries at ``tables[i] + index[i]`` and which of them the image holds."""
        if depth == 0 and len(self._roots):
            return self._roots[index.astype(np.intp)], np.ones(len(index), np.bool_)
        pas = tables + index * np.uint64(self.paging.entry_size)
        pfns, inverse = np.unique((pas >> self._shift).astype(np.int64), return_inverse=True)
        rows, present = self.physical.pages(pfns)
        within = pas & np.uint64(self.page_size - 1)
        column = (within // np.uint64(self.paging.entry_size)).astype(np.intp)
        return rows.view(self._entry)[inverse, column].astype(np.uint64), present[inverse]

    def _decode(self, entries: U64, level: Level, last: bool) -> tuple[U64, U8, Mask]:
        """Frame address, state and large flag of each entry of one level."""
        mode = self.paging
        valid = (entries & np.uint64(VALID)) != 0
        large = valid & ((entries & np.uint64(mode.large_bit)) != 0) & (not last and level.large)
        software = np.uint64(mode.transition_bit | mode.prototype_bit)
        transition = ~valid & ((entries & software) == mode.transition_bit)
        frame = np.where(
            transition, entries & np.uint64(mode.transition_mask), entries & np.uint64(mode.frame_mask)
        )
        if level.large:
            frame = np.where(large, self._large_frame(entries, level), frame)
        state = np.full(len(entries), PageState.PAGEFILE, np.uint8)
        nowhere = entries >> np.uint64(mode.pagefile_shift) == 0
        state[nowhere & ((entries & np.uint64(mode.file_bits)) == 0)] = PageState.DEMAND_ZERO
        state[(entries & np.uint64(mode.prototype_bit)) != 0] = PageState.PROTOTYPE
        state[transition] = PageState.TRANSITION
        state[valid] = PageState.VALID
        state[entries == 0] = PageState.NONE
        if self._beside:
            frame = np.where(state == PageState.PAGEFILE, self._page_file_address(entries), frame)
        return frame, state, large

    def _page_file_address(self, entries: U64) -> U64:
        """Addresses of pages by PageFileLow and PageFileHigh of entries that are not valid."""
        mode = self.paging
        low = mode.file_bits & -mode.file_bits
        number = (entries & np.uint64(mode.file_bits)) // np.uint64(low)
        offset = entries >> np.uint64(mode.pagefile_shift)
        frame = np.uint64(PAGE_FILE_FRAMES) + (number << np.uint64(PAGE_FILE_BITS)) + offset
        return frame << self._shift

    def _placed(self, states: U8) -> Mask:
        """Pages that have a place: a frame of RAM, or one of a page file beside the image."""
        placed = _resident(states)
        return placed | (states == PageState.PAGEFILE) if self._beside else placed

    def _large_frame(self, entries: U64, level: Level) -> U64:
        frame = entries & np.uint64(self.paging.frame_mask & ~((1 << level.shift) - 1))
        if self.paging.entry_size == 4:
            # PSE-36: bits 13 to 20 of a 4 MB entry are address bits 32 to 39.
            frame |= ((entries >> np.uint64(13)) & np.uint64(0xFF)) << np.uint64(32)
        return frame

    # -- enumeration ----------------------------------------------------------------------------

    def pages_in(self, start: int, end: int) -> PageSet:
        """See :class:`VirtualMemory`. A page table met a second time in one walk is not followed
        again: real ones are unique, and tables that loop would never end."""
        start = start & self.paging.va_mask & ~(self.page_size - 1)
        end = min(end, self.paging.va_mask + 1)
        parts: list[tuple[U64, I64, U8]] = []
        tables, bases = np.array([self.dtb], np.uint64), np.zeros(1, np.uint64)
        looped = 0
        for depth, level in enumerate(self.paging.levels):
            vas, entries = self._table_slice(tables, bases, level, depth, start, end, parts)
            last = depth == len(self.paging.levels) - 1
            frame, state, large = self._decode(entries, level, last)
            leaf = (large | last | ~_resident(state)) & (state != PageState.NONE)
            parts.append(self._leaves(vas[leaf], frame[leaf], state[leaf], level, start, end))
            down = _resident(state) & ~leaf
            tables, first = np.unique(frame[down], return_index=True)
            looped += int(down.sum()) - len(tables)
            bases = vas[down][first]
            if not len(tables):
                break
        return _merge(parts, looped)

    def _table_slice(
        self,
        tables: U64,
        bases: U64,
        level: Level,
        depth: int,
        start: int,
        end: int,
        parts: list[tuple[U64, I64, U8]],
    ) -> tuple[U64, U64]:
        """Addresses and entries of these tables that lie in the range; absent tables go to parts."""
        span = np.uint64(1 << level.shift)
        if depth == 0:
            low, high = self._root_range(level, start, end)
            index = np.arange(low, high, dtype=np.uint64)
            vas = self._canonical(index * span)
            entries, known = self._entries(np.full(len(index), tables[0], np.uint64), index, 0)
            parts.append(self._lost(vas[~known], level, start, end))
            return vas[known], entries[known]
        slices = []
        for at in range(0, len(tables), _TABLES_AT_ONCE):
            some = slice(at, at + _TABLES_AT_ONCE)
            pfns = (tables[some] >> self._shift).astype(np.int64)
            rows, present = scattered_pages(self.physical, pfns)
            lost = Level(level.shift + level.entries.bit_length() - 1, level.entries, False)
            parts.append(self._lost(bases[some][~present], lost, start, end))
            entries = rows[present].view(self._entry).reshape(-1)
            vas = (bases[some][present][:, None] + np.arange(level.entries, dtype=np.uint64) * span).reshape(
                -1
            )
            # Compare the last byte of each span: the end of the address space overflows 64 bits.
            inside = (vas + (span - np.uint64(1)) >= np.uint64(start)) & (vas <= np.uint64(end - 1))
            inside &= entries != 0
            slices.append((vas[inside], entries[inside].astype(np.uint64)))
        return np.concatenate([s[0] for s in slices]), np.concatenate([s[1] for s in slices])

    def _lost(self, vas: U64, level: Level, start: int, end: int) -> tuple[U64, I64, U8]:
        return _absent(vas, level, start, end, self.paging.page_shift)

    def _root_range(self, level: Level, start: int, end: int) -> tuple[int, int]:
        mask = level.entries - 1
        return (start >> level.shift) & mask, (((end - 1) >> level.shift) & mask) + 1

    def _canonical(self, vas: U64) -> U64:
        if self.pointer_size == 4:
            return vas
        return np.where(vas >= np.uint64(1 << 47), vas | np.uint64(0xFFFF_0000_0000_0000), vas)

    def _leaves(
        self, vas: U64, frame: U64, state: U8, level: Level, start: int, end: int
    ) -> tuple[U64, I64, U8]:
        """Pages of final entries; large pages are cut into small ones, empty spans left out."""
        pages = 1 << (level.shift - self.paging.page_shift)
        if pages > 1:
            # A span whose table is itself paged out: its pages are unknown, one mark stands for it.
            keep = state == PageState.VALID
            keep &= np.cumsum(keep) * pages <= _MOST_BY_LARGE
            lost = self._lost(vas[~keep & (state != PageState.DEMAND_ZERO)], level, start, end)
            if not bool(keep.any()):
                return lost
            step = np.arange(pages, dtype=np.uint64) * np.uint64(self.page_size)
            frame = (frame[keep][:, None] + step).reshape(-1)
            vas = (vas[keep][:, None] + step).reshape(-1)
            state = np.full(len(vas), PageState.VALID, np.uint8)
            inside = (vas >= np.uint64(start)) & (vas <= np.uint64(end - 1))
            vas, frame, state = vas[inside], frame[inside], state[inside]
            pfn = (frame >> self._shift).astype(np.int64)
            return (
                np.concatenate([vas, lost[0]]),
                np.concatenate([pfn, lost[1]]),
                np.concatenate([state, lost[2]]),
            )
        pfn = np.where(self._placed(state), (frame >> self._shift).astype(np.int64), np.int64(-1))
        return vas, pfn, state


_TABLES_AT_ONCE = 2048
"""Page tables gathered at a time (8 MB): a walk's memory stays bounded whatever the tables say."""


_MOST_BY_LARGE = 1 << 24
"""Pages that the large pages of one range are cut into; what lying tables map beyond that is unknown."""


def _resident(states: U8) -> Mask:
    resident: Mask = (states == PageState.VALID) | (states == PageState.TRANSITION)
    return resident


_ABSENT_LIMIT = 1 << 16


def _absent(vas: U64, level: Level, start: int, end: int, page_shift: int) -> tuple[U64, I64, U8]:
    """ABSENT marks for spans without a readable table: one per page of the range, thinned when there
    are more than 65,536, but never fewer than one for a span."""
    low = np.maximum(vas, np.uint64(start))
    high = np.minimum(vas + np.uint64((1 << level.shift) - 1), np.uint64(end - 1))
    low, high = low[low <= high], high[low <= high]
    pages = ((high - low) >> np.uint64(page_shift)).astype(np.int64) + 1
    step = max(1, int(pages.sum()) // _ABSENT_LIMIT)
    counts = -(-pages // step)
    ordinal = np.arange(int(counts.sum()), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
    marks = np.repeat(low, counts) + (ordinal * step << page_shift).astype(np.uint64)
    return marks, np.full(len(marks), -1, np.int64), np.full(len(marks), PageState.ABSENT, np.uint8)


def _merge(parts: list[tuple[U64, I64, U8]], looped: int) -> PageSet:
    va, pfn, state = (np.concatenate([part[i] for part in parts]) for i in range(3))
    order = np.argsort(va, kind="stable")
    return PageSet(va[order], pfn[order], state[order], looped)
