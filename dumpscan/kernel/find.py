"""Find the kernel: by what a header claims, by the processor's control region, by a scan.

A claim counts only when the address space's self-map holds, KernBase leads to a PE image of the
right machine and the loaded module list links back. Reads a handful of pages when the header is
right; a raw image costs one pass over physical memory at most. Witness: facts/kernel-location.md
sections 1 and 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np

from dumpscan.errors import AbsentMemory, KernelNotFound, MemoryFault, WrongMemory
from dumpscan.image.opened import Hints
from dumpscan.image.physical import PhysicalMemory, filled_runs
from dumpscan.kernel import c_kdbg, kdbg, search
from dumpscan.kernel.around import block_around
from dumpscan.kernel.kdbg import Kdbg
from dumpscan.memory import dtb
from dumpscan.memory.c_pte import PAE, X64, X86, PageState, Paging
from dumpscan.memory.virtual import PAGE, PagedMemory
from dumpscan.records import record

Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total) by passes that may take longer than a second."""

_MACHINES = {0x14C: "x86", 0x8664: "x64", 0x200: "ia64"}
_ATTEMPT_EVERY = 16
"""Scan steps (of 8 MB) between attempts to put hits together."""
_LARGEST_IMAGE = 32 << 20
_MOST_SPACES = 512
_MOST_HITS = 4096
_MOST_ATTEMPTS = 2048
_MOST_IMAGE_SEARCHES = 8
"""Bounds of a scan: a hostile image may be full of look-alikes. A machine has one page directory a
process, and a handful of block copies."""


IMAGE_SCAN = "image scan"


@record
class Located:
    """A verified address space and debugger block. ``how`` says which way led there."""

    memory: PagedMemory
    kdbg: Kdbg
    how: str
    notes: tuple[str, ...] = ()


def locate(physical: PhysicalMemory, hints: Hints, progress: Progress | None = None) -> Located:
    """The kernel in ``physical``. :raises KernelNotFound: none that passes the checks."""
    spaces = list(claimed_spaces(physical, hints))
    for memory in spaces:
        found = _by_claim(memory, hints)
        if found:
            return found
    for memory in spaces if (hints.build or 0) >= c_kdbg.FIRST_ENCODED else ():
        found = _without_block(memory, hints)
        if found:
            return found
    scan = _Scan(physical, spaces)
    found = scan.run(progress) or scan.without_block(hints, progress)
    if found:
        return found
    raise KernelNotFound(scan.explain())


def claimed_spaces(physical: PhysicalMemory, hints: Hints) -> Iterator[PagedMemory]:
    """Address spaces that the header claims and the self-map confirms. PaeEnabled is only a hint."""
    for base in hints.dtbs:
        for mode in _modes(hints):
            settled = dtb.settle(physical, mode, base)
            if settled is not None:
                yield PagedMemory(physical, settled, base)
                break


def _modes(hints: Hints) -> tuple[Paging, ...]:
    if hints.arch == "x64":
        return (X64,)
    both = (X86, PAE) if hints.pae is False else (PAE, X86)
    return both if hints.arch == "x86" else (*both, X64)


def _by_claim(memory: PagedMemory, hints: Hints) -> Located | None:
    block = _checked_block(memory, hints.kdbg) if hints.kdbg else None
    if block:
        return Located(memory, block, "dump header")
    va = kdbg.via_kpcr(memory, c_kdbg.KPCR_XP) if memory.paging.arch == "x86" else None
    block = _checked_block(memory, va) if va else None
    if block:
        return Located(memory, block, "KPCR")
    block = block_around(memory, hints.code, _checked_block) if hints.code else None
    return Located(memory, block, "saved processor state") if block else None


def _without_block(memory: PagedMemory, hints: Hints) -> Located | None:
    """The kernel whose debugger block cannot be read: by the module list that the header names, or by
    its image."""
    if memory.paging.arch != "x64":
        return None
    head = hints.ps_loaded_module_list
    base = search.by_modules(memory, head) if head else None
    if head and base:
        return Located(memory, search.without_block(base, {"PsLoadedModuleList": head}), "module list")
    base = search.in_space(memory)
    return Located(memory, search.without_block(base), IMAGE_SCAN) if base else None


def _checked_block(memory: PagedMemory, va: int) -> Kdbg | None:
    try:
        block = kdbg.read_kdbg(memory, va & memory.paging.va_mask)
        verify_block(memory, block)
    except MemoryFault:
        return None
    return block


def verify_block(memory: PagedMemory, block: Kdbg) -> None:
    """Check a block against memory. :raises WrongMemory: a check fails. Absent pages do not fail."""
    base = block.kern_base
    if base % PAGE or base < memory.paging.kernel_start:
        raise WrongMemory(f"KDBG at {block.va:#x} names {base:#x} as kernel base")
    machine = pe_machine(memory, base)
    if machine is not None and _MACHINES.get(machine) != memory.paging.arch:
        raise WrongMemory(f"no {memory.paging.arch} image at kernel base {base:#x}")
    head = block.addresses.get("PsLoadedModuleList", 0)
    if machine is None and not _list_links_back(memory, head):
        raise WrongMemory(f"neither kernel base {base:#x} nor the module list {head:#x} is in the image")
    if _list_links_back(memory, head) is False:
        raise WrongMemory(f"the module list at {head:#x} does not link back")


def pe_machine(memory: PagedMemory, base: int) -> int | None:
    """Machine field of the PE image at ``base``; 0 when there is none, None when absent."""
    try:
        if memory.read(base, 2) != b"MZ":
            return 0
        pe = base + memory.u32(base + 0x3C)
        header = memory.read(pe, 6)
    except AbsentMemory:
        return None
    return int.from_bytes(header[4:6], "little") if header[:4] == b"PE\0\0" else 0


