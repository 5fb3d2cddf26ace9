"""What a small (triage) dump says of its kernel: lists, totals, and the little memory it carries.

The kernel is the list's first image of that name (or the one at the debugger data's KernBase); its time
stamp, NtBuildLab and CmNtCSDVersion, where a data block holds them, tell the build. There are no page
tables and no pool: what is said here is all there is. Traps: the list calls every kernel ntoskrnl.exe,
so that the file's name follows from PAE; names of unloaded drivers are cut to 12 characters.
Source: facts/dump-formats.md 1, facts/kernel-versions.md 2 and 5.
"""

from __future__ import annotations

from collections import Counter

from dumpscan.errors import MemoryFault
from dumpscan.image.opened import Hints, OpenedImage, Triage
from dumpscan.kernel import build
from dumpscan.kernel.kdbg import Kdbg, read_block
from dumpscan.kernel.locate import ascii_text, build_number, csd_version
from dumpscan.kernel.peimage import read_headers
from dumpscan.kernel.times import filetime_text
from dumpscan.memory.blocks import BlockMemory
from dumpscan.model import Drivers, KernelInfo, Machine, Module, Pool, PoolLimits, Unloads
from dumpscan.records import record

_KERNEL_NAMES = ("ntoskrnl.exe", "ntkrnlpa.exe", "ntkrnlmp.exe", "ntkrpamp.exe")
_SERVICE_PACKS = range(1, 7)


@record
class SmallDump:
    """Everything a small dump tells. ``where``: where the ``ring`` and the ``limits`` were read."""

    kernel: KernelInfo
    machine: Machine
    drivers: Drivers
    pool: Pool
    where: dict[str, str]


def describe(opened: OpenedImage) -> SmallDump:
    """Kernel identity, machine state, drivers and pool totals, as far as the file carries them."""
    triage = opened.triage
    assert triage is not None
    where = {}
    if triage.unloaded is not None:
        where["ring"] = f"unloaded drivers at file offset {triage.unloaded_at:#x}"
    if triage.mm_storage:
        where["limits"] = f"memory figures at file offset {triage.mm_at:#x}"
    return SmallDump(
        kernel=_kernel(opened.hints, triage),
        machine=claimed_machine(opened.hints),
        drivers=_drivers(triage),
        pool=_pool(triage, opened.info.page_size),
        where=where,
    )


def claimed_machine(hints: Hints) -> Machine:
    """State of the machine as far as a header tells."""
    return Machine(
        hints.bugcheck,
        filetime_text(hints.system_time or 0),
        hints.uptime / 1e7 if hints.uptime else None,
        hints.processors,
    )


# -- the kernel --------------------------------------------------------------------------------------


def _kernel(hints: Hints, triage: Triage) -> KernelInfo:
    memory = BlockMemory(triage.blocks)
    notes: list[str] = []
    if hints.arch == "ia64":
        from dumpscan.kernel.itanium import EXPERIMENTAL

        notes.append(EXPERIMENTAL)
    block = _debugger_data(memory, hints, notes)
    listed = _listed(triage.drivers, block, notes)
    base = int(listed.base, 16) if listed else block.kern_base if block else None
    headers = read_headers(memory, base) if base else None
    stamp = (listed.timestamp if listed else None) or (headers.timestamp if headers else None)
    variables = block.addresses if block else {}
    lab_text = ascii_text(memory, variables.get("NtBuildLab"))
    lab = build.parse_lab(lab_text or "")
    version, version_from = build.version_of(None, lab, None, stamp)
    number = build_number(lab, hints, version, None)
    return KernelInfo(
        found_by="debugger data" if block else "driver list" if listed else "dump header",
        product=build.product_of(number, hints.arch or "", hints.product_type),
        version=version,
        service_pack=_service_pack(hints, csd_version(memory, variables), number, version, lab),
        arch=hints.arch,
        pae=hints.pae,
        image_name=_file_name(listed, hints),
        build_lab=lab_text,
        branch=lab.branch if lab and lab.branch != "unknown" else build.branch_by_revision(number, version),
        timestamp=stamp,
        base=hex(base) if base else None,
        dtb=hex(hints.dtbs[0]) if hints.dtbs else None,
        build=number,
        build_date=lab.date if lab else None,
        # One processor may still run a multiprocessor kernel.
        multiprocessor=True if (hints.processors or 0) > 1 else None,
        checked=hints.checked,
        version_from=version_from,
        checksum=headers.checksum if headers else None,
        kdbg=hex(hints.kdbg) if hints.kdbg else None,
        notes=tuple(notes),
    )


