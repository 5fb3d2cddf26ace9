"""The kernel's PE image as it lies in memory: headers, sections, CodeView record, version resource.

Discardable sections and the resource section may be paged out or torn; whatever cannot be read is
None, never guessed. Witness: facts/kernel-location.md section 8.
"""

from __future__ import annotations

import struct

import numpy as np

from dumpscan.errors import AbsentMemory
from dumpscan.kernel.kernel import Section
from dumpscan.memory.blocks import Readable
from dumpscan.memory.virtual import PAGE, VirtualMemory
from dumpscan.model import Pdb
from dumpscan.records import record

_WRITE = 0x80000000
_HEADER_BYTES = 0x1000
_DEBUG_DIRECTORY = 6
_RESOURCE_DIRECTORY = 2
_CODEVIEW = 2
_LARGEST_RESOURCE = 4 << 20
_FIXED_FILE_INFO = struct.pack("<I", 0xFEEF04BD)


@record
class PeHeaders:
    """The fields that identify an image. ``directories`` are (rva, size) pairs."""

    machine: int
    timestamp: int
    size_of_image: int
    checksum: int
    directories: tuple[tuple[int, int], ...]
    sections: tuple[Section, ...]


@record
class VersionResource:
    """What VS_VERSIONINFO says. ``text`` is FileVersion with its branch, ``torn`` when only the
    fixed part could be found."""

    version: str
    text: str | None = None
    internal_name: str | None = None
    torn: bool = False


def read_headers(memory: Readable, base: int) -> PeHeaders | None:
    """PE headers at ``base``, or None when they are absent or no PE image."""
    try:
        head = memory.read(base, _HEADER_BYTES)
    except AbsentMemory:
        return None
    pe = int.from_bytes(head[0x3C:0x40], "little")
    if head[:2] != b"MZ" or pe > _HEADER_BYTES - 0x108 or head[pe : pe + 4] != b"PE\0\0":
        return None
    machine, count, timestamp, _, _, optional_size = struct.unpack_from("<HHIIIH", head, pe + 4)
    optional = pe + 24
    plus = int.from_bytes(head[optional : optional + 2], "little") == 0x20B
    size_of_image, _, checksum = struct.unpack_from("<III", head, optional + 56)
    first = optional + (112 if plus else 96)
    directories = tuple(struct.unpack_from("<II", head, first + 8 * i) for i in range(16))
    return PeHeaders(
        machine,
        timestamp,
        size_of_image,
        checksum,
        directories,
        _sections(head, optional + optional_size, count, base),
    )


