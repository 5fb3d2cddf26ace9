"""What 'virsh save' and 'managedsave' leave: a header, the machine's XML, and QEMU's stream.

The stream may be compressed as a whole; it is then unpacked into the temporary folder once. Layout:
c_qemu.py. ``LibvirtQemudPart`` marks a save that never ended: what is there is read.
"""

from __future__ import annotations

import re

from dumpscan.errors import DamagedImage, UnsupportedImage
from dumpscan.image import c_qemu
from dumpscan.image.opened import OpenedImage
from dumpscan.image.qemu import open_qemu, renamed
from dumpscan.image.source import Source
from dumpscan.image.unpacked import unpacked
from dumpscan.records import replace

_MACHINE = re.compile(rb"<type\b[^>]*\bmachine=['\"]([\w.-]{1,64})['\"]")
_MAX_XML = 1 << 20


def open_libvirt(source: Source) -> OpenedImage:
    """Open a save file.

    :raises UnsupportedImage: another version, lzop or mapped-ram, or a library is missing.
    :raises DamagedImage: the header contradicts the file; as :func:`open_qemu` otherwise.
    """
    head = source.record(c_qemu.SAVE_HEADER, 0, "the libvirt save header")
    if int(head["Version"]) >= 1 << 16:
        head = source.record(c_qemu.SAVE_HEADER.newbyteorder(">"), 0, "the libvirt save header")
    version, size, form = (int(head[field]) for field in ("Version", "DataLength", "Format"))
    name = source.path.name
    if not 1 <= version <= c_qemu.SAVE_VERSION:
        raise UnsupportedImage(
            f"{name}: a libvirt save file of version {version:#x}; versions to {c_qemu.SAVE_VERSION} are read"
        )
    if form in c_qemu.SAVE_REFUSED:
        raise UnsupportedImage(
            f"{name}: a libvirt save file in the format {c_qemu.SAVE_REFUSED[form]}; set save_image_format "
            "to raw or gzip, or use 'virsh dump --memory-only'"
        )
    start = c_qemu.SAVE_HEADER.itemsize + size
    if start >= source.size or (form and form not in c_qemu.SAVE_PACKED):
        raise DamagedImage(
            f"{name}: the libvirt save header claims {size:#x} bytes of XML (file offset 0x14) and format "
            f"{form} (0x1c), but the file has {source.size:#x} bytes; it is cut off or damaged, copy it again"
        )
    return _opened(source, start, form)


def _opened(source: Source, start: int, form: int) -> OpenedImage:
    found = _MACHINE.search(source.take(c_qemu.SAVE_HEADER.itemsize, min(start, _MAX_XML)))
    machine = found[1].decode() if found else None
    if form:
        opened = open_qemu(unpacked(source, start, c_qemu.SAVE_PACKED[form]), 0, machine)
    else:
        opened = open_qemu(source, start, machine)
    packed = f" ({c_qemu.SAVE_PACKED[form]})" if form else ""
    is_partial = source.take(0, 16) == c_qemu.SAVE_PARTIAL
    opened = renamed(
        opened,
        "libvirt",
        f"libvirt save file{packed}, {opened.info.description}",
        *(("the save did not end: libvirt left the mark of a partial file",) if is_partial else ()),
    )
    return replace(opened, info=replace(opened.info, bytes=source.size))
