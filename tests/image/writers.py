"""Bytes of tiny images, written from the published layouts with offsets restated by hand.

Nothing here imports a reader. ``page(n)`` is a page that tells its own number: the u32 ``n``
over and over, so a wrongly mapped page is recognised by content.
"""

from __future__ import annotations

import struct


def page(number: int, size: int = 4096) -> bytes:
    """A page filled with its own number."""
    return struct.pack("<I", number) * (size // 4)


def header32(
    dump_type: int | None = 1, runs: list[tuple[int, int]] | None = None, pages: int | None = None
) -> bytes:
    """A 32-bit dump header (4096 bytes) of an XP machine; None leaves filler."""
    h = bytearray(b"PAGE" * 1024)
    h[0:8] = b"PAGEDUMP"
    struct.pack_into("<II", h, 0x8, 15, 2600)
    struct.pack_into("<I", h, 0x10, 0x0031_9020)  # a PDPT: 32-byte aligned, not page aligned
    struct.pack_into("<I", h, 0x14, 0x8100_0000)
    struct.pack_into("<I", h, 0x18, 0x8055_3FC0)
    struct.pack_into("<I", h, 0x1C, 0x8055_A158)
    struct.pack_into("<II", h, 0x20, 0x14C, 2)
    struct.pack_into("<IIIII", h, 0x28, 0xE2, 1, 2, 3, 0xFFFFFFFF)
    h[0x5C] = 1
    struct.pack_into("<I", h, 0x60, 0x8054_5AE0)
    if runs is not None:
        total = sum(count for _, count in runs) if pages is None else pages
        struct.pack_into("<II", h, 0x64, len(runs), total)
        for i, (base, count) in enumerate(runs):
            struct.pack_into("<II", h, 0x6C + 8 * i, base, count)
    h[0x820:0x830] = b"Hello from test\0"
    if dump_type is not None:
        struct.pack_into("<I", h, 0xF88, dump_type)
    struct.pack_into("<I", h, 0xF94, 1)
    struct.pack_into("<Q", h, 0xFB8, 310_000_000_000)
    struct.pack_into("<Q", h, 0xFC0, 128_564_496_000_000_000)
    return bytes(h)


def header64(
    dump_type: int | None = 1,
    runs: list[tuple[int, int]] | None = None,
    pages: int | None = None,
    machine: int = 0x8664,
) -> bytes:
    """A 64-bit dump header (8192 bytes) of a Vista SP1 machine; None leaves filler."""
    h = bytearray(b"PAGE" * 2048)
    h[0:8] = b"PAGEDU64"
    struct.pack_into("<II", h, 0x8, 12, 6001)
    struct.pack_into("<Q", h, 0x10, 0x0012_4000)
    struct.pack_into("<Q", h, 0x18, 0xFFFF_FA80_0000_0000)
    struct.pack_into("<Q", h, 0x20, 0xFFFF_F800_0193_C8E0)
    struct.pack_into("<Q", h, 0x28, 0xFFFF_F800_0193_9650)
    struct.pack_into("<II", h, 0x30, machine, 4)
    struct.pack_into("<I", h, 0x38, 0x1000_007E)
    struct.pack_into("<QQQQ", h, 0x40, 0xFFFF_FFFF_C000_0005, 2, 3, 4)
    struct.pack_into("<Q", h, 0x80, 0xFFFF_F800_0193_9130)
    if runs is not None:
        total = sum(count for _, count in runs) if pages is None else pages
        struct.pack_into("<I", h, 0x88, len(runs))
        struct.pack_into("<Q", h, 0x90, total)
        for i, (base, count) in enumerate(runs):
            struct.pack_into("<QQ", h, 0x98 + 16 * i, base, count)
    if dump_type is not None:
        struct.pack_into("<I", h, 0xF98, dump_type)
    struct.pack_into("<Q", h, 0xFA8, 128_564_496_000_000_000)
    struct.pack_into("<Q", h, 0x1030, 245_000_000_000)
    struct.pack_into("<I", h, 0x1040, 3)
    return bytes(h)


def bits(pfns: list[int], count: int) -> bytes:
    """A page bitmap of ``count`` bits: bit n mod 8 of byte n / 8 is page n."""
    out = bytearray((count + 7) // 8)
    for pfn in pfns:
        out[pfn // 8] |= 1 << (pfn % 8)
    return bytes(out)


def older_bitmap(pfns: list[int], count: int, first: int, wide: bool, pages: int | None = None) -> bytes:
    """SDMP block of DumpType 2: bits at +0x20 in 32-bit dumps, at +0x28 in 64-bit ones."""
    declared = len(pfns) if pages is None else pages
    head = struct.pack("<4s4sIIIII", b"SDMP", b"DUMP", 1, first, count, declared, count)
    head += struct.pack("<I", 0x81F0_0020) if not wide else struct.pack("<IQ", 0, 0xFFFF_FA80_01F0_0028)
    return head + bits(pfns, count)


def later_bitmap(pfns: list[int], count: int, first: int, mark: bytes = b"SDMP") -> bytes:
    """Block of DumpType 5 and 6: FirstPage +0x20, set bits +0x28, bits +0x30, bitmap +0x38."""
    head = struct.pack("<4s4s", mark, b"DUMP") + b"PAGE" * 6
    return head + struct.pack("<QQQ", first, len(pfns), count) + bits(pfns, count)


def padded(data: bytes, to: int) -> bytes:
    """``data`` with zeros up to ``to`` bytes."""
    assert len(data) <= to
    return data + bytes(to - len(data))


def lime_chunk(first: int, data: bytes) -> bytes:
    """One LiME chunk; the last address is inclusive."""
    return struct.pack("<4sIQQQ", b"EMiL", 1, first, first + len(data) - 1, 0) + data


def elf(
    loads: list[tuple[int, bytes, int]], notes: bytes = b"", wide: bool = True, xnum: bool = False
) -> bytes:
    """An ELF core: ``loads`` are (p_paddr, content, file offset); headers lie below the first offset."""
    count = len(loads) + 1
    ehdr, phdr = (0x40, 0x38) if wide else (0x34, 0x20)
    section_at = ehdr + count * phdr
    note_at = section_at + 0x40
    heads = [(4, note_at, 0, len(notes), len(notes))]
    heads += [(1, offset, address, len(data), len(data)) for address, data, offset in loads]
    number = 0xFFFF if xnum else count
    if wide:
        out = struct.pack(
            "<4sBBBB8xHHIQQQIHHHHHH",
            b"\x7fELF",
            2,
            1,
            1,
            0,
            4,
            62,
            1,
            0,
            ehdr,
            section_at if xnum else 0,
            0,
            64,
            56,
            number,
            64,
            0,
            0,
        )
        for kind, offset, address, size, memory in heads:
            out += struct.pack("<IIQQQQQQ", kind, 7, offset, 0, address, size, memory, 0)
        out += struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, count, 0, 0)
    else:
        out = struct.pack(
            "<4sBBBB8xHHIIIIIHHHHHH",
            b"\x7fELF",
            1,
            1,
            1,
            0,
            4,
            3,
            1,
            0,
            ehdr,
            section_at if xnum else 0,
            0,
            52,
            32,
            number,
            40,
            0,
            0,
        )
        for kind, offset, address, size, memory in heads:
            out += struct.pack("<IIIIIIII", kind, offset, 0, address, size, memory, 7, 0)
        out += struct.pack("<IIIIIIIIII", 0, 0, 0, 0, 0, 0, 0, count, 0, 0) + bytes(0x18)
    body = bytearray(out + notes)
    for _, data, offset in loads:
        assert len(body) <= offset or offset == 0, "segments must follow the headers, in order"
        body += bytes(offset - len(body)) + data
    return bytes(body)


def note(name: bytes, kind: int, data: bytes) -> bytes:
    """An ELF note; name and content are padded to four bytes."""
    name += b"\0"
    return struct.pack("<III", len(name), len(data), kind) + _aligned(name) + _aligned(data)


def _aligned(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) % 4)


def vmware_tag(name: bytes, value: bytes, *indices: int, long: bool = False) -> bytes:
    """A state file tag; ``long`` values carry two u64 sizes and a padding count of 0."""
    flags = len(indices) << 6 | (62 if long else len(value))
    out = bytes([flags, len(name)]) + name + b"".join(struct.pack("<I", i) for i in indices)
    return out + (struct.pack("<QQH", len(value), len(value), 0) if long else b"") + value


def vmware_state(memory: bytes, cpu: bytes = b"") -> bytes:
    """A .vmss with the groups ``memory`` and ``cpu`` (tags without the end mark)."""
    at = 12 + 2 * 80
    out = struct.pack("<III", 0xBED2BED2, 8, 2)
    out += struct.pack("<64sQQ", b"memory", at, len(memory) + 2)
    out += struct.pack("<64sQQ", b"cpu", at + len(memory) + 2, len(cpu) + 2)
    return out + memory + b"\0\0" + cpu + b"\0\0"


def regions(*found: tuple[int, int, int]) -> bytes:
    """Tags of a memory group with regions (guest page, page in the .vmem, pages)."""
    out = vmware_tag(b"regionsCount", struct.pack("<I", len(found)))
    for i, (ppn, num, size) in enumerate(found):
        out += vmware_tag(b"regionPPN", struct.pack("<I", ppn), i)
        out += vmware_tag(b"regionPageNum", struct.pack("<I", num), i)
        out += vmware_tag(b"regionSize", struct.pack("<I", size), i)
    return out
