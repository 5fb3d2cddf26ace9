"""EPROCESS objects in nonpaged pool.

Witness: facts/os-structures.json (_EPROCESS, _KPROCESS, _OBJECT_HEADER).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from .blocks import Special
from .layouts import Layout

_NAMES: Final = (
    "System",
    "smss.exe",
    "csrss.exe",
    "winlogon.exe",
    "services.exe",
    "lsass.exe",
    "svchost.exe",
    "svchost.exe",
    "explorer.exe",
    "loadtest.exe",
)


@dataclass(frozen=True)
class Process:
    """One process; `address` is the EPROCESS itself."""

    name: str
    pid: int
    address: int
    dtb: int


def process_specials(layout: Layout) -> list[Special]:
    """A protected 'Proc' block for each process."""
    size = layout.process.object_header + layout.process.size
    return [Special(f"process:{number}", "Proc", size, protected=True) for number in range(len(_NAMES))]


def process_list(addresses: list[int], dtbs: list[int]) -> list[Process]:
    """Names and ids for the given objects."""
    found = []
    for number, (name, address, dtb) in enumerate(zip(_NAMES, addresses, dtbs, strict=True)):
        pid = 4 if number == 0 else 500 + 36 * number
        found.append(Process(name, pid, address, dtb))
    return found


def process_bytes(process: Process, links: tuple[int, int], created: int, layout: Layout) -> bytes:
    """Object header and EPROCESS."""
    offsets = layout.process
    wide = layout.pointer == 8
    body = bytearray(offsets.size)
    struct.pack_into(
        "<BBBB", body, 0, 3, 0, 0x1B if not wide else 0x30, 0
    )  # DISPATCHER_HEADER: process object
    head = process.address + (0x10 if not wide else 0x18)  # ProfileListHead, empty
    form, pair = ("<I", "<II") if not wide else ("<Q", "<QQ")
    struct.pack_into(pair, body, head - process.address, head, head)
    struct.pack_into(form, body, offsets.directory_table_base, process.dtb)
    struct.pack_into("<q", body, offsets.create_time, created)
    struct.pack_into(form, body, offsets.unique_process_id, process.pid)
    struct.pack_into(pair, body, offsets.active_process_links, *links)
    struct.pack_into("<16s", body, offsets.image_file_name, process.name.encode())
    struct.pack_into("<I", body, offsets.active_threads, 3)
    header = struct.pack("<ii" if not wide else "<qq", 30, 2).ljust(offsets.object_header, b"\0")
    return header + bytes(body)
