"""Small (triage) dumps, type 4: no memory but a few stretches of it by virtual address.

Witness: facts/dump-headers.json (TRIAGE_DUMP32/64, DUMP_DRIVER_ENTRY32/64, DUMP_UNLOADED_DRIVERS32/64,
DUMP_MM_STORAGE32/64, DUMP_STRING, TRIAGE_DATA_BLOCK32/64), facts/dump-formats.md section 1, type 4; order
of the parts, full paths in the strings, the kernel's first page among the data: the real file of Windows 10.
That XP lists base names only is assumed; 32-bit dumps are of 64 KB. The order of unloaded drivers is not
known: here the newest comes first.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .crash import dump_header

if TYPE_CHECKING:
    from ..machine import Machine

_SIZE: Final = {4: 0x10000, 8: 0x20000}
_KDBG: Final = {"NtBuildLab": 0x208, "KiProcessorBlock": 0x218, "CmNtCSDVersion": 0x268}
_COMMIT: Final = {
    "MmTotalCommittedPages": 0x150,
    "MmPeakCommitment": 0x258,
    "MmTotalCommitLimitMaximum": 0x260,
}
_KERNEL_MEMORY: Final = 0x400  # what PRCB, process, thread and stack get: debuggers want them to be there


def driver_stamp(machine: Machine, number: int) -> int:
    """Time stamp of a loaded image: the kernel's own, the others' an hour apart before it."""
    return int(machine.truth["kernel"]["timestamp"], 16) - 3600 * number


def kernel_bytes(machine: Machine, va: int, count: int) -> bytes:
    """Bytes of the kernel image: one stretch of physical memory."""
    kernel = machine.truth["kernel"]
    at = va - int(kernel["base"], 16) + int(kernel["phys"], 16)
    return machine.ram.data[at : at + count].tobytes()


def debugger_data(machine: Machine) -> bytes:
    """The debugger block with all of its bytes."""
    va = machine.header["KdDebuggerDataBlock"]
    size = int.from_bytes(kernel_bytes(machine, va + 0x14, 4), "little")
    return kernel_bytes(machine, va, size)


def _pointed(machine: Machine, field: int, count: int) -> tuple[int, bytes]:
    """(address, value) of the variable that a field of the debugger block names."""
    va = int.from_bytes(debugger_data(machine)[field : field + machine.pointer], "little")
    return va, kernel_bytes(machine, va, count)


def _storage(machine: Machine) -> bytes:
    """DUMP_MM_STORAGE: all in pages."""
    pools: dict[str, Any] = machine.truth["pools"]
    values = []
    for name in ("nonpaged", "paged"):
        values += [pools[name]["limit_bytes"] // machine.ram.page, pools[name]["pages_in_use"]]
    for field in _COMMIT.values():
        values.append(int.from_bytes(_pointed(machine, field, machine.pointer)[1], "little"))
    wide = machine.pointer == 8
    return struct.pack("<6I7Q" if wide else "<6I7I", 1, 80 if wide else 52, 0, 0, 0, 0, *values)


def _unloaded(machine: Machine) -> bytes:
    """Count and entries, from the newest on while the ring has names."""
    ring: dict[str, Any] = machine.truth["unloaded_drivers"]
    by_slot = {entry["slot"]: entry for entry in ring["entries"]}
    order: list[dict[str, Any]] = []
    while (slot := (ring["last_index"] - 1 - len(order)) % 50) in by_slot and len(order) < 50:
        order.append(by_slot[slot])
    wide = machine.pointer == 8
    out = struct.pack("<Ixxxx" if wide else "<I", len(order))
    for entry in order:
        name = entry["name"].encode("utf-16-le")
        length = min(len(name), 24)
        out += struct.pack("<HHxxxxQ" if wide else "<HHI", length, length, 0) + name[:24].ljust(24, b"\0")
        mask = (1 << 8 * machine.pointer) - 1
        out += struct.pack("<QQ" if wide else "<II", entry["start"] & mask, entry["end"] & mask)
    return out


def _drivers(machine: Machine, at: int) -> tuple[bytes, bytes]:
    """Driver entries for file offset ``at``, and the strings behind them."""
    modules = machine.truth["modules"]
    size, shift = (0x90, 8) if machine.pointer == 8 else (0x4C, 4)
    strings_at, entries, strings = at + size * len(modules), b"", b""
    for number, module in enumerate(modules):
        entry = bytearray(size)
        struct.pack_into("<I", entry, 0, strings_at + len(strings))
        if machine.pointer == 8:
            struct.pack_into("<QQI", entry, shift + 0x30, int(module["base"], 16), 0, module["size"])
        else:
            struct.pack_into("<III", entry, shift + 0x18, int(module["base"], 16), 0, module["size"])
        stamp_at = shift + (0x80 if machine.pointer == 8 else 0x44)
        struct.pack_into("<I", entry, stamp_at, driver_stamp(machine, number))
        name = _listed_name(machine, module["name"], number)
        strings += struct.pack("<I", len(name)) + (name + "\0").encode("utf-16-le")
        entries += bytes(entry)
    return entries, strings


def _listed_name(machine: Machine, name: str, number: int) -> str:
    if machine.truth["kernel"]["nt"].startswith("5."):
        return name
    file = machine.truth["kernel"]["file"] if number == 0 else name
    return f"\\SystemRoot\\system32\\{'' if number < 2 else 'DRIVERS' + chr(92)}{file}"


def _data(machine: Machine) -> list[tuple[int, bytes]]:
    base = int(machine.truth["kernel"]["base"], 16)
    found = [
        _pointed(machine, _KDBG["NtBuildLab"], 0x100),
        _pointed(machine, _KDBG["KiProcessorBlock"], 32 * machine.pointer),
        _pointed(machine, _KDBG["CmNtCSDVersion"], 4),
    ]
    return (
        found
        if machine.truth["kernel"]["nt"].startswith("5.")
        else [*found, (base, kernel_bytes(machine, base, 0x1000))]
    )


class _Parts:
    """The file behind the dump header while its parts get their offsets."""

    def __init__(self, start: int) -> None:
        self.start, self.body = start, b""

    def add(self, data: bytes) -> int:
        """Append and return the file offset."""
        self.body += bytes(-len(self.body) % 8)
        at = self.start + len(self.body)
        self.body += data
        return at


def write_triage(machine: Machine, path: Path) -> list[Path]:
    """Type 4. Windows puts the decoded debugger block into it."""
    if machine.options.debugger_encoded:
        raise ValueError("a small dump holds a decoded debugger block: build the machine with debugger=plain")
    wide = machine.pointer == 8
    start, size = (0x2000, 128) if wide else (0x1000, 104)
    parts = _Parts(start)
    parts.add(bytes(size))
    field: dict[int, int] = {0: machine.truth["kernel"]["service_pack"] << 8, 0xC: 0x348 if wide else 0x320}
    field |= {0x10: 0xF00 if wide else 0x7D0, 0x2C: _KERNEL_MEMORY, 0x44: 0xFFFFFFFF}
    field |= {0x14: parts.add(_storage(machine)), 0x18: parts.add(_unloaded(machine))}
    field |= {at: parts.add(bytes(_KERNEL_MEMORY)) for at in (0x1C, 0x20, 0x24, 0x28)}
    kdbg = debugger_data(machine)
    debugger_at = 0x70 if wide else 0x58
    field |= {debugger_at: parts.add(kdbg), debugger_at + 4: len(kdbg)}
    here = parts.add(b"")
    entries, strings = _drivers(machine, here)
    field |= {0x30: parts.add(entries + strings), 0x34: len(machine.truth["modules"])}
    field |= {0x38: here + len(entries), 0x3C: len(strings)}
    blocks = _data(machine)
    form = "<QII" if wide else "<III"
    data_at = parts.add(bytes(struct.calcsize(form) * len(blocks)))
    table = b"".join(struct.pack(form, va, parts.add(data), len(data)) for va, data in blocks)
    field |= {debugger_at + 8: data_at, debugger_at + 12: len(blocks)}
    body = bytearray(parts.body.ljust(_SIZE[machine.pointer] - 4 - start, b"\0") + b"TRGD")
    field |= {4: start + len(body), 8: start + len(body) - 4}
    for at, value in field.items():
        struct.pack_into("<I", body, at, value)
    body[data_at - start : data_at - start + len(table)] = table
    path.write_bytes(dump_header(machine, 4, start + len(body)) + body)
    return [path]
