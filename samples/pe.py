"""The kernel's PE image as it lies in memory: headers, sections, debug record, exports, resources.

Witness: facts/kdbg.json xp_sp3_ntkrnlpa.sections (real section table), facts/kernel-location.md section 8
(RSDS record, NtBuildLab near the image start). Other kernels have an invented section table.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from .kdbg import MACHINES
from .profiles import KernelBuild, Profile
from .resource import resource_section
from .symbols import variables

_CODE: Final = 0x68000020
_PAGED_CODE: Final = 0x60000020
_DATA: Final = 0xC8000040
_CONST: Final = 0x42000040
_INIT: Final = 0xE2000020
_DEBUG_RVA: Final = 0xD00
_RSDS_RVA: Final = 0xD40


@dataclass(frozen=True)
class Section:
    """One section header."""

    name: str
    rva: int
    size: int
    flags: int


_XP_SP3: Final = (
    Section(".text", 0x600, 0x6B600, _CODE), Section("POOLMI", 0x6BC00, 0x11D2, _CODE),
    Section("MISYSPTE", 0x6CE00, 0x6CD, _CODE), Section("POOLCODE", 0x6D500, 0x12C6, _CODE),
    Section(".data", 0x6E800, 0x16EA0, _DATA), Section("INITDATA", 0x85700, 0x38, _DATA),
    Section("INITCONS", 0x85780, 0x1A55, 0x48000040), Section("PAGE", 0x87200, 0xE11BE, _PAGED_CODE),
    Section("PAGELK", 0x168400, 0xE0C8, _PAGED_CODE), Section("PAGEVRFY", 0x176500, 0xEA9E, _PAGED_CODE),
    Section("PAGEWMI", 0x185000, 0x17D9, _PAGED_CODE), Section("PAGEKD", 0x186800, 0x3DA1, _PAGED_CODE),
    Section("PAGESPEC", 0x18A600, 0xE3C, _PAGED_CODE), Section("PAGEHDLS", 0x18B480, 0x1DB8, _PAGED_CODE),
    Section(".edata", 0x18D280, 0xB5A2, 0x40000040), Section("PAGEDATA", 0x198880, 0x15B8, 0xC0000040),
    Section("PAGECONS", 0x199E80, 0x3040, 0x40000040), Section("PAGEKD", 0x19CF00, 0xC021, 0xC0000040),
    Section("PAGECONS", 0x1A8F80, 0x18C, 0x40000040), Section("PAGELKCO", 0x1A9180, 0x88, 0x40000040),
    Section("PAGEVRFC", 0x1A9280, 0x3449, 0x40000040), Section("PAGEVRFD", 0x1AC700, 0x648, 0xC0000040),
    Section("INIT", 0x1ACD80, 0x2AB7E, _INIT), Section(".rsrc", 0x1D7900, 0x106F8, _CONST),
    Section(".reloc", 0x1E8000, 0x1056C, _CONST),
)  # fmt: skip


def data_rva(profile: Profile) -> int:
    """Where .data starts."""
    return 0x6E800 if profile.name == "xpsp3-x86-pae" else profile.image_size * 22 // 100 & ~0xFFF


def sections(profile: Profile) -> tuple[Section, ...]:
    """The section table."""
    if profile.name == "xpsp3-x86-pae":
        return _XP_SP3
    start, size = data_rva(profile), profile.image_size
    end = variables(profile, start)["_end_of_data"]
    first = 0x1000 if profile.layout.modern else 0x600
    pool = start - 0x2000
    edata, init = size * 80 // 100 & ~0xFFF, size * 85 // 100 & ~0xFFF
    rsrc = size - 0x20000 & ~0xFFF
    return (
        Section(".text", first, pool - first, _CODE), Section("POOLCODE", pool, 0x1800, _CODE),
        Section(".data", start, end - start, _DATA), Section("PAGE", end, edata - end, _PAGED_CODE),
        Section(".edata", edata, init - edata, 0x40000040), Section("INIT", init, rsrc - init, _INIT),
        Section(".rsrc", rsrc, 0x10000, _CONST),
        Section(".reloc", rsrc + 0x10000, size - rsrc - 0x10000, _CONST),
    )  # fmt: skip


def _optional_header(build: KernelBuild, base: int, entry: int, directories: bytes) -> bytes:
    """IMAGE_OPTIONAL_HEADER: PE32 has BaseOfData and 32-bit sizes, PE32+ a 64-bit base."""
    profile = build.profile
    wide = profile.arch.pointer == 8
    head = struct.pack("<HBBIIIII", 0x20B if wide else 0x10B, 8, 0, 0x16C000, 0x80000, 0, entry, 0x1000)
    image_base = struct.pack("<Q", base) if wide else struct.pack("<II", data_rva(profile), base)
    major, minor = (int(part) for part in profile.nt.split("."))
    align = 0x1000 if profile.layout.modern else 0x80
    middle = struct.pack(
        "<IIHHHHHHIIIIHH", align, align,
        major, minor, major, minor, major, minor, 0, profile.image_size, 0x600, checksum(build), 1, 0,
    )  # fmt: skip
    stack = struct.pack("<QQQQ" if wide else "<IIII", 0x40000, 0x1000, 0x100000, 0x1000)
    return head + image_base + middle + stack + struct.pack("<II", 0, 16) + directories


def checksum(build: KernelBuild) -> int:
    """The header's CheckSum, also kept in the loader entry."""
    return 0x1E0000 + (build.timestamp * 0x9E37 ^ build.revision) % 0x30000


