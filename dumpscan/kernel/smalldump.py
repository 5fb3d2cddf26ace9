"""What a small (triage) dump says of its kernel: identity from the header, drivers from its lists.

It carries no page tables and no pool, so this is all there is to say about it.
"""

from __future__ import annotations

from collections import Counter

from dumpscan.image.opened import Hints, OpenedImage
from dumpscan.kernel import build, c_builds
from dumpscan.kernel.times import filetime_text
from dumpscan.model import Drivers, KernelInfo, Machine, Unloads

_KERNEL_NAMES = ("ntoskrnl.exe", "ntkrnlpa.exe", "ntkrnlmp.exe", "ntkrpamp.exe")


def describe(opened: OpenedImage) -> tuple[KernelInfo, Machine, Drivers]:
    """Kernel identity, machine state and drivers as far as the header and the lists tell."""
    hints, triage = opened.hints, opened.triage
    loaded = triage.drivers if triage else ()
    kernel = next((m for m in loaded if m.name.lower() in _KERNEL_NAMES), None)
    names = Counter(triage.unloaded if triage else ())
    recent = tuple(Unloads(name, count, None, None) for name, count in names.most_common())
    info = KernelInfo(
        found_by="dump header",
        product=build.product_of(hints.build, hints.arch or "", hints.product_type),
        service_pack=c_builds.BUILD_SERVICE_PACKS.get(hints.build or 0),
        arch=hints.arch,
        pae=hints.pae,
        image_name=kernel.name if kernel else None,
        base=kernel.base if kernel else None,
        dtb=hex(hints.dtbs[0]) if hints.dtbs else None,
        build=hints.build,
        checked=hints.checked,
        kdbg=hex(hints.kdbg) if hints.kdbg else None,
    )
    drivers = Drivers(None, recent, loaded, len(triage.unloaded) if triage else None)
    return info, claimed_machine(hints), drivers


def claimed_machine(hints: Hints) -> Machine:
    """State of the machine as far as a header tells."""
    return Machine(
        hints.bugcheck,
        filetime_text(hints.system_time or 0),
        hints.uptime / 1e7 if hints.uptime else None,
        hints.processors,
    )
