"""What a file is, what its header claims and which kernel is in it: the answer of ``dumpscan info``.

Claims and findings stand apart: a header may be stale, the identity of a kernel is verified. A
kernel that is not found is a note here, not a failure.
"""

from __future__ import annotations

from collections.abc import Callable

from dumpscan.errors import DumpscanError
from dumpscan.image.opened import OpenedImage
from dumpscan.kernel import smalldump
from dumpscan.kernel.kernel import Kernel
from dumpscan.model import Drivers, Header, Info


def describe(opened: OpenedImage, find: Callable[[], tuple[Kernel, Drivers]]) -> Info:
    """The info document, without its tool. ``find`` locates the kernel; its errors become notes."""
    header = header_claims(opened)
    if opened.memory is None:
        small = smalldump.describe(opened)
        return Info(opened.info, header, small.kernel, small.machine, small.drivers, small.pool.notes)
    try:
        kernel, drivers = find()
    except DumpscanError as error:
        return Info(opened.info, header, None, smalldump.claimed_machine(opened.hints), None, (str(error),))
    return Info(opened.info, header, kernel.info, kernel.machine, drivers)


def header_claims(opened: OpenedImage) -> Header:
    """The container's claims as a record."""
    hints = opened.hints
    return Header(
        arch=hints.arch,
        build=hints.build,
        checked=hints.checked,
        pae=hints.pae,
        dtbs=tuple(hex(base) for base in hints.dtbs),
        kdbg=_hex(hints.kdbg),
        ps_loaded_module_list=_hex(hints.ps_loaded_module_list),
        ps_active_process_head=_hex(hints.ps_active_process_head),
        pfn_database=_hex(hints.pfn_database),
        product_type=hints.product_type,
        pool_pages=dict(opened.triage.mm_storage) if opened.triage else {},
    )


def _hex(value: int | None) -> str | None:
    return hex(value) if value else None
