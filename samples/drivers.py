"""Loaded modules (KLDR entries) and the ring of unloaded drivers.

Witness: facts/pool-structures.md (_LDR_DATA_TABLE_ENTRY as KLDR, _UNLOADED_DRIVERS),
facts/kernel-location.md section 3 (50 slots, index where the next entry goes, skipped names, counters).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from .blocks import Special
from .options import Options
from .profiles import KernelBuild

RING: Final = 50

_NAMES: Final = """hal.dll ACPI.sys WMILIB.SYS pci.sys isapnp.sys compbatt.sys intelide.sys PCIIDEX.SYS
MountMgr.sys ftdisk.sys PartMgr.sys VolSnap.sys atapi.sys disk.sys CLASSPNP.SYS fltmgr.sys sr.sys KSecDD.sys
Ntfs.sys NDIS.sys Mup.sys agp440.sys i8042prt.sys kbdclass.sys mouclass.sys fdc.sys serial.sys serenum.sys
usbuhci.sys USBPORT.SYS cdrom.sys redbook.sys ks.sys rasl2tp.sys ndistapi.sys raspppoe.sys TDI.SYS
psched.sys ptilink.sys raspti.sys
update.sys NDProxy.SYS Fs_Rec.SYS Null.SYS Beep.SYS vga.sys mnmdd.SYS Msfs.SYS Npfs.SYS rasacd.sys ipsec.sys
tcpip.sys netbt.sys afd.sys netbios.sys rdbss.sys mrxsmb.sys Fips.SYS win32k.sys dump_atapi.sys srv.sys
symevent.sys naiavf5x.sys avg7core.sys""".split()
_VISTA: Final = (
    "mcupdate.dll CLFS.SYS CI.dll Wdf01000.sys ecache.sys volmgr.sys dxgkrnl.sys NETIO.SYS tunnel.sys".split()
)
_OTHER_UNLOADS: Final = (
    "Sfloppy.SYS",
    "Cdaudio.SYS",
    "processr.sys",
    "usbstor.sys",
    "kmixer.sys",
    "splitter.sys",
)


@dataclass(frozen=True)
class Module:
    """A loaded image."""

    name: str
    path: str
    base: int
    size: int


def _path(name: str, index: int) -> str:
    if index == 0:
        return f"\\WINDOWS\\system32\\{name}"
    folder = "system32" if name in ("hal.dll", "win32k.sys") else "system32\\DRIVERS"
    return f"\\SystemRoot\\{folder}\\{name}"


def modules(
    build: KernelBuild, options: Options, kernel: tuple[int, int], hal: tuple[int, int]
) -> list[Module]:
    """Kernel, HAL, then drivers packed from the driver base on."""
    rng = options.stream("modules")
    names = _NAMES + (_VISTA if build.profile.layout.modern else [])
    # The list names the kernel ntoskrnl.exe whichever file it came from.
    found = [
        Module("ntoskrnl.exe", _path(build.profile.file, 0), *kernel),
        Module("hal.dll", _path("hal.dll", 1), *hal),
    ]
    at, page = build.profile.bases.drivers, build.profile.arch.page
    for number, name in enumerate(names[1:], 2):
        size = int(rng.choice([0x2000, 0x4180, 0x8300, 0xE480, 0x17700, 0x2C000]))
        found.append(Module(name, _path(name, number), at, size))
        at += (size + page - 1 & -page) + page * int(rng.integers(0, 4))
    return found


def module_specials(found: list[Module], ldr_size: int) -> list[Special]:
    """One loader entry with its base name behind, and one full name, for each module."""
    specials = []
    for number, module in enumerate(found):
        specials.append(Special(f"ldr:{number}", "MmLd", ldr_size + 2 * len(module.name) + 2))
        specials.append(Special(f"path:{number}", "MmDT", 2 * len(module.path) + 2))
    return specials


def unicode_string(length: int, address: int, pointer: int) -> bytes:
    """UNICODE_STRING; padded on 64 bits."""
    if pointer == 4:
        return struct.pack("<HHI", length, length, address)
    return struct.pack("<HHIQ", length, length, 0, address)


def loader_entry(
    module: Module, entry: int, path: int, links: tuple[int, int], ldr_size: int, checksum: int, pointer: int
) -> bytes:
    """KLDR_DATA_TABLE_ENTRY followed by the base name."""
    block = bytearray(ldr_size)
    form = "<II" if pointer == 4 else "<QQ"
    struct.pack_into(form, block, 0, *links)
    name = module.name.encode("utf-16-le")
    base = 0x18 if pointer == 4 else 0x30
    if pointer == 4:
        struct.pack_into("<III", block, base, module.base, module.base + 0x400, module.size)
    else:
        struct.pack_into("<QQQ", block, base, module.base, module.base + 0x400, module.size)
    strings = 0x24 if pointer == 4 else 0x48
    width = 8 if pointer == 4 else 16
    block[strings : strings + width] = unicode_string(2 * len(module.path), path, pointer)
    block[strings + width : strings + 2 * width] = unicode_string(len(name), entry + ldr_size, pointer)
    struct.pack_into("<IH", block, strings + 2 * width, 0x09104000, 1)
    struct.pack_into("<I", block, 0x40 if pointer == 4 else 0x78, checksum)
    return bytes(block) + name + b"\0\0"


@dataclass(frozen=True)
class Unload:
    """One slot of the ring; `skipped`: the name could not be allocated."""

    slot: int
    name: str
    start: int
    end: int
    time: int
    skipped: bool = False


@dataclass
class Unloads:
    """The ring, its index, and the counters since boot."""

    entries: list[Unload] = field(default_factory=list)
    next_index: int = 0
    total: int = 0
    skipped: int = 0


def unload_ring(options: Options, at: int) -> Unloads:
    """The last 50 of all unloads; other drivers come and go now and then."""
    rng = options.stream("unloads")
    cycles, others = options.unload_cycles, 6 + int(rng.integers(0, 6))
    total = cycles + others
    kept = min(total, RING)
    step = min(options.uptime_100ns // (max(total, 1) + 1), 20_000_000_000)
    ring = Unloads(next_index=(total - 1) % RING + 1 if total else 0, total=total, skipped=0)
    last_other = -9
    for back in range(kept):
        slot = (ring.next_index - 1 - back) % RING
        other = cycles == 0 or (back - last_other > 7 and rng.random() < 0.2)
        last_other = back if other else last_other
        name = str(rng.choice(_OTHER_UNLOADS)) if other else options.driver
        skipped = total > RING and rng.random() < 0.03
        ring.skipped += int(skipped)
        start = at + (0x40000 if other else 0)
        time = options.system_time - (back + 1) * step - int(rng.integers(0, max(step // 4, 1)))
        ring.entries.append(Unload(slot, name, start, start + (0x2B000 if other else 0x7000), time, skipped))
    ring.entries.sort(key=lambda entry: entry.slot)
    return ring


def ring_specials(ring: Unloads, pointer: int) -> list[Special]:
    """The array and a name for every slot that has one."""
    if not ring.entries:
        return []
    specials = [Special("unloaded", "MmDT", RING * (0x18 if pointer == 4 else 0x28))]
    return specials + [
        Special(f"unload:{entry.slot}", "MmDT", 2 * len(entry.name))
        for entry in ring.entries
        if not entry.skipped
    ]


def ring_bytes(ring: Unloads, names: dict[int, int], pointer: int) -> bytes:
    """The array of 50 entries; `names` gives the address of each slot's name."""
    size = 0x18 if pointer == 4 else 0x28
    block = bytearray(RING * size)
    for entry in ring.entries:
        address = names.get(entry.slot, 0)
        length = 2 * len(entry.name)
        body = struct.pack(
            "<II" if pointer == 4 else "<QQ", entry.start & (2 ** (8 * pointer) - 1), entry.end
        )
        row = unicode_string(length, address, pointer) + body + struct.pack("<q", entry.time)
        block[entry.slot * size : (entry.slot + 1) * size] = row
    return bytes(block)


def driver_page(rng: np.random.Generator) -> bytes:
    """First page of a driver: MZ and noise behind."""
    return (b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0\xb8".ljust(0x3C, b"\0") + b"\xd8\0\0\0").ljust(
        0x400, b"\0"
    ) + bytes(rng.integers(0, 256, 0xC00, dtype=np.uint8))
