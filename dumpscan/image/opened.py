"""What opening a file yields: its description, its memory, and what its header claims.

Claims of a header are *hints*: third-party writers leave fields empty or stale, so the rooms above
verify each one against memory before a number is printed from it.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from dumpscan.image.physical import I64, U64, FileBytes, PhysicalMemory
from dumpscan.model import BugCheck, ImageInfo, Module
from dumpscan.records import record

if TYPE_CHECKING:
    from dumpscan.image.remote import Traffic


@record
class Hints:
    """Claims of a container about the machine in it; None or empty where it says nothing.

    ``system_time`` is a FILETIME (UTC), ``uptime`` counts 100 ns units, ``dtbs`` are candidate
    directory table bases (for PAE the address of the PDPT, 32-byte aligned), ``code`` is where the
    processor was, most likely in the kernel.
    """

    arch: str | None = None
    build: int | None = None
    checked: bool | None = None
    dtbs: tuple[int, ...] = ()
    pae: bool | None = None
    kdbg: int | None = None
    code: int | None = None
    ps_loaded_module_list: int | None = None
    ps_active_process_head: int | None = None
    pfn_database: int | None = None
    processors: int | None = None
    bugcheck: BugCheck | None = None
    system_time: int | None = None
    uptime: int | None = None
    product_type: int | None = None
    service_pack_build: int | None = None


@record
class DataBlocks:
    """Stretches of the machine's memory by virtual address: ``va`` uint64, ascending, with ``offset``
    in the file and ``size`` in bytes (int64), all inside the file ``data``."""

    data: FileBytes
    va: U64
    offset: I64
    size: I64


@record
class Triage:
    """What a small (triage) dump carries instead of memory.

    ``unloaded``: names of at most 12 characters in stored order, None without such a list;
    ``mm_storage``: the figures of DUMP_MM_STORAGE in pages, those that the file carries; ``blocks``: the
    debugger data, at the address that the header gives it, and what else was saved. ``unloaded_at`` and
    ``mm_at`` are file offsets.
    """

    drivers: tuple[Module, ...]
    drivers_complete: bool
    unloaded: tuple[str, ...] | None
    mm_storage: dict[str, int]
    blocks: DataBlocks
    unloaded_at: int = 0
    mm_at: int = 0


@record
class OpenedImage:
    """A recognised file. ``memory`` is None for a triage dump, ``triage`` for everything else.

    ``traffic`` counts what a remote file has cost so far; None for a local one.
    """

    path: PurePath
    info: ImageInfo
    hints: Hints
    memory: PhysicalMemory | None = None
    triage: Triage | None = None
    traffic: Traffic | None = None

    def close(self) -> None:
        """Let go of the mapped file; its memory reads as absent from then on."""
        held = self.triage.blocks.data if self.triage is not None else self.memory
        close = getattr(held, "close", None)
        if close is not None:
            close()
