"""What a file is, by its content; and the one door through which files become memory.

Names decide only where contents cannot: a VMware .vmem is a raw image whose map of regions lies in
the .vmss or .vmsn beside it. Order of recognition: facts/dump-formats.md 0.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np

from dumpscan.errors import DamagedImage, NotAnImage, UnsupportedImage
from dumpscan.image import c_magic
from dumpscan.image.opened import OpenedImage
from dumpscan.image.physical import FileMemory
from dumpscan.image.source import PAGE, Source, is_address, map_file
from dumpscan.records import replace

if TYPE_CHECKING:
    from dumpscan.image.remote import Traffic

# Bytes that sniff() wants to see: signatures, and hibernation marks on the first ten pages.
HEAD = 10 * PAGE
TAIL = 512


def open_image(path: str | os.PathLike[str]) -> OpenedImage:
    """Open a memory image of any known kind; nothing is read but its headers.

    An address (``https://...``, ``s3://...``) is read in place; see :mod:`dumpscan.image.remote`.

    :raises UnreadableFile: missing, a directory, not permitted (exit 3).
    :raises NotAnImage: empty, an archive, a text, a program ... (exit 4).
    :raises UnsupportedImage: a memory format that dumpscan does not read; says which (exit 5).
    :raises DamagedImage: headers contradict the file; says where (exit 6).
    """
    source = open_source(path)
    kind = sniff(source.take(0, HEAD), source.take(max(source.size - TAIL, 0), TAIL))
    _refuse(source, kind)
    opened = _open(source, kind)
    if isinstance(opened.memory, FileMemory) and isinstance(source.data, np.ndarray):
        opened.memory.path = Path(source.path)
    traffic = getattr(source.data, "traffic", None)
    return opened if traffic is None else _from_afar(opened, opened.traffic or traffic)


def _from_afar(opened: OpenedImage, traffic: Traffic) -> OpenedImage:
    note = "read in place from a server: the verdict does not look into blocks, 'dumpscan attribute' does"
    return replace(opened, traffic=traffic, info=replace(opened.info, notes=(*opened.info.notes, note)))


def open_source(path: str | os.PathLike[str]) -> Source:
    """The bytes of a file or address, of whatever kind. :raises UnreadableFile, NotAnImage: as above."""
    if not is_address(path):
        return map_file(Path(path))
    from dumpscan.image.remote import open_address

    return open_address(os.fspath(path))


def sniff(head: bytes, tail: bytes = b"") -> str:
    """The kind of a file by its first ``HEAD`` and last ``TAIL`` bytes; ``raw`` when nothing is known.

    Kinds: crash32 crash64 elf lime avml hpak qemu libvirt vmware-state hiberfil raw, those of
    ``c_magic.REFUSALS``, and crash-broken for a crash dump whose second signature word is gone.
    """
    for magic in c_magic.MAGICS:
        if head.startswith(magic.signature, magic.offset):
            return "raw" if magic.kind == "pe" and not _is_program(head) else magic.kind
    # A fixed-size VHD is a bare disk with its signature in the last sector.
    if tail[-512:].startswith(b"conectix"):
        return "vhd"
    return "hiberfil" if _is_resumed_hibernation(head) else "raw"


def _is_program(head: bytes) -> bool:
    at = int.from_bytes(head[0x3C:0x40], "little")
    return head[at : at + 4] == b"PE\0\0"


def _is_resumed_hibernation(head: bytes) -> bool:
    """Zeroed first page, an xpress mark at the start of one of the first ten (facts 5, vol2)."""
    marks = (head.startswith(c_magic.XPRESS_MARK, page) for page in range(0, HEAD, PAGE))
    return not any(head[:PAGE]) and any(marks)


def _refuse(source: Source, kind: str) -> None:
    if kind == "crash-broken":
        raise DamagedImage(
            f"{source.path.name}: begins like a Windows crash dump, but holds {source.take(4, 4)!r} at file "
            "offset 0x4 instead of DUMP or DU64; the header is damaged, copy it again"
        )
    if kind == "hiberlink":
        from dumpscan.image.hibernation import refuse_link

        raise refuse_link(source)
    refusal = c_magic.REFUSALS.get("hyperv-2008" if kind == "raw" and _is_hyperv(source.path) else kind)
    if refusal is None:
        return
    error = UnsupportedImage if refusal.memory else NotAnImage
    raise error(f"{source.path.name}: {refusal.what}; {refusal.advice}")


def _is_hyperv(path: PurePath) -> bool:
    """By name: .vsv and .bin of a saved machine have no signature that is known (facts 10)."""
    suffix = path.suffix.lower()
    return suffix == ".vsv" or (
        suffix == ".bin" and isinstance(path, Path) and path.with_suffix(".vsv").is_file()
    )


def _open(source: Source, kind: str) -> OpenedImage:
    # Readers are imported when needed: most runs open one crash dump and nothing else.
    if kind in ("crash32", "crash64"):
        from dumpscan.image.crash import open_crash

        return open_crash(source, wide=kind == "crash64")
    if kind == "elf":
        from dumpscan.image.elf import open_elf

        return open_elf(source)
    if kind == "lime":
        from dumpscan.image.lime import open_lime

        return open_lime(source)
    if kind == "vmware-state" or source.path.suffix.lower() == ".vmem":
        from dumpscan.image.vmware import open_vmware

        return open_vmware(source, is_state=kind == "vmware-state")
    if kind == "qemu":
        from dumpscan.image.qemu import open_qemu

        return open_qemu(source)
    if kind == "libvirt":
        from dumpscan.image.libvirt import open_libvirt

        return open_libvirt(source)
    if kind == "hpak":
        from dumpscan.image.hpak import open_hpak

        return open_hpak(source)
    if kind == "hiberfil":
        from dumpscan.image.hibernation import open_hibernation

        return open_hibernation(source)
    if kind == "raw":
        from dumpscan.image.raw import open_raw

        return open_raw(source)
    from dumpscan.image.avml import open_avml

    return open_avml(source)
