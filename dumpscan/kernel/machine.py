"""State of the machine when it was imaged: bug check, times, processors.

A crash header says it all; for snapshots the same figures are in the shared user page and in
KiBugcheckData. Witness: facts/kernel-location.md section 5, kdbg.json.
"""

from __future__ import annotations

import struct

from dumpscan.errors import AbsentMemory
from dumpscan.image.c_bugcheck import bugcheck_name
from dumpscan.image.opened import Hints
from dumpscan.kernel import c_shared
from dumpscan.kernel.times import filetime_text
from dumpscan.memory.virtual import VirtualMemory
from dumpscan.model import BugCheck, Machine
from dumpscan.records import record

MOST_PROCESSORS = {4: 32, 8: 64}
"""KiProcessorBlock holds one pointer for each processor an NT 5 or 6.0 kernel can have."""

_FIRST_WITH_GROUPS = 7600
MOST_IN_GROUPS = 2048
"""Windows 7 brought processor groups of 64; no version supports more than 2048 processors (Microsoft's
limits of Windows Server)."""


@record
class SharedData:
    """What the shared user page says; times in 100 ns units."""

    interrupt_time: int
    system_time: int
    product_type: int | None
    major: int
    minor: int
    build: int | None = None


def read_shared_data(memory: VirtualMemory) -> SharedData | None:
    """The shared user page, or None when it is absent or implausible."""
    try:
        page = memory.read(memory.paging.shared_user_data, c_shared.SIZE)
    except AbsentMemory:
        return None
    interrupt, system = (
        struct.unpack_from("<Q", page, at)[0] for at in (c_shared.INTERRUPT_TIME, c_shared.SYSTEM_TIME)
    )
    kind, valid, major, minor = struct.unpack_from("<IB3xII", page, c_shared.PRODUCT_TYPE)
    if not 3 <= major <= 10:
        return None
    build = int.from_bytes(page[c_shared.BUILD_NUMBER : c_shared.BUILD_NUMBER + 2], "little")
    known = kind if valid or kind in (1, 2, 3) else None
    return SharedData(interrupt, system, known, major, minor, build if major >= 10 else None)


def processor_count(memory: VirtualMemory, block: int | None, build: int | None = None) -> int | None:
    """Processors by the non-null head of KiProcessorBlock; None when it is absent.

    From 6.1 on (``build``) the array is longer, by how much depends on the version: where its first 64
    are all in use, those that follow count too.
    """
    if not block:
        return None
    width = memory.pointer_size
    most = MOST_PROCESSORS[width]
    try:
        table = memory.read(block, width * most)
        if (build or 0) >= _FIRST_WITH_GROUPS and int.from_bytes(table[-width:], "little"):
            most = MOST_IN_GROUPS
            table = memory.read(block, width * most)
    except AbsentMemory:
        return None
    pointers = struct.unpack(f"<{most}{'I' if width == 4 else 'Q'}", table)
    count = next(
        (i for i, pointer in enumerate(pointers) if pointer < memory.paging.kernel_start), len(pointers)
    )
    # Each processor has a block of its own: repeated pointers are something else (list heads, say).
    return count if count and len(set(pointers[:count])) == count else None


_GRANULARITY = 1 << 20
"""The boundary between user and system space lies at a multiple of this (/3GB and /USERVA [INF])."""


def system_start(memory: VirtualMemory, variable: int | None, base: int) -> int | None:
    """MmSystemRangeStart, None where it is absent or impossible. ``base``: the kernel, which lies above it.

    Witness: facts/kernel-location.md sections 5 and 6: 0x80000000, with /3GB 0xC0000000.
    """
    try:
        value = memory.pointer(variable) if variable else 0
    except AbsentMemory:
        return None
    possible = memory.paging.kernel_start <= value <= base and value % _GRANULARITY == 0
    return value if possible else None


def processor_notes(hints: Hints, counted: int | None) -> tuple[str, ...]:
    """What is wrong with the header's number of processors, held against KiProcessorBlock."""
    if counted is None or hints.processors in (None, 0, counted):
        return ()
    return (f"the header says {hints.processors} processors, KiProcessorBlock {counted}: trusted the latter",)


def read_machine(
    memory: VirtualMemory,
    hints: Hints,
    shared: SharedData | None,
    bugcheck_data: int | None,
    processors: int | None,
) -> Machine:
    """The header's word where it has one, memory's elsewhere; ``processors``: those in KiProcessorBlock."""
    system = hints.system_time or (shared.system_time if shared else 0)
    uptime = hints.uptime or (shared.interrupt_time if shared else 0)
    return Machine(
        bugcheck=hints.bugcheck or _bugcheck_in_memory(memory, bugcheck_data),
        system_time=filetime_text(system),
        uptime_seconds=uptime / 1e7 if uptime else None,
        processors=processors or hints.processors,
    )


def _bugcheck_in_memory(memory: VirtualMemory, address: int | None) -> BugCheck | None:
    """KiBugcheckData: code and four parameters, pointer-sized, zero while the machine runs."""
    if not address:
        return None
    width = memory.pointer_size
    try:
        words = struct.unpack("<5I" if width == 4 else "<5Q", memory.read(address, 5 * width))
    except AbsentMemory:
        return None
    if not 0 < words[0] < 1 << 32:
        return None
    return BugCheck(words[0], bugcheck_name(words[0]), tuple(hex(word) for word in words[1:]))
