"""CPU states in the notes of an ELF core: control registers give candidate page directories.

QEMU writes one ``QEMU`` note per processor, VirtualBox one ``VBCPU`` note (older readers call it
``VBCORE``). A note that does not make sense ends the walk; it never makes the image unreadable.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dumpscan.image import c_elf
from dumpscan.image.source import Source

_MAX_CPUS = 4096
_MAX_NOTES = 3 * _MAX_CPUS


class CpuState(NamedTuple):
    """Control registers of one processor; 0 where the note leaves them out."""

    cr0: int
    cr3: int
    cr4: int


def read_notes(source: Source, programs: np.ndarray[Any, Any]) -> list[CpuState]:
    """CPU states in stored order; empty where the core has none."""
    cpus: list[CpuState] = []
    for program in programs[programs["p_type"] == c_elf.PT_NOTE][:16]:
        at = int(program["p_offset"])
        end = min(at + int(program["p_filesz"]), source.size)
        _walk(source, at, end, cpus)
    return cpus[:_MAX_CPUS]


def _walk(source: Source, at: int, end: int, cpus: list[CpuState]) -> None:
    for _ in range(_MAX_NOTES):
        if at + c_elf.NHDR.itemsize > end:
            return
        head = source.record(c_elf.NHDR, at, "an ELF note")
        name_at = at + c_elf.NHDR.itemsize
        desc_at = name_at + _rounded(int(head["n_namesz"]))
        name = source.take(name_at, min(int(head["n_namesz"]), 16)).rstrip(b"\0")
        cpu = _cpu(source, name, int(head["n_type"]), desc_at, min(int(head["n_descsz"]), end - desc_at))
        if cpu is not None:
            cpus.append(cpu)
        at = desc_at + _rounded(int(head["n_descsz"]))


def _rounded(n: int) -> int:
    return (n + 3) & ~3


def _cpu(source: Source, name: bytes, kind: int, at: int, n: int) -> CpuState | None:
    if name == c_elf.QEMU_NAME and kind == c_elf.QEMU_CPU_TYPE and n >= c_elf.QEMU_CPU.itemsize:
        cr = source.record(c_elf.QEMU_CPU, at, "a QEMU CPU note")["cr"]
        return CpuState(int(cr[0]), int(cr[3]), int(cr[4]))
    vbox = name in (c_elf.VBOX_CPU_NAME, c_elf.VBOX_NAME) and kind == c_elf.VBOX_CPU_TYPE
    if vbox and n >= c_elf.VBOX_CPU.itemsize:
        state = source.record(c_elf.VBOX_CPU, at, "a VirtualBox CPU note")
        return CpuState(int(state["cr0"]), int(state["cr3"]), int(state["cr4"]))
    return None