def _sections(head: bytes, at: int, count: int, base: int) -> tuple[Section, ...]:
    found = []
    for i in range(min(count, (len(head) - at) // 40)):
        name, size, rva = struct.unpack_from("<8sII", head, at + 40 * i)
        flags = int.from_bytes(head[at + 40 * i + 36 : at + 40 * i + 40], "little")
        text = name.rstrip(b"\0").decode("ascii", "replace")
        found.append(Section(text, base + rva, size, bool(flags & _WRITE)))
    return tuple(found)


def read_pdb(memory: VirtualMemory, base: int, headers: PeHeaders) -> Pdb | None:
    """The RSDS record by the debug directory, or by search in the image's first pages."""
    rva, size = headers.directories[_DEBUG_DIRECTORY]
    try:
        table = memory.read(base + rva, min(size, 28 * 8)) if rva and size else b""
        for at in range(0, len(table) - 27, 28):
            kind, length, data_rva = struct.unpack_from("<III", table, at + 12)
            if kind == _CODEVIEW:
                return _parse_rsds(memory.read(base + data_rva, min(length, 24 + 260)))
    except AbsentMemory:
        pass
    return _search_rsds(memory, base, headers)


def _search_rsds(memory: VirtualMemory, base: int, headers: PeHeaders) -> Pdb | None:
    data, _ = memory.read_masked(base, min(headers.size_of_image, 1 << 20))
    at = data.tobytes().find(b"RSDS")
    return _parse_rsds(data[at : at + 24 + 260].tobytes()) if at >= 0 else None


def _parse_rsds(record: bytes) -> Pdb | None:
    if len(record) < 28 or record[:4] != b"RSDS":
        return None
    a, b, c = struct.unpack_from("<IHH", record, 4)
    guid = f"{a:08X}{b:04X}{c:04X}" + record[12:20].hex().upper()
    name = record[24:].split(b"\0")[0].decode("ascii", "replace")
    return Pdb(name.replace("\\", "/").rsplit("/", 1)[-1], guid, int.from_bytes(record[20:24], "little"))


def read_version(memory: VirtualMemory, base: int, headers: PeHeaders) -> VersionResource | None:
    """VS_VERSIONINFO of the image, through pefile; a torn resource yields what its fixed part says."""
    rva, size = headers.directories[_RESOURCE_DIRECTORY]
    if not rva or not 0 < size <= _LARGEST_RESOURCE or rva + size > headers.size_of_image + PAGE:
        return None
    data, known = memory.read_masked(base + rva, size)
    if not bool(known.any()):
        return None
    return _by_pefile(memory, base, headers, data) or _fixed_part(data.tobytes())


def _by_pefile(
    memory: VirtualMemory,
    base: int,
    headers: PeHeaders,
    resources: np.ndarray[tuple[int], np.dtype[np.uint8]],
) -> VersionResource | None:
    """Let pefile parse a small file of two parts: the headers, and the resources as its one section."""
    import pefile

    head = bytearray(memory.read(base, _HEADER_BYTES))
    _only_section(head, headers.directories[_RESOURCE_DIRECTORY][0], len(resources))
    try:
        pe = pefile.PE(data=bytes(head) + resources.tobytes(), fast_load=True)
        pe.parse_data_directories([pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_RESOURCE"]])
        return _from_pefile(pe)
    except (pefile.PEFormatError, AttributeError, IndexError, ValueError, struct.error):
        return None  # Torn resources make pefile fail in many ways; the fixed part may still be found.


def _only_section(head: bytearray, rva: int, size: int) -> None:
    """Leave one section in the headers: the resources, stored right behind them. pefile's time and
    memory then follow the resources' size, not the kernel's."""
    pe = int.from_bytes(head[0x3C:0x40], "little")
    optional_size = struct.unpack_from("<H", head, pe + 20)[0]
    struct.pack_into("<H", head, pe + 6, 1)
    section = struct.pack("<8sIIII12xI", b".rsrc", size, rva, size, len(head), 0x40000040)
    at = min(pe + 24 + optional_size, len(head) - len(section))
    head[at : at + len(section)] = section


def _from_pefile(pe: object) -> VersionResource | None:
    fixed = getattr(pe, "VS_FIXEDFILEINFO", None)
    if not fixed:
        return None
    ms, ls = fixed[0].FileVersionMS, fixed[0].FileVersionLS
    strings: dict[str, str] = {}
    for entry in (e for group in getattr(pe, "FileInfo", ()) for e in group):
        for table in getattr(entry, "StringTable", ()):
            strings.update(
                {k.decode("utf-8", "replace"): v.decode("utf-8", "replace") for k, v in table.entries.items()}
            )
    return VersionResource(
        f"{ms >> 16}.{ms & 0xFFFF}.{ls >> 16}.{ls & 0xFFFF}",
        strings.get("FileVersion"),
        strings.get("InternalName") or strings.get("OriginalFilename"),
    )


def _fixed_part(data: bytes) -> VersionResource | None:
    at = data.find(_FIXED_FILE_INFO)
    if at < 0 or at + 16 > len(data):
        return None
    ms, ls = struct.unpack_from("<II", data, at + 8)
    if not ms:
        return None
    version = f"{ms >> 16}.{ms & 0xFFFF}.{ls >> 16}.{ls & 0xFFFF}"
    return VersionResource(version, torn=True)