def _debugger_data(memory: BlockMemory, hints: Hints, notes: list[str]) -> Kdbg | None:
    try:
        return read_block(memory, hints.kdbg or 0, 0xFFFFFFFF if hints.arch == "x86" else 2**64 - 1)
    except MemoryFault as error:
        notes.append(f"no usable debugger data in the dump: {error}")
        return None


def _listed(loaded: tuple[Module, ...], block: Kdbg | None, notes: list[str]) -> Module | None:
    """The kernel's entry in the list of drivers."""
    base = hex(block.kern_base) if block else None
    named = next((m for m in loaded if m.name.lower() in _KERNEL_NAMES), None)
    if named and base and named.base != base:
        notes.append(f"{named.name} is listed at {named.base}, the debugger data place it at {base}")
    return named or next((m for m in loaded if m.base == base), None)


def _file_name(listed: Module | None, hints: Hints) -> str | None:
    """The file that was loaded: with PAE another one than the list says (facts/kernel-versions.md 5)."""
    name = listed.name if listed else None
    return "ntkrnlpa.exe" if hints.pae and name and name.lower() == _KERNEL_NAMES[0] else name


def _service_pack(
    hints: Hints, csd: int | None, number: int | None, version: str | None, lab: build.BuildLab | None
) -> int | None:
    """From a data block, else from ServicePackBuild, taken for the value of CmNtCSDVersion [INF] where it
    looks like one; a zero there may just as well be an unset field."""
    claimed = hints.service_pack_build or 0
    if csd is None and (claimed >> 8) & 0xFF in _SERVICE_PACKS and not claimed & 0xFF:
        csd = claimed
    return build.service_pack_of(csd, number, version, lab)


# -- drivers and totals ------------------------------------------------------------------------------


def _drivers(triage: Triage) -> Drivers:
    unloaded = triage.unloaded
    complete = triage.drivers_complete if triage.drivers else None
    return Drivers(
        recent=_grouped(unloaded or ()),
        loaded=triage.drivers,
        ring_entries=None if unloaded is None else len(unloaded),
        loaded_complete=complete,
        # Names can be missing from the list, and it holds 50 at most.
        ring_complete=False if unloaded else None,
    )


def _grouped(unloaded: tuple[str, ...]) -> tuple[Unloads, ...]:
    """Counts by name, the most frequent first, then in the list's order. Case makes no other driver."""
    counts = Counter(name.lower() for name in unloaded)
    spelling = {name.lower(): name for name in reversed(unloaded)}
    rows = [Unloads(spelling[key], count, None, None) for key, count in counts.items()]
    return tuple(sorted(rows, key=lambda row: -row.count))


def _pool(triage: Triage, page: int) -> Pool:
    """Totals of both pools from DUMP_MM_STORAGE; a figure that the file does not carry is unknown."""
    notes: list[str] = []
    figures = triage.mm_storage
    pools = []
    for name, used_name, limit_name in (
        ("paged", "PagedPoolAllocated", "PagedPoolMaximum"),
        ("nonpaged", "MmAllocatedNonPagedPool", "MmMaximumNonPagedPool"),
    ):
        used, limit = figures.get(used_name), figures.get(limit_name)
        if used and limit and used > limit:
            notes.append(f"{name} pool: {used:,} pages in use of at most {limit:,} is no figure: left out")
            used = None
        share = used / limit if used and limit else None
        pools.append(PoolLimits(used and used * page, limit and limit * page, share))
    return Pool(paged=pools[0], nonpaged=pools[1], notes=tuple(notes))
