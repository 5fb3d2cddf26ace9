"""A small dump of 32 bits, written from the published layout with offsets restated by hand."""

from __future__ import annotations

import struct

from tests.image.writers import header32, padded


def dump_string(text: str) -> bytes:
    return struct.pack("<I", len(text)) + (text + "\0").encode("utf-16-le")


def triage32(count: int = 2, unloaded: int = 2, blocks: int = 2, **fields: int) -> bytes:
    """XP small dump: block 0x1000, drivers 0x1100 (stride 0x4C), unloaded 0x1200, mm 0x1300, names 0x1400,
    data blocks listed at 0x1500 and held at 0x1700, debugger data 0x1800."""
    block = bytearray(104)
    at = {"ServicePackBuild": 0x0, "SizeOfDump": 0x4, "ValidOffset": 0x8, "MmOffset": 0x14}
    at |= {"UnloadedDriversOffset": 0x18, "DriverListOffset": 0x30, "DriverCount": 0x34}
    at |= {"DebuggerDataOffset": 0x58, "DebuggerDataSize": 0x5C}
    at |= {"DataBlocksOffset": 0x60, "DataBlocksCount": 0x64}
    values = {"ServicePackBuild": 0x300, "SizeOfDump": 0x2000, "ValidOffset": 0x1FFC, "MmOffset": 0x1300}
    values |= {"UnloadedDriversOffset": 0x1200, "DriverListOffset": 0x1100, "DriverCount": count}
    values |= {"DebuggerDataOffset": 0x1800, "DebuggerDataSize": 0x290}
    values |= {"DataBlocksOffset": 0x1500, "DataBlocksCount": blocks, **fields}
    for name, value in values.items():
        struct.pack_into("<I", block, at[name], value)
    drivers = b""
    for name_at, base, size in ((0x1400, 0x804D7000, 0x1F8580), (0x1440, 0x806D0000, 0x20300)):
        entry = bytearray(0x4C)
        struct.pack_into("<I", entry, 0, name_at)
        struct.pack_into("<I", entry, 0x1C, base)
        struct.pack_into("<I", entry, 0x24, size)
        struct.pack_into("<I", entry, 0x48, 0x4802516A if size == 0x1F8580 else 0)
        drivers += bytes(entry)
    gone = struct.pack("<I", unloaded)
    for name in ("hwmon32.sys", "averylongnam"):
        length = 2 * len(name)
        gone += struct.pack("<HHI", length, length, 0) + padded(name.encode("utf-16-le"), 24)
        gone += struct.pack("<II", 0xF8A10000, 0xF8A15000)
    mm = struct.pack("<IIIIII", 1, 52, 0, 0, 0, 0) + struct.pack("<IIIIIII", 8192, 804, 90000, 45000, 1, 2, 3)
    out = padded(header32(4) + bytes(block), 0x1100)
    out = padded(padded(padded(out + drivers, 0x1200) + gone, 0x1300) + mm, 0x1400)
    out = padded(out + dump_string("ntoskrnl.exe"), 0x1440) + dump_string("\\WINDOWS\\system32\\hal.dll")
    held = struct.pack("<IIIIII", 0x804D7C5C, 0x1700, 32, 0x80551264, 0x1740, 4)
    out = padded(padded(out, 0x1500) + held, 0x1700)
    out = padded(out + b"2600.xpsp_sp3_gdr.090804-1435", 0x1740) + struct.pack("<I", 0x300)
    kdbg = bytearray(0x290)
    struct.pack_into("<4sIQ", kdbg, 0x10, b"KDBG", 0x290, 0x804D7000)
    struct.pack_into("<Q", kdbg, 0x208, 0x804D7C5C)
    struct.pack_into("<Q", kdbg, 0x268, 0x80551264)
    return padded(padded(out, 0x1800) + bytes(kdbg), 0x1FFC) + b"TRGD"
