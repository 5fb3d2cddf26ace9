"""Find the kernel of an Itanium dump: by the header's claims, or by the kernel's image in memory.

KernBase must lead to a PE image for Itanium (machine 0x200). The image lies in the KSEG0 window, whose
physical address the facts expect to be 0; where it is not, the image is searched for, and the
difference is the window's address. Witness: facts/ia64.md 1, 2, 3 and 5 ([WD] and [INF]).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product
from typing import NamedTuple

import numpy as np

from dumpscan.errors import AbsentMemory, KernelNotFound, MemoryFault
from dumpscan.image.opened import Hints
from dumpscan.image.physical import I64, U8, PhysicalMemory, filled_runs
from dumpscan.kernel import c_kdbg, find, kdbg, machine
from dumpscan.kernel.find import Located, Progress
from dumpscan.kernel.kdbg import Kdbg
from dumpscan.memory import dtb
from dumpscan.memory.c_pte import IA64, VALID
from dumpscan.memory.ia64 import KSEG0, KSEG0_SIZE, Ia64Memory

EXPERIMENTAL = (
    "IA64, experimental: read the way Microsoft's debugger reads such dumps, never compared with a real one"
)
MACHINE = 0x200
_CHUNK = 1024
"""Pages per scan step: 8 MB."""
_SMALLEST_KERNEL, _LARGEST_IMAGE = 2 << 20, 64 << 20
"""The article's kernel has 9.5 MB; drivers are smaller."""
_LARGEST_HEADER = 0x1000
_MOST, _MOST_ROOTS = 256, 4096
"""Bounds of the look-alikes that a scan keeps: a machine has few images and blocks, and a root a process."""
_MOST_ATTEMPTS = 2048


class _Image(NamedTuple):
    """A PE image for Itanium: physical address of its first page, SizeOfImage."""

    pa: int
    size: int


def locate(physical: PhysicalMemory, hints: Hints, progress: Progress | None = None) -> Located:
    """The kernel in ``physical`` (8 KB pages). :raises KernelNotFound: none that passes the checks."""
    claimed = [root for root in hints.dtbs if _is_there(physical, root)]
    doubtful = None
    for memory in (Ia64Memory(physical, root) for root in claimed):
        block = _checked(memory, hints.kdbg) if hints.kdbg else None
        doubts = _doubts(memory)
        if block and not doubts:
            return Located(memory, block, "dump header", (EXPERIMENTAL,))
        if block and doubtful is None:
            # The direct window shows the kernel whatever the root is.
            doubtful = Located(memory, block, "dump header", (EXPERIMENTAL, *doubts))
    scan = _Scan(physical)
    scan.run(progress)
    found = scan.found(claimed)
    if doubtful and (found is None or found.memory.dtb == doubtful.memory.dtb):
        return doubtful
    if found is None:
        raise KernelNotFound(scan.explain(claimed, hints))
    return found


def _doubts(memory: Ia64Memory) -> tuple[str, ...]:
    """What speaks against a root: only that of the kernel's region leads to the shared user page."""
    if machine.read_shared_data(memory):
        return ()
    return (f"page tables doubtful: root {memory.dtb:#x} does not lead to the shared user page",)


def _is_there(physical: PhysicalMemory, root: int) -> bool:
    return bool(physical.present(np.array([root >> IA64.page_shift]))[0])


def _checked(memory: Ia64Memory, va: int) -> Kdbg | None:
    """The block at ``va``, if its KernBase shows an image for Itanium and its module list links back."""
    try:
        block = kdbg.read_kdbg(memory, va)
        find.verify_block(memory, block)
    except MemoryFault:
        return None
    return block if find.pe_machine(memory, block.kern_base) == MACHINE else None


