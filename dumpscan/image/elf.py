"""ELF cores: the memory of a virtual machine as QEMU, libvirt or VirtualBox saves it.

Both classes are read: QEMU writes class 32 for a 32-bit guest below 4 GB, the usual XP or Vista
x86 machine. p_paddr is the guest's physical address. Segments need not be page aligned; a page
that is only partly in the file is absent. Source: facts/dump-formats.md 7.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dumpscan.errors import DamagedImage, NotAnImage, UnsupportedImage
from dumpscan.image import c_elf
from dumpscan.image.elf_notes import CpuState, read_notes
from dumpscan.image.opened import Hints, OpenedImage
from dumpscan.image.segments import Extents, memory_of
from dumpscan.image.source import Source
from dumpscan.model import ImageInfo

# Program headers beyond this are refused: QEMU writes tens, a fragmented guest thousands.
_MAX_HEADERS = 1 << 20
# A core has about ten sections; each name is looked for in all of them.
_MAX_NAMES = 1 << 12


def open_elf(source: Source) -> OpenedImage:
    """Open an ELF core.

    :raises NotAnImage: an ELF file that is no core. :raises UnsupportedImage: a big-endian core.
    :raises DamagedImage: headers lie outside the file, or segments overlap.
    """
    ident = source.take(0, 16)
    wide = len(ident) == 16 and ident[4] == c_elf.CLASS64
    if len(ident) < 16 or ident[4] not in (c_elf.CLASS32, c_elf.CLASS64):
        raise DamagedImage(
            f"{source.path.name}: ELF class at file offset 0x4 is neither 32 nor 64 bit; "
            "the file is damaged, copy it again"
        )
    if ident[5] != c_elf.LITTLE_ENDIAN:
        raise UnsupportedImage(
            f"{source.path.name}: an ELF file of a big-endian machine, which ran no Windows"
        )
    head = source.record(c_elf.EHDR64 if wide else c_elf.EHDR32, 0, "the ELF header")
    if head["e_type"] != c_elf.ET_CORE:
        raise NotAnImage(
            f"{source.path.name}: an ELF file, but no core (e_type {int(head['e_type'])}); it is a program "
            "or library, not a memory image"
        )
    sections = _sections(source, head, wide)
    if b".xen_pages" in sections:
        from dumpscan.image.xen import open_xen

        return open_xen(source, sections)
    return _open_core(source, head, wide)


def _open_core(source: Source, head: np.void, wide: bool) -> OpenedImage:
    programs = _program_headers(source, head, wide)
    loads = programs[(programs["p_type"] == c_elf.PT_LOAD) & (programs["p_filesz"] > 0)]
    columns = [loads[name].astype(np.uint64) for name in ("p_paddr", "p_filesz", "p_offset")]
    if not len(loads):
        raise DamagedImage(
            f"{source.path.name}: an ELF core without a loadable segment; it holds no memory (a core of "
            "registers only?)"
        )
    page = 8192 if c_elf.MACHINES.get(int(head["e_machine"])) == "ia64" else 4096
    found = memory_of(source, Extents(*columns), page, "ELF segment")
    cpus = read_notes(source, programs)
    bits = 64 if wide else 32
    info = ImageInfo(
        path=str(source.path),
        format="elf",
        bytes=source.size,
        bytes_expected=found.bytes_expected,
        page_size=page,
        pages_present=found.pages_present,
        pages_expected=found.pages_expected,
        truncated=found.truncated,
        description=f"{bits}-bit ELF core with {len(loads)} memory segments",
        notes=found.notes,
    )
    return OpenedImage(source.path, info, _hints(cpus, int(head["e_machine"])), found.memory)


def _program_headers(source: Source, head: np.void, wide: bool) -> np.ndarray[Any, Any]:
    kind = c_elf.PHDR64 if wide else c_elf.PHDR32
    count, at = int(head["e_phnum"]), int(head["e_phoff"])
    where = 0x38 if wide else 0x2C
    if count == c_elf.PN_XNUM:
        if not int(head["e_shoff"]):
            raise DamagedImage(
                f"{source.path.name}: e_phnum at file offset {where:#x} refers to a section header, but "
                "there is none; the ELF header is damaged, copy it again"
            )
        section = source.record(
            c_elf.SHDR64 if wide else c_elf.SHDR32, int(head["e_shoff"]), "the first ELF section header"
        )
        count = int(section["sh_info"])
    if count > _MAX_HEADERS:
        raise DamagedImage(
            f"{source.path.name}: the ELF header claims {count} program headers (e_phnum at file offset "
            f"{where:#x}); the header is damaged, copy it again"
        )
    if count and int(head["e_phentsize"]) != kind.itemsize:
        raise DamagedImage(
            f"{source.path.name}: e_phentsize is {int(head['e_phentsize'])}, not {kind.itemsize}; the ELF "
            "header is damaged, copy it again"
        )
    return source.table(kind, at, count, "the ELF program header table")


def _sections(source: Source, head: np.void, wide: bool) -> dict[bytes, tuple[int, int]]:
    """File offset and bytes of each named section; nothing where the section table is unusable."""
    kind = c_elf.SHDR64 if wide else c_elf.SHDR32
    count, at, strings = (int(head[field]) for field in ("e_shnum", "e_shoff", "e_shstrndx"))
    usable = strings < count and int(head["e_shentsize"]) == kind.itemsize
    if not usable or at + count * kind.itemsize > source.size:
        return {}
    table = source.table(kind, at, count, "the ELF section header table")
    names = source.take(int(table[strings]["sh_offset"]), min(int(table[strings]["sh_size"]), _MAX_NAMES))
    return {
        names[start : names.find(b"\0", start)]: (int(section["sh_offset"]), int(section["sh_size"]))
        for section in table
        if (start := int(section["sh_name"])) < len(names)
    }


def _hints(cpus: list[CpuState], machine: int) -> Hints:
    """e_machine alone does not tell the guest: QEMU writes 62 for a 32-bit guest with much RAM."""
    paging = [cpu for cpu in cpus if cpu.cr3]
    dtbs = tuple(dict.fromkeys(cpu.cr3 & ~0x1F for cpu in paging))
    return Hints(
        arch="x86" if machine == 3 else None,
        dtbs=dtbs,
        pae=bool(paging[0].cr4 & c_elf.CR4_PAE) if paging else None,
        processors=len(cpus) or None,
    )
