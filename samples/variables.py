"""Values of the kernel's variables, once everything has its place.

Witness: facts/kernel-location.md sections 1, 3, 6 and 8; facts/pool-algorithms.md sections 1 and 8.
"""

from __future__ import annotations

import struct

import numpy as np

from .drivers import loader_entry, ring_bytes
from .kdbg import debugger_block, encoded, version_block
from .pe import checksum
from .pool_tables import build_big_table, build_tracker
from .processes import process_bytes, process_list
from .truth import tracker_rows
from .work import Work


def write_debugger(work: Work) -> None:
    """KDBG, version block, list head."""
    rvas, base = work.rvas, work.base
    head, block = work.address("KdpDebuggerDataListHead"), work.address("KdDebuggerDataBlock")
    data = debugger_block(work.build, base, rvas, head)
    if work.options.debugger_encoded:
        never, always = (int(n) for n in work.options.stream("wait").integers(1 << 62, 1 << 63, 2))
        work.set("KiWaitNever", never)
        work.set("KiWaitAlways", always)
        work.set("KdpDataBlockEncoded", 1, 1)
        data = encoded(data, never, always, work.address("KdpDataBlockEncoded"))
    work.poke(block, data)
    work.poke(work.address("KdVersionBlock"), version_block(work.build, base, rvas))
    pointer = work.layout.pointer
    work.poke(head, block.to_bytes(pointer, "little") * 2)


def write_version(work: Work) -> None:
    """Build number, service pack, global flags, processors, times."""
    profile, options = work.profile, work.options
    work.set("NtBuildNumber", 0xF0000000 | profile.build, 4)
    work.set("CmNtCSDVersion", profile.service_pack << 8, 4)
    text = profile.csd.encode("utf-16-le")
    work.poke(work.address("CmCSDVersionString"), (text + b"\0\0")[:0x40])
    work.set("NtGlobalFlag", 0x400 if profile.nt == "5.1" and options.tagging else 0, 4)
    work.set("KeNumberProcessors", options.processors, 1)
    work.set("KeTimeIncrement", 156250, 4)
    work.poke(work.address("KeBootTime"), struct.pack("<q", options.system_time - options.uptime_100ns))
    ticks = options.uptime_100ns // 156250
    work.poke(work.address("KeTickCount"), struct.pack("<III", ticks & 0xFFFFFFFF, ticks >> 32, ticks >> 32))
    work.set("PsNtosImageBase", work.base)
    if profile.arch.pointer == 4:
        start = profile.bases.system_start
        limits = (
            ("MmSystemRangeStart", start),
            ("MmHighestUserAddress", start - 0x10001),
            ("MmUserProbeAddress", start - 0x10000),
        )
    elif profile.arch.name == "ia64":
        limits = (
            ("MmSystemRangeStart", 0x80000000_00000000),
            ("MmHighestUserAddress", 0x6FB_FFFEFFFF),
            ("MmUserProbeAddress", 0x6FB_FFFF0000),
        )
    else:
        limits = (
            ("MmSystemRangeStart", 0xFFFF0800_00000000),
            ("MmHighestUserAddress", 0x7FF_FFFEFFFF),
            ("MmUserProbeAddress", 0x7FF_FFFF0000),
        )
    for name, value in limits:
        work.set(name, value)


def write_memory_limits(work: Work) -> None:
    """Ranges and totals of memory and pools."""
    nonpaged, paged = work.pools["nonpaged"], work.pools["paged"]
    present = np.flatnonzero(work.ram.present)
    allocated = len(nonpaged.placed.slot)
    values = {
        "MmPfnDatabase": work.block_va,
        "MmNonPagedPoolStart": nonpaged.start,
        "MmNonPagedPoolEnd": nonpaged.end,
        "MmNonPagedPoolEnd0": work.initial_va + work.initial_pages * work.page,
        "MmNonPagedPoolExpansionStart": work.expansion_va,
        "MmNonPagedSystemStart": work.profile.bases.system_ptes,
        "MmSizeOfNonPagedPoolInBytes": work.initial_pages * work.page,
        "MmMaximumNonPagedPoolInBytes": nonpaged.limit,
        "MmAllocatedNonPagedPool": allocated,
        "MmPagedPoolStart": paged.start,
        "MmPagedPoolEnd": paged.end,
        "MmSizeOfPagedPoolInBytes": paged.limit,
        "MmPagedPoolCommit": len(paged.placed.slot),
        "MmLowestPhysicalPage": int(present[0]),
        "MmHighestPhysicalPage": int(present[-1]),
        "MmHighestPossiblePhysicalPage": int(present[-1]),
        "MmNumberOfPhysicalPages": len(present),
        "MmAvailablePages": work.ram.free_frames,
        "MmResidentAvailablePages": work.ram.free_frames,
        "MmSystemPtesStart": work.profile.bases.system_ptes,
        "MmSystemPtesEnd": work.profile.bases.system_ptes + 0x1000000,
        "MmNumberOfPagingFiles": max(work.options.page_files, 1),
        "MmTotalCommitLimit": len(present) * 2,
        "MmTotalCommittedPages": len(present) // 2,
        "MmTotalCommitLimitMaximum": len(present) * 3,
    }
    for name, value in values.items():
        work.set(name, value)
    work.set("MmPhysicalMemoryBlock", work.special_addresses()["memory block"])
    work.poke(work.special_addresses()["memory block"], memory_block(work))