def _directories(exports: tuple[int, int], resources: tuple[int, int]) -> bytes:
    entries = [(0, 0)] * 16
    entries[0], entries[2], entries[6] = exports, resources, (_DEBUG_RVA, 28)
    return b"".join(struct.pack("<II", rva, size) for rva, size in entries)


def _headers(build: KernelBuild, base: int, exports: tuple[int, int], resources: tuple[int, int]) -> bytes:
    table = sections(build.profile)
    entry = next(s for s in table if s.name == "INIT").rva + 0x40
    optional = _optional_header(build, base, entry, _directories(exports, resources))
    wide = build.profile.arch.pointer == 8
    dos = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0\xb8".ljust(0x3C, b"\0") + struct.pack("<I", 0xE8)
    stub = b"This program cannot be run in DOS mode.\r\r\n$"
    coff = struct.pack(
        "<4sHHIIIHH", b"PE\0\0", MACHINES[build.profile.machine], len(table), build.timestamp, 0, 0,
        len(optional), 0x22 if wide else 0x10E,
    )  # fmt: skip
    rows = b"".join(
        struct.pack(
            "<8sIIIIIIHHI", s.name.encode(), s.size, s.rva, s.size + 0x7F & ~0x7F, s.rva, 0, 0, 0, 0, s.flags
        )
        for s in table
    )
    return (dos.ljust(0x4E, b"\0") + stub).ljust(0xE8, b"\0") + coff + optional + rows


def _exports(rva: int, names: dict[str, int], file: str, timestamp: int) -> bytes:
    """IMAGE_EXPORT_DIRECTORY, address table, sorted name pointers, ordinals, strings."""
    order = sorted(names)
    count = len(order)
    tables = rva + 40
    strings = tables + count * 10
    pool, pointers = file.encode() + b"\0", []
    for name in order:
        pointers.append(strings + len(pool))
        pool += name.encode() + b"\0"
    head = struct.pack(
        "<IIHHIIIIIII",
        0,
        timestamp,
        0,
        0,
        strings,
        1,
        count,
        count,
        tables,
        tables + 4 * count,
        tables + 8 * count,
    )
    addresses = struct.pack(f"<{count}I", *(names[name] for name in order))
    return (
        head
        + addresses
        + struct.pack(f"<{count}I", *pointers)
        + struct.pack(f"<{count}H", *range(count))
        + pool
    )


def _debug(build: KernelBuild) -> tuple[bytes, bytes]:
    """IMAGE_DEBUG_DIRECTORY (CodeView, type 2) and the RSDS record that it points to."""
    record = (
        b"RSDS"
        + UUID(hex=build.guid).bytes_le
        + struct.pack("<I", build.age)
        + build.profile.pdb.encode()
        + b"\0"
    )
    entry = struct.pack("<IIHHIIII", 0, build.timestamp, 0, 0, 2, len(record), _RSDS_RVA, _RSDS_RVA)
    return entry, record


_EXPORTED: Final = (
    "NtBuildNumber",
    "NtGlobalFlag",
    "KeNumberProcessors",
    "MmSystemRangeStart",
    "PsInitialSystemProcess",
)


def kernel_image(build: KernelBuild, base: int, resource: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The whole image, page padded; INIT is gone (zero), variables are still zero."""
    profile = build.profile
    image = np.zeros(profile.image_size + profile.arch.page - 1 & -profile.arch.page, dtype=np.uint8)
    named = {section.name: section for section in reversed(sections(profile))}
    for section in sections(profile):
        if section.flags & 0x20 and section.name != "INIT":
            image[section.rva : section.rva + section.size] = rng.integers(
                0, 256, section.size, dtype=np.uint8
            )
    rvas = variables(profile, data_rva(profile))
    exports = _exports(named[".edata"].rva, {n: rvas[n] for n in _EXPORTED}, profile.file, build.timestamp)
    resources = resource_section(named[".rsrc"].rva, build, resource)
    directory, record = _debug(build)
    tables = (named[".edata"].rva, len(exports)), (named[".rsrc"].rva, named[".rsrc"].size)
    lab = build.build_lab.encode() + b"\0"
    for rva, data in (
        (0, _headers(build, base, *tables)), (_DEBUG_RVA, directory), (_RSDS_RVA, record),
        (named[".edata"].rva, exports), (named[".rsrc"].rva, resources),
        (rvas["NtBuildLab"], lab.ljust(64, b"\0")),
    ):  # fmt: skip
        image[rva : rva + len(data)] = np.frombuffer(data, dtype=np.uint8)
    return image
