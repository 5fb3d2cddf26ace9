"""From an opened image to the verified kernel: find it, name it, say where its variables are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dumpscan.errors import AbsentMemory, KernelNotFound
from dumpscan.image.opened import Hints, OpenedImage
from dumpscan.image.physical import PhysicalMemory
from dumpscan.kernel import build, c_kdbg, find, machine, modules, symbols
from dumpscan.kernel.find import Located, Progress
from dumpscan.kernel.kernel import Kernel
from dumpscan.kernel.layouts import Layout, layout_for
from dumpscan.kernel.peimage import PeHeaders, read_headers, read_pdb, read_version
from dumpscan.kernel.typed import layout_with
from dumpscan.memory import dtb
from dumpscan.memory.blocks import Readable
from dumpscan.memory.c_pte import PAE
from dumpscan.memory.virtual import PAGE, PagedMemory, VirtualMemory
from dumpscan.model import KernelInfo, Pdb
from dumpscan.records import replace

_LAB_BYTES = 128
_KNOWN_BUILDS = range(1381, 65536)


def locate_kernel(
    opened: OpenedImage, *, symbol_dirs: Sequence[Path] = (), progress: Progress | None = None
) -> Kernel:
    """The kernel of an opened image.

    :raises KernelNotFound: no address space and debugger block pass the checks, or the file
        carries no memory at all (a triage dump).
    """
    if opened.memory is None:
        raise KernelNotFound(
            f"{opened.path.name}: a small (triage) dump carries neither page tables nor pool; "
            "'dumpscan info' shows what it has, a kernel dump has the rest"
        )
    try:
        located = _locate(opened.memory, opened.hints, progress)
    except KernelNotFound as error:
        raise KernelNotFound(f"{opened.path.name}: {error}{_cut_off(opened)}") from None
    return identify(opened.memory, located, opened.hints, symbol_dirs, progress)


def _locate(physical: PhysicalMemory, hints: Hints, progress: Progress | None) -> Located:
    if physical.page_size == PAGE:
        return find.locate(physical, hints, progress)
    from dumpscan.kernel import itanium

    return itanium.locate(physical, hints, progress)


def _cut_off(opened: OpenedImage) -> str:
    info = opened.info
    if not info.truncated:
        return ""
    whole = f" of {info.bytes_expected:,}" if info.bytes_expected else ""
    return f"; the file is cut off ({info.bytes:,}{whole} bytes), copy it again"


def identify(
    physical: PhysicalMemory,
    located: Located,
    hints: Hints,
    symbol_dirs: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Kernel:
    """Everything that follows from a located kernel."""
    memory, block = located.memory, located.kdbg
    headers = read_headers(memory, block.kern_base)
    pdb = read_pdb(memory, block.kern_base, headers) if headers else None
    shared = machine.read_shared_data(memory)
    table = symbols.load(pdb, block.kern_base, block.addresses, symbol_dirs, progress)
    if not block.va:
        block = replace(block, addresses={**table.variables(list(c_kdbg.ADDRESSES)), **block.addresses})
        located = replace(located, kdbg=block)
    info, layout = _name(located, headers, pdb, hints, shared, table)
    count = machine.processor_count(memory, block.addresses.get("KiProcessorBlock"), info.build)
    memory, info = _system_space(physical, memory, info, layout, block.addresses)
    doubts = (*_lacking(info, layout, table), *machine.processor_notes(hints, count))
    return Kernel(
        memory=memory,
        info=replace(info, notes=(*located.notes, *table.notes, *doubts)),
        machine=machine.read_machine(memory, hints, shared, block.addresses.get("KiBugcheckData"), count),
        base=block.kern_base,
        size=headers.size_of_image if headers else 0,
        processors=count,
        variables=block.addresses,
        layout=layout,
        sections=headers.sections if headers else (),
        source="symbols" if table.symbols else "KDBG",
        symbols=table.symbols,
        range_start=machine.system_start(memory, block.addresses.get("MmSystemRangeStart"), block.kern_base),
    )


def _lacking(info: KernelInfo, layout: Layout | None, table: symbols.SymbolTable) -> tuple[str, ...]:
    """What keeps the pool from being read, in one line with what to do about it."""
    newer = symbols.are_needed(info.build, info.arch)
    if newer and not table.symbols:
        why = "only symbols lead to the pool figures of this Windows"
        if info.kdbg is None:
            why = "the debugger block (KDBG) is encoded or not in the image"
        return (f"{why}: {symbols.wanted(info.pdb)}",)
    if layout:
        return ()
    more = "; the symbol table does not describe them either" if newer else ""
    return (
        f"no structure layouts for build {info.build} {info.arch}: the pool of this kernel is not read{more}",
    )


def _name(
    located: Located,
    headers: PeHeaders | None,
    pdb: Pdb | None,
    hints: Hints,
    shared: machine.SharedData | None,
    table: symbols.SymbolTable,
) -> tuple[KernelInfo, Layout | None]:
    """Identity of the kernel and the layouts that its build calls for."""
    memory, block = located.memory, located.kdbg
    arch, pae = memory.paging.arch, memory.paging is PAE
    lab_text = ascii_text(memory, block.addresses.get("NtBuildLab"))
    resource = read_version(memory, block.kern_base, headers) if headers else None
    lab = build.parse_lab(lab_text or "") or build.lab_of_version_text(
        resource.text if resource else None, hints.build
    )
    version, version_from = build.version_of(resource, lab, pdb, headers.timestamp if headers else None)
    number = build_number(lab, hints, version, shared)
    pack = build.service_pack_of(csd_version(memory, block.addresses), number, version, lab)
    layout = layout_with(table.types, number or 0, arch, layout_for(number or 0, arch, pae, pack))
    branch = lab.branch if lab and lab.branch != "unknown" else build.branch_by_revision(number, version)
    internal = resource.internal_name if resource else None
    product_type = shared.product_type if shared and shared.product_type else hints.product_type
    info = KernelInfo(
        found_by=located.how,
        product=build.product_of(number, arch, product_type),
        version=version,
        service_pack=pack,
        arch=arch,
        pae=pae,
        image_name=_file_name(memory, block.addresses, layout) or internal or _exe_of(pdb),
        internal_name=internal or _exe_of(pdb),
        build_lab=lab_text,
        branch=branch,
        pdb=pdb,
        timestamp=headers.timestamp if headers else None,
        checksum=headers.checksum if headers else None,
        base=hex(block.kern_base),
        dtb=hex(memory.dtb),
        build=number,
        build_date=lab.date if lab else None,
        multiprocessor=build.is_multiprocessor(pdb.name if pdb else None, internal),
        checked=hints.checked,
        version_from=version_from,
        kdbg=hex(block.va) if block.va else None,
    )
    return info, layout


def build_number(
    lab: build.BuildLab | None, hints: Hints, version: str | None, shared: machine.SharedData | None
) -> int | None:
    """The build by the best witness that gives a number Windows had: label, file version, claims."""
    candidates = (
        lab.build if lab else None,
        int(version.split(".")[2]) if version else None,
        hints.build,
        shared.build if shared else None,
    )
    return next((number for number in candidates if number in _KNOWN_BUILDS), None)


def _exe_of(pdb: Pdb | None) -> str | None:
    return pdb.name.rsplit(".", 1)[0] + ".exe" if pdb and pdb.name else None


def ascii_text(memory: Readable, va: int | None) -> str | None:
    """The zero-terminated ASCII text at ``va``; None when absent or not text."""
    if not va:
        return None
    data, known = memory.read_masked(va, _LAB_BYTES)
    end = np.flatnonzero((data == 0) & known)
    length = int(end[0]) if len(end) else 0
    text = data[:length].tobytes()
    return text.decode("ascii") if text and bool(known[:length].all()) and text.isascii() else None


def csd_version(memory: Readable, addresses: Mapping[str, int]) -> int | None:
    """CmNtCSDVersion: the high byte of its low word is the service pack. None when absent."""
    try:
        return int.from_bytes(memory.read(addresses["CmNtCSDVersion"], 4), "little")
    except (AbsentMemory, KeyError):
        return None


def _file_name(memory: VirtualMemory, addresses: dict[str, int], layout: Layout | None) -> str | None:
    """Name of the file the kernel was loaded from: the first module's full path ends in it."""
    head = addresses.get("PsLoadedModuleList")
    if not head or layout is None:
        return None
    path = modules.first_module_path(memory, head, layout)
    return path.replace("/", "\\").rsplit("\\", 1)[-1] if path else None


def _system_space(
    physical: PhysicalMemory,
    memory: PagedMemory,
    info: KernelInfo,
    layout: Layout | None,
    addresses: dict[str, int],
) -> tuple[PagedMemory, KernelInfo]:
    """Swap a scanned address space for the System process's own, which never goes away."""
    # Where an Itanium kernel keeps a process's roots is not known (facts/ia64.md 3).
    scanned = info.found_by in ("KDBG scan", find.IMAGE_SCAN)
    if not scanned or layout is None or info.arch == "ia64":
        return memory, info
    try:
        process = memory.pointer(addresses["PsActiveProcessHead"]) - layout.process_links
        base = memory.pointer(process + layout.process_dtb)
    except (AbsentMemory, KeyError):
        return memory, info
    if not dtb.verify(physical, memory.paging, base):
        return memory, info
    system = PagedMemory(physical, memory.paging, base)
    return system, replace(info, dtb=hex(system.dtb))
