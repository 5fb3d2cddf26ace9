"""Find the kernel without its debugger block: by the list of loaded modules, or by its own PE image.

Windows 8 and later keep the block encoded, and only Windows itself decodes it when it writes a crash
dump. What identifies the kernel then is the debug record of its image (the PDB's name); a symbol table
of that PDB gives the addresses that the block would. x64 only: no 32-bit kernel is found this way.
The trap of the area: other images lie there too, and first pages of drivers may be cut off or stale.
Witness: facts/kernel-location.md sections 1 (ways 3 and 4) and 8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

from dumpscan.errors import AbsentMemory
from dumpscan.image.physical import U64, PhysicalMemory, mapped_words
from dumpscan.kernel import c_builds
from dumpscan.kernel.kdbg import Kdbg
from dumpscan.kernel.peimage import read_headers, read_pdb
from dumpscan.memory import dtb
from dumpscan.memory.c_pte import LARGE, VALID
from dumpscan.memory.virtual import PAGE, PagedMemory, VirtualMemory

REGION = (0xFFFFF800_00000000, 0xFFFFF880_00000000)
"""Where x64 systems load the kernel and its boot drivers."""

_STEP = 1 << 30
_ROOT_SHIFT = 39
"""An entry of the root table covers 512 GB: the region."""
_MOST_PAGES = 1 << 22
"""Pages of the region that are looked at: 16 GB of mappings. The kernel lies low in it."""
_MOST_IMAGES = 512
"""Images that are looked into: a system has a few hundred drivers."""
_BATCH = 2048
_MZ = 0x5A4D
_DLL_BASE = 0x30
_AMD64 = 0x8664


def without_block(base: int, addresses: dict[str, int] | None = None) -> Kdbg:
    """What stands for the debugger block of a kernel at ``base`` where that cannot be read."""
    return Kdbg(va=0, size=0, kern_base=base, pae=False, addresses=addresses or {})


def by_modules(memory: VirtualMemory, head: int) -> int | None:
    """Base of the first module of the list at ``head``, if that is a kernel and the list links back."""
    try:
        first = memory.pointer(head)
        if memory.pointer(first + memory.pointer_size) != head:
            return None
        base = memory.pointer(first + _DLL_BASE)
    except AbsentMemory:
        return None
    return base if is_kernel(memory, base) else None


def is_kernel(memory: VirtualMemory, base: int) -> bool:
    """Is there an x64 PE image at ``base`` whose PDB is a kernel's?"""
    headers = read_headers(memory, base) if base % PAGE == 0 else None
    if headers is None or headers.machine != _AMD64 or not any(headers.directories[6]):
        return False
    pdb = read_pdb(memory, base, headers)
    return pdb is not None and pdb.name.lower().rsplit(".", 1)[0] in c_builds.MULTIPROCESSOR


def in_space(memory: VirtualMemory) -> int | None:
    """Base of the kernel's image in an x64 address space, found by looking at every mapped page."""
    seen = images = 0
    for start in _mapped(memory):
        pages = memory.pages_in(start, start + _STEP)
        held = pages.pfn >= 0
        # Marks of pages whose tables are not in the image cost as much as pages.
        seen += len(held)
        for base in islice(_images(memory.physical, pages.va[held], pages.pfn[held]), _MOST_IMAGES - images):
            images += 1
            if is_kernel(memory, base):
                return base
        if seen > _MOST_PAGES or images == _MOST_IMAGES:
            break
    return None


def _mapped(memory: VirtualMemory) -> list[int]:
    """Where in the region a gigabyte begins of which something is mapped: it has one entry in the root,
    and most of the 512 in the table below are empty."""
    physical, table = memory.physical, memory.dtb + 8 * (REGION[0] >> _ROOT_SHIFT & 511)
    try:
        entry = int.from_bytes(physical.read(table, 8), "little")
        if not entry & VALID:
            return []
        entries = np.frombuffer(physical.read(entry & memory.paging.frame_mask, PAGE), "<u8")
    except AbsentMemory:
        return []
    frames = (entries & np.uint64(memory.paging.frame_mask)) >> np.uint64(memory.paging.page_shift)
    # Of a large page any part may be in the image; a table that is not leads nowhere.
    held = (entries & np.uint64(LARGE) != 0) | physical.present(frames.astype(np.int64))
    held &= entries & np.uint64(VALID) != 0
    return [REGION[0] + gigabyte * _STEP for gigabyte in np.flatnonzero(held).tolist()]


def _images(
    physical: PhysicalMemory, vas: U64, pfns: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> Iterator[int]:
    """Addresses of pages that begin as a PE image does."""
    for at in range(0, len(vas), _BATCH):
        some = pfns[at : at + _BATCH]
        found = mapped_words(physical, some)
        if found is not None:
            words = np.zeros(len(some), np.int64)
            words[found.present] = found.words.take(found.start[found.present])
        else:
            rows, _ = physical.pages(some)
            words = rows[:, :8].copy().view("<i8").reshape(-1)
        for i in np.flatnonzero(words & 0xFFFF == _MZ).tolist():
            yield int(vas[at + i])


def moved_spaces(
    physical: PhysicalMemory, progress: Callable[[str, int, int], None] | None = None
) -> Iterator[PagedMemory]:
    """Address spaces of x64 systems whose page tables are mapped at a random place. ``progress`` is
    called with a text, the pages done and their total."""
    scratch = np.empty((dtb.CHUNK, PAGE), np.uint8)
    done, total = 0, int(physical.runs().page_count.sum())
    for pfns in dtb.chunks(physical):
        if progress is not None:
            progress("searching for page tables at another place", done, total)
        done += len(pfns)
        rows, present = physical.pages(pfns, scratch)
        for candidate in dtb.find_moved(rows if bool(present.all()) else rows[present], pfns[present]):
            paging = dtb.settle(physical, candidate.paging, candidate.dtb)
            if paging is not None:
                yield PagedMemory(physical, paging, candidate.dtb)