class _Scan:
    """One pass over physical memory that collects root tables, kernel images and debugger blocks."""

    def __init__(self, physical: PhysicalMemory) -> None:
        self.physical = physical
        self.roots: list[int] = []
        self.images: list[_Image] = []
        self.hits: list[int] = []

    def run(self, progress: Progress | None) -> None:
        scratch = np.empty((_CHUNK, self.physical.page_size), np.uint8)
        total = int(filled_runs(self.physical).page_count.sum())
        done = 0
        for pfns in dtb.chunks(self.physical, _CHUNK):
            rows, present = self.physical.pages(pfns, scratch)
            rows, pfns = rows[present], pfns[present]
            self.roots.extend(islice(_self_mapped(rows, pfns), _MOST_ROOTS - len(self.roots)))
            self.images.extend(islice(_images(rows, pfns), _MOST - len(self.images)))
            self.hits.extend(islice(kdbg.find_in(rows, pfns), _MOST - len(self.hits)))
            done += len(pfns)
            if progress:
                progress("searching for the kernel", done, total)

    def found(self, claimed: list[int]) -> Located | None:
        """The first root, image and block that belong together."""
        # Every process has tables that map themselves.
        good = [root for root in (*claimed, *self.roots) if not _doubts(Ia64Memory(self.physical, root))]
        pairs = [
            (hit, image)
            for hit, image in product(self.hits, self.images)
            if image.pa <= hit < image.pa + image.size
        ]
        for root, (hit, image) in islice(product((*good, *claimed), pairs), _MOST_ATTEMPTS):
            found = self._combine(root, hit, image)
            if found:
                return found
        return None

    def _combine(self, root: int, hit: int, image: _Image) -> Located | None:
        try:
            base = int.from_bytes(self.physical.read(hit + c_kdbg.KERN_BASE, 8), "little")
        except AbsentMemory:
            return None
        direct = KSEG0 <= base < KSEG0 + KSEG0_SIZE
        start = image.pa - (base - KSEG0) if direct else 0
        if start < 0:
            return None
        memory = Ia64Memory(self.physical, root, start)
        block = _checked(memory, base + hit - image.pa)
        moved = (f"KSEG0 begins at physical address {start:#x}, by the kernel's image",) if start else ()
        notes = (EXPERIMENTAL, *moved, *_doubts(memory))
        return Located(memory, block, "KDBG scan", notes) if block else None

    def explain(self, claimed: list[int], hints: Hints) -> str:
        """One line that says what was missing."""
        if not claimed and not self.roots:
            said = f"{hints.dtbs[0]:#x}, which is not in the image" if hints.dtbs else "0 or not given"
            return (
                f"Itanium: DirectoryTableBase is {said}, and no page table maps itself; without the root "
                "of the kernel's page tables nothing can be translated"
            )
        if not self.images:
            return (
                "Itanium: no kernel image (MZ, machine 0x200) where KernBase points or anywhere else in "
                "memory; the image is damaged or of another system"
            )
        return (
            f"Itanium: {len(self.hits)} KDBG block(s) and {len(self.images)} image(s) for machine 0x200, but "
            "none of the blocks names one of the images as kernel; the image is torn or incomplete"
        )


def _self_mapped(rows: U8, pfns: I64) -> Iterator[int]:
    """Addresses of pages with a valid entry that names the page itself (facts/ia64.md 3, [INF])."""
    entries = rows.view("<u8")
    own = (pfns << IA64.page_shift).astype(np.uint64)
    valid = (entries & np.uint64(VALID)) != 0
    hit = (valid & ((entries & np.uint64(IA64.frame_mask)) == own[:, None])).any(axis=1)
    yield from own[hit].tolist()


def _images(rows: U8, pfns: I64) -> Iterator[_Image]:
    """Pages that begin with the headers of a PE image for Itanium, as large as a kernel."""
    for at in np.flatnonzero((rows[:, 0] == ord("M")) & (rows[:, 1] == ord("Z"))).tolist():
        pe = int.from_bytes(rows[at, 0x3C:0x40].tobytes(), "little")
        head = rows[at, pe : pe + 0x54].tobytes() if pe < _LARGEST_HEADER else b""
        if head[:6] == b"PE\0\0" + MACHINE.to_bytes(2, "little"):
            size = int.from_bytes(head[0x50:0x54], "little")
            if _SMALLEST_KERNEL <= size <= _LARGEST_IMAGE:
                yield _Image(int(pfns[at]) << IA64.page_shift, size)
