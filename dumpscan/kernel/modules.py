"""Loaded drivers (PsLoadedModuleList) and the ring of unloaded ones (MmUnloadedDrivers).

Traps: MmLastUnloadedDriver is the index where the *next* entry goes and wraps at 50, so it is no
count; an unused slot (Name.Buffer 0) may stand in the middle of the ring; names of unloaded
drivers carry no terminator. Witness: facts/kernel-location.md section 3.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from dumpscan.errors import AbsentMemory
from dumpscan.kernel.kernel import Kernel
from dumpscan.kernel.layouts import Layout
from dumpscan.kernel.times import filetime_text
from dumpscan.memory.virtual import VirtualMemory
from dumpscan.model import Drivers, Module, Unload, Unloads
from dumpscan.records import record

RING = 50
"""Entries of the MmUnloadedDrivers array [1S] WRK mm/mi.h; Windows 10 code still compares with 50."""

_MOST_MODULES = 2048
_LONGEST_NAME = 1024
_TOTAL_LIMIT = 10**8


@record
class Unloaded:
    """One entry of the ring; ``time`` is a FILETIME."""

    slot: int
    name: str
    start: int
    end: int
    time: int


def loaded_modules(memory: VirtualMemory, head: int, layout: Layout) -> tuple[tuple[Module, ...], bool]:
    """Modules in load order, and whether the list came back to its head: these are then all."""
    found: list[Module] = []
    seen: set[int] = {head}
    fields = dict(layout.ldr_fields)
    entry = _pointer(memory, head)
    while entry and entry not in seen and len(found) < _MOST_MODULES:
        seen.add(entry)
        module = _module(memory, entry, fields)
        if module is None:
            break
        found.append(module)
        entry = _pointer(memory, entry)
    return tuple(found), entry == head


def first_module_path(memory: VirtualMemory, head: int, layout: Layout) -> str | None:
    """Full path of the first loaded module, the kernel itself; None when it is absent."""
    entry = _pointer(memory, head)
    return unicode_string(memory, entry + dict(layout.ldr_fields)["full_name"]) if entry else None


def _pointer(memory: VirtualMemory, va: int) -> int:
    try:
        return memory.pointer(va)
    except AbsentMemory:
        return 0


def _module(memory: VirtualMemory, entry: int, fields: dict[str, int]) -> Module | None:
    try:
        base = memory.pointer(entry + fields["dll_base"])
        size = memory.u32(entry + fields["size_of_image"])
    except AbsentMemory:
        return None
    name = unicode_string(memory, entry + fields["base_name"]) or "?"
    return Module(name, hex(base), size, unicode_string(memory, entry + fields["full_name"]))


def unicode_string(memory: VirtualMemory, va: int) -> str | None:
    """Text of the UNICODE_STRING at ``va``; None when it is empty, absent or absurd."""
    try:
        length = int.from_bytes(memory.read(va, 2), "little")
        buffer = memory.pointer(va + memory.pointer_size)
        if not length or length > _LONGEST_NAME or length % 2 or not buffer:
            return None
        return memory.read(buffer, length).decode("utf-16-le", "replace")
    except AbsentMemory:
        return None


@record
class Ring:
    """The ring of unloaded drivers: ``entries`` oldest first by time, ``used`` slots, more where names
    could not be kept. ``complete``: it never wrapped, and no slot is skipped or absent."""

    entries: tuple[Unloaded, ...] = ()
    used: int = 0
    complete: bool = True


def unloaded_ring(kernel: Kernel) -> Ring | None:
    """The ring; empty before the first unload, None when unknown."""
    layout = kernel.layout
    table = kernel.value("MmUnloadedDrivers")
    if layout is None or table is None:
        return None
    if table == 0:
        return Ring()
    data, known = kernel.memory.read_masked(table, layout.unloaded_size * RING)
    rows, whole = data.reshape(RING, -1), known.reshape(RING, -1).all(axis=1)
    if not bool(whole.any()):
        return None
    slots = [_unloaded(kernel, layout, table, slot, rows[slot]) for slot in np.flatnonzero(whole).tolist()]
    entries = tuple(sorted((e for e in slots if e), key=lambda e: (e.time, e.slot)))
    # A skipped slot keeps what else was in it; on the first round that is nothing, but the index moves on.
    used = max(int(rows[whole].any(axis=1).sum()), min(kernel.value("MmLastUnloadedDriver", 4) or 0, RING))
    return Ring(entries, used, bool(whole.all()) and len(entries) == used < RING)


def _unloaded(
    kernel: Kernel, layout: Layout, table: int, slot: int, row: np.ndarray[tuple[int], np.dtype[np.uint8]]
) -> Unloaded | None:
    fields, width = dict(layout.unloaded_fields), kernel.memory.pointer_size

    def number(field: str, size: int) -> int:
        return int.from_bytes(row[fields[field] : fields[field] + size].tobytes(), "little")

    buffer_at = fields["name"] + width
    if not any(row[buffer_at : buffer_at + width]):
        return None  # Name.Buffer 0: never used, or skipped because the name could not be allocated.
    name = unicode_string(kernel.memory, table + slot * layout.unloaded_size + fields["name"])
    return Unloaded(slot, name or "?", number("start", width), number("end", width), number("time", 8))


def total_unloads(kernel: Kernel, used_entries: int | None) -> int | None:
    """MiTotalUnloads: by symbol, else four bytes below MmLastUnloadedDriver where that is plausible.

    ``used_entries``: slots of the ring that were ever used.
    """
    address = _total_address(kernel)
    value = None if address is None else kernel.read_int(address, 4)
    if value is None or used_entries is None or not used_entries <= value < _TOTAL_LIMIT:
        return None
    verified = "MiTotalUnloads" in kernel.symbols or (kernel.layout and kernel.layout.name.startswith("5.1"))
    # Elsewhere the neighbour is unverified: before the ring is full it has to equal the entries.
    return value if verified or used_entries == RING or value == used_entries > 0 else None


def _total_address(kernel: Kernel) -> int | None:
    found = kernel.symbols.get("MiTotalUnloads")
    distance = kernel.layout.total_unloads_distance if kernel.layout else None
    last = kernel.address("MmLastUnloadedDriver")
    if found is None and distance is not None and last is not None:
        return last + distance
    return found


def places(kernel: Kernel, known: Drivers) -> dict[str, str]:
    """Where the figures of ``known`` were read: of ``unloads`` (the total, if believed) and the ``ring``."""
    ring = kernel.value("MmUnloadedDrivers")
    found = {"ring": f"MmUnloadedDrivers at {ring:#x}"} if ring else {}
    total = _total_address(kernel)
    if total is not None and known.unloads_total is not None:
        found["unloads"] = f"MiTotalUnloads at {total:#x}"
    return found


def drivers(kernel: Kernel) -> Drivers:
    """Everything known about drivers that are loaded or were."""
    head = kernel.address("PsLoadedModuleList")
    loaded: tuple[Module, ...] = ()
    whole: bool | None = None
    if head and kernel.layout:
        loaded, whole = loaded_modules(kernel.memory, head, kernel.layout)
    ring = unloaded_ring(kernel)
    if ring is None:
        return Drivers(loaded=loaded, loaded_complete=whole)
    return Drivers(
        unloads_total=total_unloads(kernel, ring.used),
        recent=group(ring.entries),
        loaded=loaded,
        ring_entries=len(ring.entries),
        timeline=tuple(Unload(entry.name, filetime_text(entry.time)) for entry in ring.entries),
        loaded_complete=whole,
        ring_complete=ring.complete,
    )


def group(ring: tuple[Unloaded, ...]) -> tuple[Unloads, ...]:
    """Repeated names counted, most frequent first; names differ in case only are one driver."""
    times: defaultdict[str, list[int]] = defaultdict(list)
    spelling: dict[str, str] = {}
    for entry in ring:
        key = entry.name.lower()
        times[key].append(entry.time)
        spelling.setdefault(key, entry.name)
    rows = [
        Unloads(spelling[key], len(at), filetime_text(min(at)), filetime_text(max(at)))
        for key, at in times.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.count, row.name)))