def memory_block(work: Work) -> bytes:
    """PHYSICAL_MEMORY_DESCRIPTOR."""
    pages = sum(count for _, count in work.ram.runs)
    wide = work.layout.pointer == 8
    head = struct.pack("<IxxxxQ" if wide else "<II", len(work.ram.runs), pages)
    return head + b"".join(struct.pack("<QQ" if wide else "<II", *run) for run in work.ram.runs)


def write_modules(work: Work) -> None:
    """PsLoadedModuleList and the entries behind it."""
    where = work.special_addresses()
    head, pointer = work.address("PsLoadedModuleList"), work.layout.pointer
    ring = [head, *(where[f"ldr:{number}"] for number in range(len(work.module_list)))]
    for number, module in enumerate(work.module_list):
        entry = ring[number + 1]
        links = ring[(number + 2) % len(ring)], ring[number]
        check = checksum(work.build) if number == 0 else 0x10000 + module.base % 0xFFF1
        path = where[f"path:{number}"]
        work.poke(entry, loader_entry(module, entry, path, links, work.layout.ldr_size, check, pointer))
        work.poke(path, module.path.encode("utf-16-le") + b"\0\0")
    work.poke(head, ring[1].to_bytes(pointer, "little") + ring[-1].to_bytes(pointer, "little"))


def write_unloads(work: Work) -> None:
    """MmUnloadedDrivers with its index and counters."""
    ring, where = work.ring, work.special_addresses()
    work.set("MiUnloadsSkipped", ring.skipped, 4)
    work.set("MiTotalUnloads", ring.total, 4)
    work.set("MmLastUnloadedDriver", ring.next_index, 4)
    if not ring.entries:
        return
    names = {entry.slot: where[f"unload:{entry.slot}"] for entry in ring.entries if not entry.skipped}
    for entry in ring.entries:
        if not entry.skipped:
            work.poke(names[entry.slot], entry.name.encode("utf-16-le"))
    work.poke(where["unloaded"], ring_bytes(ring, names, work.layout.pointer))
    work.set("MmUnloadedDrivers", where["unloaded"])


def find_processes(work: Work) -> list[tuple[int, ...]]:
    """Create address spaces and name the EPROCESSes; their bytes follow when the pool has been written."""
    where = work.special_addresses()
    count = sum(name.startswith("process:") for name in where)
    spaces: list[tuple[int, ...]] = [()]
    dtbs = [work.paging.dtb]
    for number in range(1, count):
        space, dtb = work.paging.new_space(number, 0x20 * (number % 128))
        spaces.append(space)
        dtbs.append(dtb)
    header = work.layout.process.object_header
    work.processes = process_list([where[f"process:{number}"] + header for number in range(count)], dtbs)
    return spaces


def write_processes(work: Work) -> None:
    """PsActiveProcessHead and its ring."""
    offset, pointer = work.layout.process.active_process_links, work.layout.pointer
    head = work.address("PsActiveProcessHead")
    ring = [head, *(process.address + offset for process in work.processes)]
    boot = work.options.system_time - work.options.uptime_100ns
    for number, process in enumerate(work.processes):
        links = ring[(number + 2) % len(ring)], ring[number]
        data = process_bytes(process, links, boot + number * 20_000_000 if number else 0, work.layout)
        work.poke(process.address - work.layout.process.object_header, data)
    work.poke(head, ring[1].to_bytes(pointer, "little") + ring[-1].to_bytes(pointer, "little"))
    work.set("PsInitialSystemProcess", work.processes[0].address)


def write_pool_tables(work: Work, slots: int, big_size: int) -> None:
    """The tag table(s) and the big page table with their variables; without tagging all stay 0."""
    if not work.options.tagging:
        return
    options, layout = work.options, work.layout
    tracker = build_tracker(
        tracker_rows(work), layout, slots, options.processors, options.overflow, options.stream("tracker")
    )
    work.tracker = tracker
    first = work.named_big("tracker")
    work.poke(first, tracker.tables[0].tobytes())
    for address, table in zip(work.cpu_tables, tracker.tables[1:], strict=True):
        work.poke(address, table.tobytes())
    pointer = layout.pointer
    if layout.per_cpu_tables and work.profile.mp:
        addresses = b"".join(a.to_bytes(pointer, "little") for a in (first, *work.cpu_tables))
        work.poke(work.address("ExPoolTagTables"), addresses)
    work.set("PoolTrackTable", first)
    work.set("PoolTrackTableSize", slots + 1)
    work.set("PoolTrackTableMask", slots - 1)
    if tracker.expansion is not None:
        address = work.named_big("expansion")
        work.poke(address, tracker.expansion.tobytes())
        work.set("PoolTrackTableExpansion", address)
        work.set("PoolTrackTableExpansionSize", len(tracker.expansion))
        if layout.nt == "5.2":
            work.set("PoolTrackTableExpansionPages", (tracker.expansion.nbytes + work.page - 1) // work.page)
    big = build_big_table(work.bigs_live, work.bigs_freed, big_size, layout)
    work.poke(work.named_big("big table"), big.tobytes())
    work.set("PoolBigPageTable", work.named_big("big table"))
    work.set("PoolBigPageTableSize", big_size)
    work.set("PoolBigPageTableHash", big_size - 1)