def _list_links_back(memory: PagedMemory, head: int) -> bool | None:
    """Does head.Flink.Blink name head? None when one of the two is absent."""
    try:
        first = memory.pointer(head)
        return memory.pointer(first + memory.pointer_size) == head
    except AbsentMemory:
        return None


class _Scan:
    """One pass over physical memory that collects page tables and debugger blocks."""

    def __init__(self, physical: PhysicalMemory, spaces: Iterable[PagedMemory]) -> None:
        self.physical = physical
        self.spaces = list(spaces)
        self.known = len(self.spaces)
        self.hits: list[int] = []
        self.tried: set[tuple[int, int]] = set()

    def run(self, progress: Progress | None) -> Located | None:
        scratch = np.empty((dtb.CHUNK, PAGE), np.uint8)
        total = int(filled_runs(self.physical).page_count.sum())
        done = 0
        for step, pfns in enumerate(dtb.chunks(self.physical)):
            rows, present = self.physical.pages(pfns, scratch)
            self._collect(rows if bool(present.all()) else rows[present], pfns[present])
            done += len(pfns)
            if step % _ATTEMPT_EVERY == 0:
                found = self._attempt()
                if found:
                    return found
                if progress:
                    progress("searching for the kernel", done, total)
        return self._attempt()

    def without_block(self, hints: Hints, progress: Progress | None) -> Located | None:
        """The kernel by its image, once the pass is over; then by root tables that map themselves
        elsewhere, where no x64 one was found at the fixed place. (In gigabytes of memory some page looks
        like an x86 page directory.)"""
        spaces = [memory for memory in self.spaces if memory.paging.arch == "x64"]
        for memory in spaces[:_MOST_IMAGE_SEARCHES]:
            found = _without_block(memory, hints)
            if found:
                return found
        if spaces:
            return None
        for memory in islice(search.moved_spaces(self.physical, progress), _MOST_IMAGE_SEARCHES):
            self.spaces.append(memory)
            found = self._attempt() or _without_block(memory, hints)
            if found:
                return found
        return None

    def _collect(
        self,
        rows: np.ndarray[tuple[int, int], np.dtype[np.uint8]],
        pfns: np.ndarray[tuple[int], np.dtype[np.int64]],
    ) -> None:
        if not self.known and len(self.spaces) < _MOST_SPACES:
            room = _MOST_SPACES - len(self.spaces)
            self.spaces.extend(c.open(self.physical) for c in islice(dtb.find_in(rows, pfns), room))
        self.hits.extend(islice(kdbg.find_in(rows, pfns), _MOST_HITS - len(self.hits)))

    def _attempt(self) -> Located | None:
        for hit in self.hits:
            for number, memory in enumerate(self.spaces):
                if (hit, number) in self.tried:
                    continue
                if len(self.tried) >= _MOST_ATTEMPTS:
                    return None
                self.tried.add((hit, number))
                found = self._combine(hit, memory)
                if found:
                    return found
        return None

    def _combine(self, hit: int, memory: PagedMemory) -> Located | None:
        try:
            raw = self.physical.read(hit, c_kdbg.SIZE_OFFSET + 12)
            base = (
                int.from_bytes(raw[c_kdbg.KERN_BASE : c_kdbg.KERN_BASE + 8], "little") & memory.paging.va_mask
            )
        except AbsentMemory:
            return None
        if base % PAGE or base < memory.paging.kernel_start:
            return None
        va = _address_of(memory, hit, base)
        block = _checked_block(memory, va) if va else None
        return Located(memory, block, "KDBG scan") if block else None

    def explain(self) -> str:
        """One line that says what was missing."""
        if any(_is_itanium(self.physical, hit) for hit in self.hits):
            return (
                "a kernel for Itanium: of this processor only crash dumps are read whose header says so "
                "(MachineImageType 0x200), because its pages have 8 KB"
            )
        if not self.spaces:
            return (
                "no Windows page tables in this memory (no page directory maps itself); "
                "the image may be of another system, encrypted or cut off"
            )
        if not self.hits:
            return (
                "page tables found, but no KDBG block and no image of an x64 Windows kernel: its pages "
                "are not in this file"
            )
        return (
            f"{len(self.hits)} KDBG block(s) found, the first at physical {self.hits[0]:#x}, "
            "but none belongs to a mapped kernel image; the image is torn or incomplete"
        )


def _is_itanium(physical: PhysicalMemory, hit: int) -> bool:
    """Does the block at physical ``hit`` name a kernel base in Itanium's KSEG0 (facts/ia64.md 2)?"""
    from dumpscan.memory.ia64 import KSEG0, KSEG0_SIZE

    try:
        base = int.from_bytes(physical.read(hit + c_kdbg.KERN_BASE, 8), "little")
    except AbsentMemory:
        return False
    return KSEG0 <= base < KSEG0 + KSEG0_SIZE


def _address_of(memory: PagedMemory, pa: int, base: int) -> int | None:
    """Virtual address of physical ``pa`` inside the kernel image at ``base``, or None."""
    pages = memory.pages_in(base, base + _image_size(memory, base)).where(
        PageState.VALID, PageState.TRANSITION
    )
    at = np.flatnonzero(pages.pfn == pa >> 12)
    return int(pages.va[at[0]]) + pa % PAGE if len(at) else None


def _image_size(memory: PagedMemory, base: int) -> int:
    """SizeOfImage of the PE header at ``base``; a generous bound when it is absent or absurd."""
    try:
        size = memory.u32(base + memory.u32(base + 0x3C) + 0x50)
    except AbsentMemory:
        return _LARGEST_IMAGE
    return size if PAGE <= size <= _LARGEST_IMAGE else _LARGEST_IMAGE
