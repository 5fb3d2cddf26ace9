"""The located kernel: its memory, layouts and variables. What the rooms above ask instead of guessing."""

from __future__ import annotations

from collections.abc import Mapping

from dumpscan.errors import AbsentMemory
from dumpscan.kernel.layouts import Layout
from dumpscan.memory.virtual import VirtualMemory
from dumpscan.model import KernelInfo, Machine
from dumpscan.records import field, record


@record
class Section:
    """A section of the kernel image in memory. ``writable`` from its characteristics."""

    name: str
    va: int
    size: int
    writable: bool


@record
class Kernel:
    """A verified kernel. ``layout`` is None for builds whose structures the facts do not carry.

    ``variables`` maps names of kernel variables to their virtual addresses (from KDBG, and from a
    symbol table where one is present); ``source`` says where they come from. ``processors`` are those
    in KiProcessorBlock, None where that cannot be read: a header's count is only a claim.
    ``range_start`` is where system space begins, None where only the paging mode's least is known.
    """

    memory: VirtualMemory
    info: KernelInfo
    machine: Machine
    base: int
    size: int
    processors: int | None
    variables: Mapping[str, int]
    layout: Layout | None = None
    sections: tuple[Section, ...] = ()
    source: str = "KDBG"
    symbols: Mapping[str, int] = field(default_factory=dict)
    range_start: int | None = None

    @property
    def system_start(self) -> int:
        """The lowest address of the system's: 0xC0000000 on x86 with /3GB, else 0x80000000."""
        return self.range_start or self.memory.paging.kernel_start

    @property
    def page_size(self) -> int:
        """Bytes of a page."""
        return self.memory.paging.page_size

    def address(self, name: str) -> int | None:
        """Address of a kernel variable: from the symbol table if there is one, else from KDBG."""
        found = self.symbols.get(name) or self.variables.get(name)
        return found or None

    def value(self, name: str, size: int | None = None) -> int | None:
        """Value of a variable (pointer-sized unless ``size`` is given); None when unknown."""
        address = self.address(name)
        return None if address is None else self.read_int(address, size)

    def read_int(self, address: int, size: int | None = None) -> int | None:
        """Unsigned little-endian integer at ``address``; None when the memory is absent."""
        try:
            data = self.memory.read(address, size or self.memory.pointer_size)
        except AbsentMemory:
            return None
        return int.from_bytes(data, "little")

    def is_kernel_address(self, address: int) -> bool:
        """Could ``address`` be one of the system's (above the user range, not null)?"""
        return self.system_start <= address <= self.memory.paging.va_mask
