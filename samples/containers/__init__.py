"""One machine in any container."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..ram import PAGE
from .avml import write_avml
from .crash import write_bitmap, write_full, write_kernel
from .elf import write_elf32, write_elf64, write_elf64_many, write_virtualbox, write_xen
from .hibernation import hibernates, write_hibernation
from .hpak import write_hpak, write_hpak_packed
from .qemu import write_libvirt, write_libvirt_gzip, write_qemu
from .raw import write_lime, write_raw, write_vmem, write_vmware, write_vmware_inline, write_vmware_snapshot
from .triage import write_triage

if TYPE_CHECKING:
    from ..machine import Machine

Writer = Callable[["Machine", Path], list[Path]]


def _bitmap_full(machine: Machine, path: Path) -> list[Path]:
    return write_bitmap(machine, path, 5)


def _bitmap_kernel(machine: Machine, path: Path) -> list[Path]:
    return write_bitmap(machine, path, 6)


# Name -> (writer, pointer size that the container is for; 0: any).
CONTAINERS: Final[dict[str, tuple[Writer, int]]] = {
    "crash32-full": (write_full, 4),
    "crash32-kernel": (write_kernel, 4),
    "crash32-bitmap": (_bitmap_full, 4),
    "crash32-active": (_bitmap_kernel, 4),
    "crash64-full": (write_full, 8),
    "crash64-kernel": (write_kernel, 8),
    "crash64-bitmap": (_bitmap_full, 8),
    "crash64-active": (_bitmap_kernel, 8),
    "triage32": (write_triage, 4),
    "triage64": (write_triage, 8),
    "raw": (write_raw, 0),
    "elf64": (write_elf64, 0),
    "elf64-many": (write_elf64_many, 0),
    "elf32": (write_elf32, 4),
    "hiberfil": (write_hibernation, 0),
    "lime": (write_lime, 0),
    "avml": (write_avml, 0),
    "vmem": (write_vmem, 0),
    "vmware": (write_vmware, 0),
    "vmware-snapshot": (write_vmware_snapshot, 0),
    "vmware-inline": (write_vmware_inline, 0),
    "hpak": (write_hpak, 0),
    "hpak-packed": (write_hpak_packed, 0),
    "virtualbox": (write_virtualbox, 0),
    "xen": (write_xen, 0),
    "qemu": (write_qemu, 0),
    "libvirt": (write_libvirt, 0),
    "libvirt-gzip": (write_libvirt_gzip, 0),
}

# Names without a width mean the machine's own.
_SHORT: Final = ("full", "kernel", "bitmap", "active")


def container_name(machine: Machine, container: str) -> str:
    """Resolve `full`, `kernel`, `bitmap`, `active`, `triage` to the machine's width."""
    bits = machine.pointer * 8
    if container in _SHORT:
        return f"crash{bits}-{container}"
    return f"triage{bits}" if container == "triage" else container


def fits(machine: Machine, container: str) -> bool:
    """Whether the container is one for the machine: for pointers of its size, its pages, its Windows."""
    name = container_name(machine, container)
    # Itanium machines leave crash dumps; a raw image of one is written for those who refuse it.
    large = machine.ram.page == PAGE or name == "raw" or name.startswith(("crash64-", "triage64"))
    written = name != "hiberfil" or hibernates(machine)
    return CONTAINERS[name][1] in (0, machine.pointer) and large and written


def write(machine: Machine, container: str, path: str | Path, *, truth: bool = False) -> Path:
    """Write the image, its page files (and `path`.truth.json); returns the image's path."""
    name = container_name(machine, container)
    if name not in CONTAINERS:
        raise ValueError(f"unknown container {container!r}; one of {', '.join(CONTAINERS)}")
    if not fits(machine, name):
        kind = "an Itanium" if machine.ram.page != PAGE else f"a {machine.pointer * 8}-bit"
        raise ValueError(f"{name} does not hold {kind} machine")
    writer, _ = CONTAINERS[name]
    target = Path(path)
    files = writer(machine, target)
    if machine.page_files is not None:
        machine.page_files.write(target)
    if truth:
        listed = [{"file": file.name, "format": name, "bytes": file.stat().st_size} for file in files]
        text = json.dumps({**machine.truth, "files": listed}, indent=1)
        Path(f"{target}.truth.json").write_text(text + "\n", encoding="utf-8")
    return target
